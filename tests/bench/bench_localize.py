"""A repository of many files and a long history: localised cold and warm, beside a shallow clone.

``SEAFLOOR_BENCH_FILES`` is the count of files (50,000) and ``SEAFLOOR_BENCH_HISTORY_MIB`` how much
lies in earlier commits (256; the whole comparison is made with 2048). Processor time, of children
too, stands beside wall time: it is what holds on a machine that others use.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.bench.measuring import alternate, table

from seafloor.code.file_archive import FileArchive
from seafloor.code.git import resolve_git
from seafloor.code.localize import Means, localize
from seafloor.domain.ids import Sha256

FILES = int(os.environ.get("SEAFLOOR_BENCH_FILES", "50000"))
HISTORY_MIB = int(os.environ.get("SEAFLOOR_BENCH_HISTORY_MIB", "256"))
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
    with subprocess.Popen(
        ["git", "-C", str(made), "fast-import", "--quiet"], stdin=subprocess.PIPE
    ) as importing:
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
    """The three ways; each makes the folder anew, and what it makes is removed off the clock."""

    def __init__(self, folder: Path, clock: Callable[[], float]) -> None:
        self._folder = folder
        self._clock = clock
        self._url = f"file://{folder / 'large.git'}"
        self._source = resolve_git(self._url, "main")

    def clone(self) -> float:
        target = self._folder / "clone"
        command = ["git", *OWN, "clone", "--quiet", "--depth=1", self._url, str(target)]
        return self._timed(lambda: subprocess.run(command, check=True), target)

    def cold(self) -> float:
        shutil.rmtree(self._folder / "cold-cache", ignore_errors=True)
        return self._localize("cold")

    def warm(self) -> float:
        return self._localize("warm")

    def _localize(self, name: str) -> float:
        means = Means(self._folder / f"{name}-cache", _no_snapshot, FileArchive)
        target = self._folder / name
        return self._timed(lambda: localize(self._source, code_dir=target, means=means), target)

    def _timed(self, make: Callable[[], object], target: Path) -> float:
        begun = self._clock()
        make()
        took = self._clock() - begun
        shutil.rmtree(target)
        return took


def run() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _repository(folder)
        for unit, clock in (("s", time.perf_counter), ("processor s", _processor_s)):
            sides = _Sides(folder, clock)
            found = alternate(
                {
                    "git clone --depth 1": sides.clone,
                    "localised, cold": sides.cold,
                    "localised, warm": sides.warm,
                },
                rounds=ROUNDS,
            )
            title = f"{FILES:,} files, {HISTORY_MIB:,} MiB of history"
            table(title, unit, found, base="git clone --depth 1")


if __name__ == "__main__":
    run()
