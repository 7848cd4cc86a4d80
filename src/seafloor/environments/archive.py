"""Archives of built environments: what packages brought, without the place it was built at.

An environment is a skeleton, which every machine makes for itself at its own path, and what the
packages put on top. Only the latter is packed. Texts that name the folder (the first lines of
scripts) hold a token instead, replaced on arrival; a binary that names it cannot be moved, and
such an environment is not packed. Format: ``docs/formats/environment-archive.md``.
"""

from __future__ import annotations

import hashlib
import io
import mmap
import os
import stat
import tarfile
from collections import deque
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final, Self, cast

import zstandard

from seafloor.environments.record import RECORD_NAME

TOKEN: Final = b"@SEAFLOOR_ENVIRONMENT_PREFIX@"
TEXT_BYTES_MAX: Final = 2 * 1024 * 1024
_FILES: Final = "files/"
_TEXTS: Final = "texts/"
_PACKAGES: Final = "packages/"
_LEVEL: Final = 3
_THREADS: Final = 2
_MAPPED_BYTES: Final = 1024 * 1024
_COPY_BYTES: Final = 1024 * 1024
_WRITERS: Final = 4
_HANDED_MAX: Final = 32
_HANDED_BYTES_MAX: Final = 4 * 1024 * 1024
_LEFT_OUT: Final = frozenset({RECORD_NAME, f"{RECORD_NAME}.new", ".lock"})

Listing = Mapping[str, tuple[int, int, int]]
"""Paths of files and links, each with size, time of change and inode."""


class NotMovable(Exception):
    """This environment cannot be packed; the text says why."""


class Damaged(Exception):
    """The bytes are no archive of an environment, or one that must not be unpacked."""


@dataclass(frozen=True)
class Packed:
    """An archive that was written.

    Args:
        sha256: Of its bytes.
        size_bytes: Of them.
    """

    sha256: str
    size_bytes: int


