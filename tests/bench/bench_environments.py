"""Environments of 30 packages: building one, fetching it on another machine, finding it again.

Another machine is a folder of environments with no packages in its cache, in a process of its
own. The stored archive lies in a folder, so what a network would add to fetching is not in it; the
packages come from whatever index uv is configured with, and what that takes is in building.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.measuring import alternate, table

from seafloor.domain.environments import EnvironmentLock
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.lock import Asked, lock_environment
from seafloor.environments.stored import EnvironmentArchives
from seafloor.stores.objects.local.store import LocalObjectStore

WHEELS = (
    "numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "pillow", "requests", "pyyaml",
    "tqdm", "jinja2",
)  # fmt: skip
SOURCES = ("hydra-core", "docopt")
"""What an index has as source only, itself or something that it needs."""

ROUNDS = int(os.environ.get("SEAFLOOR_BENCH_ROUNDS", 3))


def run() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="seafloor-bench-") as name:
        asyncio.run(_measure(Path(name) / "mixed", "two of them built from source", SOURCES))
        asyncio.run(_measure(Path(name) / "wheels", "wheels only", ("rich", "networkx")))


async def _measure(folder: Path, title: str, more: tuple[str, ...]) -> None:
    objects = LocalObjectStore(folder / "objects")
    archives = EnvironmentArchives(objects)
    first = EnvironmentCache(folder / "first", archives=archives)
    lock = await lock_environment(Asked(pip=(*WHEELS, *more)), root=first.root, timeout_s=300)
    built = await first.get(lock)
    await first.settle()
    stored = await archives.find(lock.digest)
    assert stored is not None
    size_bytes = await first.size_bytes(lock.digest)
    print(
        f"{len(lock.lock.splitlines())} packages, {size_bytes or 0:,} bytes, "
        f"archive {stored.size_bytes:,} bytes"
    )
    made: list[EnvironmentCache] = []

    def another(*, stored: bool) -> EnvironmentCache:
        root = folder / f"machine-{len(made)}"
        made.append(EnvironmentCache(root, archives=archives if stored else None))
        return made[-1]

    cpu_s: dict[str, list[float]] = {}
    sides: dict[str, Callable[[], EnvironmentCache]] = {
        "build there": lambda: another(stored=False),
        "fetch the archive": lambda: another(stored=True),
        "second start": lambda: first,
    }
    found = await asyncio.to_thread(
        alternate,
        {name: _asking(name, make, lock, cpu_s) for name, make in sides.items()},
        rounds=ROUNDS,
    )
    table(f"{title}: until the environment can be used", "s", found, base="fetch the archive")
    for name, values in cpu_s.items():
        print(f"  {name:28s} processor time, best {min(values[1:]):.2f} s")
    assert built.path.exists()


def _asking(
    name: str,
    make: Callable[[], EnvironmentCache],
    lock: EnvironmentLock,
    cpu_s: dict[str, list[float]],
) -> Callable[[], float]:
    async def ask(cache: EnvironmentCache) -> float:
        begun = time.monotonic()
        await cache.get(lock)
        took_s = time.monotonic() - begun
        await cache.settle()
        return took_s

    def measure() -> float:
        before = _used_s()
        took_s = asyncio.run(ask(make()))
        cpu_s.setdefault(name, []).append(_used_s() - before)
        return took_s

    return measure


def _used_s() -> float:
    """Processor time of this process and the children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    sys.exit(run())
