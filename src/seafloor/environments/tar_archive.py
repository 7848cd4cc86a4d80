"""Archives of format 1, one tar in one frame: earlier versions of Seafloor stored them.

They are unpacked; none is written any more.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import zstandard

from seafloor.environments.archive import (
    FILES,
    PACKAGES,
    TEXT_BYTES_MAX,
    TEXTS,
    TOKEN,
    Damaged,
    check_link,
    create,
    make_link,
    relative,
    write_file,
)

_COPY_BYTES: Final = 1024 * 1024


def unpack_tar_packages(archive: Path, into: Path) -> tuple[Path, ...]:
    """Write the packages of an archive to a folder; blocks. Reads no further than they go.

    Raises:
        Damaged: it is no archive.
        OSError: a file cannot be written.
    """
    into.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    with _opened(archive) as tar:
        for member in tar:
            if not member.name.startswith(PACKAGES):
                break
            path = into / relative(member.name, PACKAGES)
            _write(path, tar, member)
            paths.append(path)
    return tuple(paths)


def unpack_tar(archive: Path, folder: Path) -> None:
    """Put what the packages brought on top of a skeleton; blocks.

    Raises:
        Damaged: it is no archive; the folder is half filled then.
        OSError: a file cannot be written.
    """
    with _opened(archive) as tar:
        for member in tar:
            kind = member.name[: member.name.find("/") + 1]
            if kind == PACKAGES:
                continue
            if kind not in (FILES, TEXTS):
                raise Damaged(f"it holds {member.name!r}")
            path = folder / relative(member.name, kind)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, tar, member, prefix=bytes(folder) if kind == TEXTS else None)


def _write(
    path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, *, prefix: bytes | None = None
) -> None:
    if member.issym():
        check_link(member.name, member.linkname)
        make_link(str(path), member.linkname)
        return
    content = tar.extractfile(member) if member.isfile() else None
    if content is None:
        raise Damaged(f"{member.name!r} is neither a file nor a link")
    executable = bool(member.mode & stat.S_IXUSR)
    if prefix is not None:
        if member.size > TEXT_BYTES_MAX:
            raise Damaged(f"{member.name!r} is too long for a text")
        write_file(str(path), content.read().replace(TOKEN, prefix), executable=executable)
        return
    with os.fdopen(create(str(path), executable=executable), "wb") as file:
        while data := content.read(_COPY_BYTES):  # ReadError when it ends too early
            file.write(data)


@contextmanager
def _opened(archive: Path) -> Generator[tarfile.TarFile]:
    try:
        with (
            archive.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            yield tar
    except (tarfile.TarError, zstandard.ZstdError, EOFError, UnicodeError) as error:
        raise Damaged(str(error)) from error
