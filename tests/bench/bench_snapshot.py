"""A working folder of many files: the first snapshot, and the same folder again.

``git status`` of the folder stands beside it: what git itself takes to find that nothing changed.
``SEAFLOOR_BENCH_FILES`` is the count of files (50,000). Processor time, of children too, stands
beside wall time: it is what holds on a machine that others use.
"""

from __future__ import annotations

import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.bench.measuring import alternate, table

from seafloor.code.snapshot import take_snapshot
from seafloor.code.snapshot_memory import SETTLED_NS, SnapshotMemory

FILES = int(os.environ.get("SEAFLOOR_BENCH_FILES", "50000"))
ROUNDS = 5


def _folder(root: Path) -> Path:
    """A repository of many small files in folders of a hundred, one in ten not tracked."""
    folder = root / "project"
    for number in range(FILES):
        path = folder / f"d{number // 100:04d}" / f"f{number:06d}.py"
        if number % 100 == 0:
            path.parent.mkdir(parents=True)
        path.write_text(f"value = {number}\n" * 20)
    # What git does behind one's back would be measured, too.
    own = ("user.name=bench", "user.email=bench@example.com", "maintenance.auto=false")
    run = ("git", *(word for setting in own for word in ("-c", setting)))
    for arguments in (
        ("init", "--quiet"),
        ("add", "d*/f*[1-9].py"),
        ("commit", "--quiet", "--message", "many"),
    ):
        subprocess.run([*run, *arguments], cwd=folder, check=True, capture_output=True)
    return folder


def _processor_s() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def run() -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        folder = _folder(root)
        time.sleep(2 * SETTLED_NS / 1e9)  # a folder that changed just now is not remembered
        memory = SnapshotMemory(root / "memory")
        read: list[bool] = []

        def first() -> None:
            archive = root / "first.tar.zst"
            take_snapshot(folder, archive, memory=memory)
            archive.unlink()

        def again() -> None:
            archive = root / "again.tar.zst"
            take_snapshot(folder, archive, memory=memory, is_kept=lambda _sha256, _size: True)
            read.append(archive.exists())

        def git_status() -> None:
            subprocess.run(
                ["git", "status", "--porcelain"], cwd=folder, check=True, capture_output=True
            )

        def clocked(what: Callable[[], None], clock: Callable[[], float]) -> Callable[[], float]:
            def measure() -> float:
                begun = clock()
                what()
                return clock() - begun

            return measure

        sides = {"git status": git_status, "snapshot, read": first, "snapshot, unchanged": again}
        for unit, clock in (("s", time.perf_counter), ("processor s", _processor_s)):
            found = alternate(
                {name: clocked(what, clock) for name, what in sides.items()}, rounds=ROUNDS
            )
            table(f"Snapshot of {FILES:,} files", unit, found, base="git status")
        print(f"  of {len(read)} snapshots of the unchanged folder {sum(read)} were read again")


if __name__ == "__main__":
    run()