def list_folder(folder: Path) -> Listing:
    """List files and links below a folder, but for compiled modules: Python makes them anew."""
    found: dict[str, tuple[int, int, int]] = {}
    waiting = [""]
    while waiting:
        below = waiting.pop()
        with os.scandir(folder / below) as entries:
            for entry in entries:
                path = f"{below}{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    if entry.name != "__pycache__":
                        waiting.append(f"{path}/")
                elif path not in _LEFT_OUT:
                    status = entry.stat(follow_symlinks=False)
                    found[path] = (status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def pack(
    folder: Path, target: Path, *, skeleton: Listing, built: Listing, packages: Sequence[Path] = ()
) -> Packed:
    """Write the archive of an environment; blocks.

    Args:
        target: A file that is made; a leftover when this raises.
        skeleton: What was there before the packages.
        built: What was there when the build ended. A run may have changed the folder since.
        packages: Files from which the skeleton is made on arrival.

    Raises:
        NotMovable: it names its own place in a binary, or was changed since it was built.
        OSError: a file cannot be read or written.
    """
    if skeleton.keys() - built.keys():
        raise NotMovable("a package replaced files of the interpreter")
    digest = hashlib.sha256()
    with target.open("wb") as file:
        out = cast("IO[bytes]", _Hashed(file, digest.update))
        compressor = zstandard.ZstdCompressor(level=_LEVEL, threads=_THREADS)
        with (
            compressor.stream_writer(out, closefd=False) as packed,
            tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as tar,
        ):
            for package in packages:
                _add(tar, _PACKAGES + package.name, package.read_bytes())
            for path in sorted(built):
                if skeleton.get(path) != built[path]:
                    _pack_one(tar, folder, path, built[path])
        size_bytes = file.tell()
    return Packed(digest.hexdigest(), size_bytes)


def unpack_packages(archive: Path, into: Path) -> tuple[Path, ...]:
    """Write the packages of an archive to a folder; blocks. Reads no further than they go.

    Raises:
        Damaged: it is no archive.
        OSError: a file cannot be written.
    """
    into.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    with _opened(archive) as tar:
        for member in tar:
            if not member.name.startswith(_PACKAGES):
                break
            path = into / _relative(member.name, _PACKAGES)
            _write(path, tar, member)
            paths.append(path)
    return tuple(paths)


def unpack(archive: Path, folder: Path) -> None:
    """Put what the packages brought on top of a skeleton; blocks.

    Raises:
        Damaged: it is no archive; the folder is half filled then.
        OSError: a file cannot be written.
    """
    prefix = os.fsencode(folder)
    made: set[Path] = set()
    with _opened(archive) as tar, _Writers() as writers:
        for member in tar:
            kind = member.name[: member.name.find("/") + 1]
            if kind == _PACKAGES:
                continue
            if kind not in (_FILES, _TEXTS):
                raise Damaged(f"it holds {member.name!r}")
            path = folder / _relative(member.name, kind)
            if path.parent not in made:
                path.parent.mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            if member.isfile() and member.size <= _HANDED_BYTES_MAX:
                data = _content(tar, member).read()
                if kind == _TEXTS:
                    data = data.replace(TOKEN, prefix)
                writers.hand(path, data, _mode(member))
            elif kind == _TEXTS:
                raise Damaged(f"{member.name!r} is too long for a text")
            else:
                _write(path, tar, member)


class _Writers:
    """Threads that make small files while the next ones are read: that is most of the work."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(_WRITERS, thread_name_prefix="unpack")
        self._handed: deque[Future[None]] = deque()

    def hand(self, path: Path, data: bytes, mode: int) -> None:
        """Have a file written; waits, or raises what an earlier one met, when many are handed."""
        if len(self._handed) >= _HANDED_MAX:
            self._handed.popleft().result()
        self._handed.append(self._pool.submit(_write_file, path, data, mode))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for one in self._handed:
                one.result()


def _pack_one(tar: tarfile.TarFile, folder: Path, path: str, listed: tuple[int, int, int]) -> None:
    source = folder / path
    status = source.lstat()
    if (status.st_size, status.st_mtime_ns, status.st_ino) != listed:
        raise NotMovable(f"{path} was changed after the build")
    prefix = os.fsencode(folder)
    if stat.S_ISLNK(status.st_mode):
        link = os.readlink(source)  # noqa: PTH115 - as it is
        if not _stays_inside(path, link):
            raise NotMovable(f"{path} is a link that leaves the environment")
        info = tarfile.TarInfo(_FILES + path)
        info.type, info.linkname = tarfile.SYMTYPE, link
        tar.addfile(info)
        return
    executable = bool(status.st_mode & stat.S_IXUSR)
    with source.open("rb") as file:
        if status.st_size > _MAPPED_BYTES:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                names_prefix = data.find(prefix) >= 0
            if not names_prefix:
                tar.addfile(_info(_FILES + path, status.st_size, executable=executable), file)
                return
        data = file.read()
    if prefix not in data:
        _add(tar, _FILES + path, data, executable=executable)
    elif b"\0" in data or TOKEN in data or len(data) > TEXT_BYTES_MAX:
        raise NotMovable(f"{path} names the folder it was built in")
    else:
        _add(tar, _TEXTS + path, data.replace(prefix, TOKEN), executable=executable)


def _add(tar: tarfile.TarFile, name: str, data: bytes, *, executable: bool = False) -> None:
    tar.addfile(_info(name, len(data), executable=executable), io.BytesIO(data))


def _info(name: str, size_bytes: int, *, executable: bool) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mode = 0o755 if executable else 0o644
    return info


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


def _write(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    """Write one file or link; what a skeleton has there already is replaced."""
    if member.issym():
        inside = member.name.partition("/")[2]
        if not _stays_inside(inside, member.linkname):
            raise Damaged(f"{member.name!r} is a link that leaves the environment")
        path.unlink(missing_ok=True)
        path.symlink_to(member.linkname)
        return
    content = _content(tar, member)
    with open(_created(path, _mode(member)), "wb", buffering=0) as file:
        while data := content.read(_COPY_BYTES):  # ReadError when it ends too early
            _write_all(file, data)


def _write_file(path: Path, data: bytes, mode: int) -> None:
    with open(_created(path, mode), "wb", buffering=0) as file:
        _write_all(file, data)


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    content = tar.extractfile(member) if member.isfile() else None
    if content is None:
        raise Damaged(f"{member.name!r} is neither a file nor a link")
    return content


def _mode(member: tarfile.TarInfo) -> int:
    return 0o755 if member.mode & stat.S_IXUSR else 0o644


def _write_all(file: IO[bytes], data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _created(path: Path, mode: int) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        path.unlink()
        return os.open(path, flags, mode)


def _relative(name: str, kind: str) -> str:
    path = PurePosixPath(name[len(kind) :])
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise Damaged(f"{name!r} is not a path inside an environment")
    return str(path)


def _stays_inside(path: str, link: str) -> bool:
    """Whether a link at ``path`` points below the environment's folder."""
    target = os.path.normpath(str(PurePosixPath(path).parent / link))
    return not link.startswith("/") and target.split("/", 1)[0] != ".."


class _Hashed:
    """Writes on, telling of every byte."""

    def __init__(self, file: IO[bytes], told: Callable[[bytes], object]) -> None:
        self._file = file
        self._told = told

    def write(self, data: bytes, /) -> int:
        self._told(data)
        return self._file.write(data)
