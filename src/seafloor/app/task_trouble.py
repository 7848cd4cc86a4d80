"""What stands in the way of one task, told from what stands in the way of all."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from seafloor.domain.errors import SeafloorError, StoreError


class TaskTrouble(Exception):
    """What there is of one task cannot be used; of the others this says nothing.

    Args:
        cause: In the launcher's words.
    """

    def __init__(self, cause: SeafloorError) -> None:
        super().__init__(cause.message)
        self.cause = cause


@contextmanager
def of_one_task() -> Generator[None]:
    """Mark what a launcher meets when it looks at a task or writes into its folder.

    A cluster that is away is away for all, and passes through.

    Raises:
        TaskTrouble: it met something.
    """
    try:
        yield
    except StoreError as error:
        raise TaskTrouble(error) from error
