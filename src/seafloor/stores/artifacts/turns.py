"""Which of several puts of one file began last, within this process."""

from __future__ import annotations

import itertools
from collections.abc import Generator
from contextlib import contextmanager

from seafloor.domain.artifacts import ArtifactFile


class Turn:
    """One put that is under way.

    Args:
        number: Rises from put to put.
        under_way: All puts of the file that are.

    Attributes:
        overtaken_by: What a later one has put meanwhile; None as long as none has.
    """

    def __init__(self, number: int, under_way: set[Turn]) -> None:
        self._number = number
        self._under_way = under_way
        self.overtaken_by: ArtifactFile | None = None

    def done(self, file: ArtifactFile) -> None:
        """Note what was put: whoever began before this one, and is still at it, is overtaken."""
        for turn in self._under_way:
            if turn._number < self._number:
                turn.overtaken_by = file


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
