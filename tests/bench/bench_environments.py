"""Environments of 30 packages: building one, fetching it on another machine, finding it again.

Another machine is a folder of environments with nothing in its caches, in this process. What each
side does until the environment can be used:

- *build there*: uv makes a virtual environment, asks the index that it is configured with for every
  package, downloads and unpacks them, compiles what comes as source, and links the files.
- *fetch the archive*: uv makes a virtual environment, and the archive is read from an object store
  in a folder, checked and unpacked into it.
- *build there and compile*: the same, and every module that is no test is compiled by as many
  processes as there are processors: what the archive has as well.
- *second start*: it is there.

Neither side waits for the disk. The last lines are of a first start altogether: until a process in
that environment has imported its packages; what was not compiled before then is.

Nothing is removed before the end: for minutes after a file was removed ext4 does not use its inode
again and looks for another one by one, so who makes files after a large removal is measured wrong.

*near*: the index as it is; *far*: index and object store both behind 100 Mbit/s and 20 ms;
*index-far*: the index alone, as where the object store is of the same cluster.
``SEAFLOOR_BENCH_NETWORKS`` chooses some of them.
"""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.far_network import FarObjects, far_proxy
from tests.bench.measuring import Measured, alternate, table

from seafloor.domain.environments import EnvironmentLock
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.lock import Asked, lock_environment
from seafloor.environments.stored import EnvironmentArchives
from seafloor.environments.uv_command import PackageSource
from seafloor.stores.objects.local.store import LocalObjectStore

WHEELS = (
    "numpy", "pandas", "scipy", "scikit-learn", "matplotlib", "pillow", "requests", "pyyaml",
    "tqdm", "jinja2",
)  # fmt: skip
SOURCES = ("hydra-core", "docopt")
"""What an index has as source only, itself or something that it needs."""

IMPORTS = "import numpy, pandas, scipy.stats, sklearn.linear_model, matplotlib.pyplot, requests"

_COMPILED = "build there and compile"

ROUNDS = int(os.environ.get("SEAFLOOR_BENCH_ROUNDS", 3))
NETWORKS = os.environ.get("SEAFLOOR_BENCH_NETWORKS", "near far index-far").split()


@dataclass
class _Place:
    """What is measured, and on which ways.

    Args:
        folder: For all of it.
        objects: Where archives are.
        packages: Where packages come from.
    """

    folder: Path
    objects: LocalObjectStore
    packages: PackageSource
    machines: int = 0
    spent: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def another(self, *, fetches: bool) -> EnvironmentCache:
        """A machine that has nothing."""
        self.machines += 1
        archives = EnvironmentArchives(self.objects) if fetches else None
        root = self.folder / f"machine-{self.machines}"
        return EnvironmentCache(root, packages=self.packages, archives=archives)

    def note(self, what: str, side: str, value: float) -> None:
        """Keep a figure beside the one that is measured."""
        self.spent.setdefault(what, {}).setdefault(side, []).append(value)


def run() -> None:
    """Measure and print."""
    kinds = {
        "two of them built from source": SOURCES,
        "wheels only": ("rich", "networkx"),
    }
    with tempfile.TemporaryDirectory(prefix="seafloor-bench-") as name, ExitStack() as stack:
        for network in NETWORKS:
            for number, (title, more) in enumerate(kinds.items()):
                folder = Path(name, f"{network}-{number}")
                folder.mkdir()
                proxy = stack.enter_context(far_proxy()) if network != "near" else None
                store = FarObjects if network == "far" else LocalObjectStore
                objects = store(folder / "objects")
                place = _Place(folder, objects, PackageSource(proxy=proxy))
                asyncio.run(_measure(place, f"{network}, {title}", more))


async def _measure(place: _Place, title: str, more: tuple[str, ...]) -> None:
    archives = EnvironmentArchives(place.objects)
    first = EnvironmentCache(place.folder / "first", archives=archives)
    lock = await lock_environment(Asked(pip=(*WHEELS, *more)), root=first.root, timeout_s=300)
    await first.get(lock)
    await first.settle()
    stored = await archives.find(lock.digest)
    assert stored is not None
    size_bytes = await first.size_bytes(lock.digest)
    print(
        f"{len(lock.lock.splitlines())} packages, {size_bytes or 0:,} bytes, "
        f"archive {stored.size_bytes:,} bytes in {len(stored.frames)} frames"
    )
    sides: dict[str, Callable[[], EnvironmentCache]] = {
        "build there": lambda: place.another(fetches=False),
        _COMPILED: lambda: place.another(fetches=False),
        "fetch the archive": lambda: place.another(fetches=True),
        "second start": lambda: first,
    }
    found = await asyncio.to_thread(
        alternate,
        {name: _asking(place, name, make, lock) for name, make in sides.items()},
        rounds=ROUNDS,
    )
    table(f"{title}: until the environment can be used", "s", found, base="fetch the archive")
    for what, values in place.spent.items():
        shown = {name: Measured(tuple(each[1:])) for name, each in values.items()}
        table(f"{title}: {what}", "s", shown, base="fetch the archive")


def _asking(
    place: _Place, name: str, make: Callable[[], EnvironmentCache], lock: EnvironmentLock
) -> Callable[[], float]:
    async def ask(cache: EnvironmentCache) -> float:
        begun, before = time.monotonic(), _used_s()
        built = await cache.get(lock)
        if name == _COMPILED:
            compiling = ("-m", "compileall", "-q", "-j", "0", "-x", r"/tests?/")
            command = [built.python_path, *compiling, built.path / "lib"]
            subprocess.run(command, check=False)  # some packages have modules of other Pythons
        took_s = time.monotonic() - begun
        place.note("processor time of that", name, _used_s() - before)
        subprocess.run([built.python_path, "-c", IMPORTS], check=True, env=_as_users_have())
        place.note("until its packages are imported", name, time.monotonic() - begun)
        place.note("processor time until then", name, _used_s() - before)
        await cache.settle()
        return took_s

    return lambda: asyncio.run(ask(make()))


def _as_users_have() -> dict[str, str]:
    variables = dict(os.environ)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    return variables


def _used_s() -> float:
    """Processor time of this process and the children that ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    sys.exit(run())
