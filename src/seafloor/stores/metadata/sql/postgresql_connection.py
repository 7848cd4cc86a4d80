"""A connection to PostgreSQL that does not wait for ever.

The system notices a machine that is gone (``tcp_user_timeout``), and a query that takes long can be
ended by the database. Neither helps when the database itself hangs, or what stands before it: the
connection is whole, and nothing comes. The driver would wait without end.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

import psycopg

from seafloor.stores.metadata.sql.backend import ANSWER_TIMEOUT_S

_Wanted = TypeVar("_Wanted")
_Ready = TypeVar("_Ready")
_T = TypeVar("_T")


class PatientConnection(psycopg.Connection[Any]):
    """A connection that ends when the database says nothing for too long.

    Attributes:
        answer_timeout_s: So long; None: without end.
    """

    answer_timeout_s: float | None = ANSWER_TIMEOUT_S

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **options: Any) -> _T:
        """Wait for what is asked of the database; see ``psycopg.Connection.wait``.

        Raises:
            psycopg.OperationalError: nothing came; the connection is closed.
        """
        if self.answer_timeout_s is not None:
            gen = self._within(gen, self.answer_timeout_s)
        return super().wait(gen, *args, **options)

    def _within(
        self, asked: Generator[_Wanted, _Ready, _T], limit_s: float
    ) -> Generator[_Wanted, _Ready, _T]:
        """The same, as long as something comes now and then."""
        try:
            wanted = next(asked)
            heard_s = time.monotonic()
            while True:
                ready = yield wanted
                if ready:  # psycopg says every tenth of a second that there is nothing yet
                    heard_s = time.monotonic()
                elif time.monotonic() - heard_s > limit_s:
                    self.pgconn.finish()
                    raise psycopg.OperationalError(
                        f"the database said nothing for {limit_s:g} seconds"
                    )
                wanted = asked.send(ready)
        except StopIteration as end:
            return end.value
