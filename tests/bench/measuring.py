"""How things are measured: alternately, several times, said as median with minimum and maximum."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Measured:
    """The figures of one side."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    def __str__(self) -> str:
        return f"{self.median:10.3f}  ({min(self.values):.3f} … {max(self.values):.3f})"


def alternate(sides: Mapping[str, Callable[[], float]], *, rounds: int) -> dict[str, Measured]:
    """Measure each side in turn, A B A B …, after one round that does not count."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(rounds + 1):
        for name, measure in sides.items():
            value = measure()
            if round_:
                values[name].append(value)
    return {name: Measured(tuple(found)) for name, found in values.items()}


def table(title: str, unit: str, found: Mapping[str, Measured], *, base: str) -> None:
    """Print the sides, and how many times each is of the base."""
    print(f"{title} [{unit}]")
    for name, measured in found.items():
        ratio = measured.median / found[base].median if found[base].median else float("nan")
        print(f"  {name:28s} {measured}   x {ratio:.2f}")


@contextmanager
def peak_growth(pid: int) -> Iterator[list[int]]:
    """By how many bytes a process's unshared memory grew at most, looked at every 20 ms."""
    process = psutil.Process(pid)
    before = process.memory_full_info().uss
    grown = [0]
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            grown[0] = max(grown[0], process.memory_full_info().uss - before)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield grown
    finally:
        stop.set()
        watching.join()
