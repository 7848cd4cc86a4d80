"""Exit codes, the same of the command line and of the process of the server that it starts."""

from __future__ import annotations

from typing import Final

from seafloor.domain.errors import (
    AlreadyExists,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    InvalidValue,
    LimitExceeded,
    NotFound,
    PreconditionFailed,
    SeafloorError,
    SourceError,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
)

OK: Final = 0
ANSWER_IS_NO: Final = 1
INVALID: Final = 2
NOT_FOUND: Final = 3
CONFLICT: Final = 4
UNREACHABLE: Final = 5
SOURCE: Final = 6
NOT_ALLOWED: Final = 7
STORE: Final = 8
BUG: Final = 9
INTERRUPTED: Final = 130

# The first class that fits counts, so narrow ones stand before wide ones.
_CLASSES: Final[tuple[tuple[type[SeafloorError], int], ...]] = (
    (NotFound, NOT_FOUND),
    (AlreadyExists, CONFLICT),
    (Conflict, CONFLICT),
    (PreconditionFailed, CONFLICT),
    (Unauthenticated, NOT_ALLOWED),
    (Forbidden, NOT_ALLOWED),
    (InvalidValue, INVALID),
    (LimitExceeded, INVALID),
    (SourceError, SOURCE),
    (StoreUnavailable, UNREACHABLE),
    (ClusterUnavailable, UNREACHABLE),
    (StoreError, STORE),
    (ClusterError, STORE),
)


def code_of_error(error: SeafloorError) -> int:
    """Which exit code an error has."""
    for cls, code in _CLASSES:
        if isinstance(error, cls):
            return code
    return BUG
