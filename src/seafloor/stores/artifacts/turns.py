"""Which of several changes of one file began last, within this process."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import contextmanager

from seafloor.stores.objects.keys import is_below


class Turn:
    """One put that is under way.

    Args:
        number: Rises from put to put.
        under_way: All puts of the file that are.

    Attributes:
        overtaken_ns: When one who began later put or deleted the file; None: nobody has.
    """

    def __init__(self, number: int, under_way: set[Turn]) -> None:
        self._number = number
        self._under_way = under_way
        self.overtaken_ns: int | None = None

    def done(self, time_ns: int) -> None:
        """Note that it was put: whoever began before this one, and is still at it, is overtaken."""
        for turn in self._under_way:
            turn.overtake(self._number, time_ns)

    def overtake(self, number: int, time_ns: int) -> None:
        """Note that somebody's change was done, unless he began before this one."""
        if self._number < number:
            self.overtaken_ns = time_ns


class Turns:
    """Puts that are under way, by file.

    Used from one event loop. Memory: of what is under way.
    """

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._files: dict[tuple[str, str], set[Turn]] = {}

    @contextmanager
    def turn(self, owner: str, path: str) -> Generator[Turn]:
        """Begin a put of a file; it is over with the context."""
        place = (owner, path)
        under_way = self._files.setdefault(place, set())
        turn = Turn(next(self._numbers), under_way)
        under_way.add(turn)
        try:
            yield turn
        finally:
            under_way.remove(turn)
            if not under_way:
                del self._files[place]

    def number(self) -> int:
        """Begin a deletion: its place in the order in which changes began."""
        return next(self._numbers)

    def deleted(self, owner: str, path: str, number: int, time_ns: int) -> None:
        """Note that a file, or all below a folder, was deleted: puts from before are overtaken."""
        for (one_owner, one_path), under_way in self._files.items():
            if one_owner == owner and (one_path == path or is_below(one_path, path)):
                for turn in under_way:
                    turn.overtake(number, time_ns)
