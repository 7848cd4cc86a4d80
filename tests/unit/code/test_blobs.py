"""Files compared with git's blobs: the same answer, however many processes share the work."""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from seafloor.code import blobs
from seafloor.code.blobs import EXECUTABLE_MODE, SYMLINK_MODE, Compared, compare

FILE = "100644"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"


class _Blob(NamedTuple):
    mode: str
    id: str
    path: bytes


class _Found(NamedTuple):
    same: bool
    size_bytes: int
    is_pointer: bool = False


def _blob(mode: str, path: str, content: bytes, kind: str = "sha1") -> _Blob:
    digest = hashlib.new(kind, b"blob %d\0" % len(content) + content)
    return _Blob(mode, digest.hexdigest(), os.fsencode(path))


def _made(folder: Path) -> tuple[list[_Blob], list[_Found]]:
    """Files of every sort, what they should be, and what is to be found."""
    contents = {
        "plain.py": b"print(1)\n",
        "with space\nand line": b"odd",
        "pointer": POINTER,
        "large": bytes(3 << 20),
        "empty": b"",
        "run.sh": b"run",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "run.sh").chmod(0o755)
    (folder / "link").symlink_to("plain.py")
    (folder / "directory").mkdir()
    os.mkfifo(folder / "fifo")
    cases = [
        (_blob(FILE, "plain.py", b"print(1)\n"), _Found(True, 9)),
        (_blob(FILE, "plain.py", b"print(1)\n", "sha256"), _Found(True, 9)),
        (_blob(FILE, "plain.py", b"print(2)\n"), _Found(False, 9)),
        (_blob(FILE, "with space\nand line", b"odd"), _Found(True, 3)),
        (_blob(FILE, "pointer", POINTER), _Found(True, len(POINTER), True)),
        (_blob(FILE, "large", bytes(3 << 20)), _Found(True, 3 << 20)),
        (_blob(FILE, "empty", b""), _Found(True, 0)),
        (_blob(EXECUTABLE_MODE, "run.sh", b"run"), _Found(True, 3)),
        (_blob(FILE, "run.sh", b"run"), _Found(False, 3)),
        (_blob(EXECUTABLE_MODE, "plain.py", b"print(1)\n"), _Found(False, 9)),
        (_blob(SYMLINK_MODE, "link", b"plain.py"), _Found(True, 8)),
        (_blob(SYMLINK_MODE, "link", b"other.py"), _Found(False, 8)),
        (_blob(FILE, "link", b"print(1)\n"), _Found(False, 8)),
        (_blob(SYMLINK_MODE, "plain.py", b"print(1)\n"), _Found(False, 9)),
        (_blob(FILE, "missing", b"x"), _Found(False, 0)),
        (_blob(FILE, "plain.py/below", b"x"), _Found(False, 0)),
        (_blob(FILE, "fifo", b""), _Found(False, 0)),
    ]
    return [blob for blob, _ in cases], [found for _, found in cases]


def _summed(found: list[_Found]) -> Compared:
    return Compared(
        sum(each.size_bytes for each in found),
        tuple(place for place, each in enumerate(found) if not each.same),
        tuple(place for place, each in enumerate(found) if each.same and each.is_pointer),
    )


@pytest.mark.parametrize("processors", [1, 2, 3, 64])
def test_compare__any_number_of_processes__finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, processors: int
) -> None:
    asked, wanted = _made(tmp_path)
    monkeypatch.setattr(blobs, "SHARE_MIN", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: processors)

    assert compare(os.fsencode(tmp_path), asked) == _summed(wanted)


def test_compare__process_that_ends_at_once__its_share_is_compared_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, wanted = _made(tmp_path)
    monkeypatch.setattr(blobs, "SHARE_MIN", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    monkeypatch.setattr(sys, "executable", "/bin/false")

    # So many that a pipe does not hold them: the writer finds out that nobody reads.
    assert compare(os.fsencode(tmp_path), asked * 400) == _summed(wanted * 400)


def test_compare__nothing__is_nothing(tmp_path: Path) -> None:
    assert compare(os.fsencode(tmp_path), []) == Compared(0)
