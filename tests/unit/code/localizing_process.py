"""Localises in a process of its own, which ends itself with SIGKILL where it is told to.

A process that dies at a named place is the only honest stand-in for one that dies anywhere. The
places are the interpreter's own audit events (a file opened, renamed, removed, a program started),
so that nothing in the code under test knows of it.

    python localizing_process.py '{"source": …, "code_dir": …, "cache_dir": …, "kill_at": 17}'

It prints the receipt, and on stderr the count of places that it passed.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from seafloor.code.archive import RemoteFacts
from seafloor.code.file_archive import FileArchive
from seafloor.code.localize import Means, localize
from seafloor.domain.code import LocalizedCode
from seafloor.domain.ids import Sha256

_PLACES = frozenset(
    {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.utime"}
    | {"subprocess.Popen", "fcntl.flock", "shutil.rmtree", "os.symlink"}
)


class Order(msgspec.Struct):
    """What to localise, where, at which place to die (0: at none), and as whom (0: as we are).

    ``shared``: whether as a link to a tree of the cache.
    """

    source: LocalizedCode
    code_dir: str
    cache_dir: str
    archive: str = ""
    kill_at: int = 0
    user_id: int = 0
    shared: bool = False


def main(order: Order) -> None:
    passed = 0

    def count(event: str, _arguments: object) -> None:
        nonlocal passed
        if event in _PLACES:
            passed += 1
            if passed == order.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    def fetch(_sha256: Sha256, path: Path) -> None:
        shutil.copyfile(order.archive, path)

    if order.user_id:
        os.setgroups([])
        os.setgid(order.user_id)
        os.setuid(order.user_id)
    sys.addaudithook(count)

    class Counted(FileArchive):
        """Every block that comes is a place, too."""

        def copy(self, facts: RemoteFacts, write: Callable[[bytes], object]) -> None:
            def written(block: bytes) -> None:
                for at in range(0, len(block), 50_000):
                    count("open", ())
                    write(block[at : at + 50_000])

            super().copy(facts, written)

    user = Path(order.code_dir).parent if order.shared else None
    means = Means(Path(order.cache_dir), fetch, lambda url, _: Counted(url), shared_by=user)
    receipt = localize(order.source, code_dir=Path(order.code_dir), means=means)
    places = passed
    print(msgspec.json.encode(receipt).decode())
    print(places, file=sys.stderr)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Order))
