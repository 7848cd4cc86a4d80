"""What a server cannot give any more: it is named, and all else is exported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from seafloor.domain.errors import (
    InternalError,
    SeafloorError,
    StoreCorrupt,
    StoreUnavailable,
)
from seafloor.sdk.client import Client

T = TypeVar("T")


class Losses:
    """Goes on without what the server has lost.

    Args:
        client: The server.
        missing: Gets a sentence for each thing that the server cannot give.
    """

    def __init__(self, client: Client, missing: list[str]) -> None:
        self._client = client
        self.missing = missing

    def had(self, name: str, bring: Callable[[], T]) -> T | None:
        """Bring one thing; None, and it is named: the server cannot give it.

        Args:
            name: What it is.
            bring: Called again when the connection broke: that may have been the network, or a
                server that is there again.

        Raises:
            StoreUnavailable: the server does not answer, or one of its stores does not.
            SeafloorError: everything else that is not of this one thing, ``NotFound`` too.
        """
        for is_last in (False, True):
            try:
                return bring()
            except SeafloorError as error:
                if not self.is_loss(error):
                    raise
                if is_last or not error.retryable:
                    self.tell(name, error)
                    return None
        raise AssertionError  # the last try returned or raised

    def tell(self, name: str, error: SeafloorError) -> None:
        """Name what the server cannot give."""
        said = error.message
        if error.retryable:
            said = f"The server is well and breaks off whenever it is asked for it. ({said})"
        self.missing.append(f"{name}: {said}")

    def is_loss(self, error: SeafloorError) -> bool:
        """Whether an error is of one thing alone: of what was asked for, on a server that is well.

        Raises:
            StoreUnavailable: the server is not well.
        """
        if isinstance(error, StoreUnavailable):
            if error.__cause__ is None:  # the server says so itself, or a proxy: it is busy
                return False
            # An answer that has begun can only be cut, whatever it is that the server lacks.
            self._client.health()
            return True
        # MLflow's routes say only that they failed.
        return isinstance(error, StoreCorrupt | InternalError) or type(error) is SeafloorError


def first_where(first: int, last: int, is_so: Callable[[int], bool]) -> int | None:
    """Find the first place, in first..last, of which something is so; None: of none.

    It looks in ever larger strides, then halves: at most twice as often as a place has bits. What
    is so for less than a stride may be missed, so that a later place is found.

    >>> first_where(0, 10**9, lambda place: place >= 12345)
    12345
    >>> first_where(0, 10, lambda place: False) is None
    True
    """
    before, place, stride = first - 1, first, 1
    while not is_so(place):
        if place == last:
            return None
        before, place, stride = place, min(last, place + stride), stride * 2
    while place - before > 1:
        middle = (before + place) // 2
        if is_so(middle):
            place = middle
        else:
            before = middle
    return place
