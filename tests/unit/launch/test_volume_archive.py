"""A volume's folder as one stream and back."""

from __future__ import annotations

import io
import os
import random
import shutil
import socket
import stat
import subprocess
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zstandard

from seafloor.domain.errors import Conflict, StoreCorrupt
from seafloor.domain.ids import Sha256
from seafloor.launch.local.volume_archive import count, pack, unpack
from seafloor.launch.volumes import Packing


def nothing(_: int) -> None:
    """Progress that nobody is told."""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder with one of each kind."""
    made = tmp_path / "volume"
    (made / "a/b").mkdir(parents=True)
    (made / "a/b/file").write_bytes(b"content" * 1000)
    (made / "a/b/file").chmod(0o640)
    (made / "a/empty").mkdir(mode=0o711)
    (made / "run.sh").write_text("#!/bin/sh\n")
    (made / "run.sh").chmod(0o755)
    (made / "link").symlink_to("../outside/nowhere")
    os.link(made / "run.sh", made / "a/same")
    (made / os.fsdecode(b"name-\xff")).write_text("odd")
    (made / ("long-" * 40)).write_text("long")
    (made / "locked").mkdir()
    (made / "locked/inner").write_text("locked in")
    (made / "locked").chmod(0o500)
    for path in made.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (1_600_000_000, 1_600_000_000))
    yield made
    (made / "locked").chmod(0o700)


def seen(folder: Path) -> dict[str, tuple[Any, ...]]:
    """All that must survive."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        kind = stat.S_IFMT(status.st_mode)
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = (kind, str(path.readlink()))
        elif path.is_dir():
            found[name] = (kind, stat.S_IMODE(status.st_mode), int(status.st_mtime))
        else:
            rights = stat.S_IMODE(status.st_mode)
            found[name] = (kind, rights, int(status.st_mtime), path.read_bytes())
    return found


def packed(folder: Path) -> tuple[bytes, Packing]:
    """A folder's snapshot."""
    packing = Packing(nothing)
    return b"".join(pack(folder, packing)), packing


def unpacked(data: bytes, sha256: str, into: Path) -> Path:
    """The folder of a snapshot."""
    into.mkdir()
    unpack(io.BytesIO(data), into, sha256=Sha256(sha256), progress=nothing)
    return into


def test_pack__unpacked__is_the_same(folder: Path, tmp_path: Path) -> None:
    data, packing = packed(folder)
    assert packing.size_bytes == len(data)
    back = unpacked(data, packing.sha256, tmp_path / "back")
    assert seen(back) == seen(folder)
    assert (back / "a/same").stat().st_ino == (back / "run.sh").stat().st_ino
    assert packing.files == count(back).files == 7
    (back / "locked").chmod(0o700)


@pytest.mark.skipif(shutil.which("zstd") is None, reason="no zstd here; lifted where it is")
def test_pack__read_by_tar__is_the_same(folder: Path, tmp_path: Path) -> None:
    data, _ = packed(folder)
    (tmp_path / "back").mkdir()
    command = ["tar", "--zstd", "-xp", "-C", str(tmp_path / "back")]
    subprocess.run(command, input=data, check=True)
    assert seen(tmp_path / "back") == seen(folder)
    (tmp_path / "back/locked").chmod(0o700)


def test_pack__sparse_file__stays_sparse_and_needs_no_memory(tmp_path: Path) -> None:
    folder = tmp_path / "volume"
    folder.mkdir()
    with (folder / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek(96 << 20)
        file.write(b"end")
    (folder / "noise").write_bytes(random.Random(1).randbytes(8 << 20))
    whole = tmp_path / "archive"
    tracemalloc.start()
    packing = Packing(nothing)
    with whole.open("wb") as out:
        for piece in pack(folder, packing):
            out.write(piece)
    (tmp_path / "back").mkdir()
    with whole.open("rb") as source:
        unpack(source, tmp_path / "back", sha256=Sha256(packing.sha256), progress=nothing)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 16 << 20
    found = (tmp_path / "back/sparse").stat()
    assert found.st_size == (96 << 20) + 3
    assert found.st_blocks * 512 < 4 << 20
    assert (tmp_path / "back/sparse").read_bytes() == (folder / "sparse").read_bytes()
    assert (tmp_path / "back/noise").read_bytes() == (folder / "noise").read_bytes()


def test_pack__what_is_no_file__is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    os.mkfifo(tmp_path / "volume/fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        here = Path.cwd()
        os.chdir(tmp_path / "volume")  # a socket's path is short
        try:
            listening.bind("socket")
        finally:
            os.chdir(here)
        data, packing = packed(tmp_path / "volume")
    assert (packing.left_out, packing.files) == (2, 0)
    assert seen(unpacked(data, packing.sha256, tmp_path / "back")) == {}


def test_pack__file_that_grows_meanwhile__is_no_snapshot(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(bytes(3 << 20))

    def grow(_: int) -> None:
        with (tmp_path / "file").open("ab") as file:
            file.write(b"more")

    with pytest.raises(Conflict, match="was changed while"):
        for _ in pack(tmp_path, Packing(grow)):
            pass


def test_unpack__cut_or_altered__is_refused(folder: Path, tmp_path: Path) -> None:
    data, packing = packed(folder)
    altered = bytearray(data)
    altered[-3] ^= 1
    for number, bad in enumerate(
        (data[:-1], data[: len(data) // 2], b"", bytes(altered), data * 2)
    ):
        with pytest.raises(StoreCorrupt):
            unpacked(bad, packing.sha256, tmp_path / f"back-{number}")


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_unpack__path_that_leads_out__writes_nothing_there(tmp_path: Path, name: str) -> None:
    import hashlib
    import tarfile

    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 3
        tar.addfile(info, io.BytesIO(b"out"))
    data = zstandard.compress(plain.getvalue())
    with pytest.raises(StoreCorrupt):
        unpacked(data, hashlib.sha256(data).hexdigest(), tmp_path / "inner")
    assert not (tmp_path / "outside").exists()
    assert seen(tmp_path / "inner") == {}
