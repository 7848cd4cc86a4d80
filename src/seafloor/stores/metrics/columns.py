"""Points as columns: how many of them travel at once without an object for each."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class PointColumns:
    """Points of one workload in any order, repeats among them allowed.

    Args:
        keys: Names of metrics, each once.
        key: Shape (n,); of each point the index of its name in ``keys``.
        step: Shape (n,).
        time_ms: Shape (n,); milliseconds since 1970-01-01 UTC.
        value: Shape (n,); kept bit for bit.
    """

    keys: tuple[str, ...]
    key: NDArray[np.int32]
    step: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    value: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.step)


@dataclass(frozen=True, slots=True)
class SeriesColumns:
    """Points of one series, each once, in order of (attempt, step, time, value).

    Values are ordered as ``points.rank_of_bits`` ranks them.

    Args:
        attempt: Shape (n,); which attempt measured the point, 0 for a tracked run.
        step, time_ms: Shape (n,).
        bits: Shape (n,); of the float64 values.
    """

    attempt: NDArray[np.int32]
    step: NDArray[np.int64]
    time_ms: NDArray[np.int64]
    bits: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.step)
