"""A repository of many files and a long history: localised cold and warm, beside a shallow clone.

``SEAFLOOR_BENCH_FILES`` is the count of files (50,000), ``SEAFLOOR_BENCH_HISTORY_MIB`` how much
lies in earlier commits (2048), ``SEAFLOOR_BENCH_FOLDER`` where all of it is made: several GiB, and
on a disk. Processor time, of children too, stands beside wall time: it is what holds on a machine
that others use.

Nothing is removed before all sides were measured: making files right after many were removed takes
many times as long on some file systems, and the side after a removal would pay for it.

Cold and warm have two lines each: with a folder of its own, as ``seafloor localize`` makes it, and
with a shared tree, as a run has it where the machine allows layers.
"""

from __future__ import annotations

import os
import random
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

from tests.bench.measuring import Measured, table

from git_world import GitServer
from seafloor.code.file_archive import open_file
from seafloor.code.git import resolve_git
from seafloor.code.localize import TREES, Means, localize
from seafloor.domain.ids import Sha256
from seafloor.launch.local.code_mounts import CodeMounts

FILES = int(os.environ.get("SEAFLOOR_BENCH_FILES", "50000"))
HISTORY_MIB = int(os.environ.get("SEAFLOOR_BENCH_HISTORY_MIB", "2048"))
FOLDER = os.environ.get("SEAFLOOR_BENCH_FOLDER")
ROUNDS = 3
BLOB_BYTES = 1 << 20
OWN = ("-c", "maintenance.auto=false", "-c", "gc.auto=0")


def _stream() -> Iterator[bytes]:
    """What ``git fast-import`` reads: a history of large blobs, then a commit of many files."""
    rng = random.Random(5)
    who = b"committer bench <bench@example.com> %d +0000\ndata 0\n"
    for number in range(HISTORY_MIB):
        content = rng.randbytes(BLOB_BYTES)
        yield b"commit refs/heads/main\n" + who % (1_700_000_000 + number)
        yield b"M 100644 inline data.bin\ndata %d\n%b\n" % (len(content), content)
    yield b"commit refs/heads/main\n" + who % 1_800_000_000 + b"deleteall\n"
    for number in range(FILES):
        lines = b"".join(b"x_%08x = %d\n" % (rng.getrandbits(32), line) for line in range(60))
        path = b"d%04d/f%06d.py" % (number // 100, number)
        yield b"M 100644 inline %b\ndata %d\n%b\n" % (path, len(lines), lines)


def _repository(folder: Path) -> Path:
    made = folder / "large.git"
    subprocess.run(
        ["git", "init", "--quiet", "--bare", "--initial-branch=main", str(made)], check=True
    )
    # Random bytes do not become smaller; trying takes longer than all that is measured.
    command = ["git", "-C", str(made), "-c", "core.compression=1", "fast-import", "--quiet"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as importing:
        assert importing.stdin is not None
        for part in _stream():
            importing.stdin.write(part)
        importing.stdin.close()
        assert importing.wait() == 0
    return made


def _processor_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _no_snapshot(_sha256: Sha256, _path: Path) -> None:
    raise AssertionError


class _Sides:
    """The ways; each makes a folder that was not there."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self._url = url
        self._source = resolve_git(url, "main")
        self._numbers = count()

    def clone(self) -> None:
        target = self._new("clone")
        command = ["git", *OWN, "clone", "--quiet", "--depth=1", self._url, str(target)]
        subprocess.run(command, check=True)

    def cold(self) -> None:
        self._localize(self._new("cold-cache"))

    def warm(self) -> None:
        self._localize(self._folder / "warm-cache")

    def cold_shared(self) -> None:
        self._localize(self._new("cold-cache"), shared=True)

    def warm_shared(self) -> None:
        self._localize(self._folder / "warm-cache", shared=True)

    def _localize(self, cache: Path, *, shared: bool = False) -> None:
        target = self._new("run")
        target.mkdir()
        user = target if shared else None
        means = Means(cache, _no_snapshot, open_file, shared_by=user)
        localize(self._source, code_dir=target / "code", means=means)

    def _new(self, name: str) -> Path:
        return self._folder / f"{name}-{next(self._numbers)}"


def _measure(sides: dict[str, Callable[[], None]]) -> tuple[dict[str, Measured], ...]:
    """Wall and processor time of each side in turn, after one round that does not count."""
    wall: dict[str, list[float]] = {name: [] for name in sides}
    processor: dict[str, list[float]] = {name: [] for name in sides}
    for round_ in range(ROUNDS + 1):
        for name, make in sides.items():
            used_s, begun_s = _processor_s(), time.perf_counter()
            make()
            if round_:
                wall[name].append(time.perf_counter() - begun_s)
                processor[name].append(_processor_s() - used_s)
    return tuple(
        {name: Measured(tuple(values)) for name, values in found.items()}
        for found in (wall, processor)
    )


def _compare(way: str, url: str) -> None:
    with tempfile.TemporaryDirectory(dir=FOLDER, ignore_cleanup_errors=True) as name:
        below = Path(name)
        sides = _Sides(below, url)
        ways = {"git clone --depth 1": sides.clone, "cold": sides.cold, "warm": sides.warm}
        if CodeMounts(wanted=True).share(below / "warm-cache" / TREES, below):
            ways |= {
                "cold, shared tree": sides.cold_shared,
                "warm, shared tree": sides.warm_shared,
            }
        title = f"{FILES:,} files, {HISTORY_MIB:,} MiB of history, over {way}"
        for unit, found in zip(("s", "processor s"), _measure(ways), strict=True):
            table(title, unit, found, base="git clone --depth 1")


def run() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(dir=FOLDER, ignore_cleanup_errors=True) as name:
        made = _repository(Path(name))
        _compare("file", f"file://{made}")
        with GitServer(Path(name)) as server:
            _compare("http", f"{server.url}/large.git")


if __name__ == "__main__":
    run()
