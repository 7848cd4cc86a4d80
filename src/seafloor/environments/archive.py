"""Archives of built environments: what packages brought, without the place it was built at.

An environment is a skeleton, which every machine makes for itself at its own path, and what the
packages put on top. Only the latter is packed. Texts that name the folder (the first lines of
scripts) hold a token instead, replaced on arrival; a binary that names it cannot be moved, and
such an environment is not packed. Format: ``docs/formats/environment-archive.md``.

An archive is a row of frames, each good for itself: some are unpacked while others arrive.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final

import msgspec
import zstandard

from seafloor.environments.record import RECORD_NAME

TOKEN: Final = b"@SEAFLOOR_ENVIRONMENT_PREFIX@"
TEXT_BYTES_MAX: Final = 2 * 1024 * 1024
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""What a frame may be unpacked to, and so what one that lies can cost."""

FILES: Final = "files/"
TEXTS: Final = "texts/"
PACKAGES: Final = "packages/"
_FRAME_BYTES: Final = 4 * 1024 * 1024
_HEADING_BYTES: Final = 4
_LEVEL: Final = 6
_MODE: Final = 0o644
_MODE_EXECUTABLE: Final = 0o755
_LEFT_OUT: Final = frozenset({RECORD_NAME, f"{RECORD_NAME}.new", ".lock"})

Listing = Mapping[str, tuple[int, int, int]]
"""Paths of files and links, each with size, time of change and inode."""


class NotMovable(Exception):
    """This environment cannot be packed; the text says why."""


class Damaged(Exception):
    """The bytes are no archive of an environment, or one that must not be unpacked."""


class Frame(msgspec.Struct, frozen=True):
    """One frame of an archive.

    Args:
        size_bytes: As it lies there.
        sha256: Of these bytes.
    """

    size_bytes: int
    sha256: str


class Entry(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """What a frame says of one file or link.

    Args:
        name: ``packages/…``, ``files/…`` or ``texts/…``.
        size: How many of the frame's bytes are its own.
        executable: Of a file.
        link: A link, and where it points.
        start: Of a large file, which comes in pieces: where its bytes begin.
        total: Size of the large file.
    """

    name: str
    size: int = 0
    executable: bool = False
    link: str | None = None
    start: int | None = None
    total: int = 0


_ENTRIES: Final = msgspec.json.Decoder(list[Entry])


@dataclass(frozen=True)
class Packed:
    """An archive that was written.

    Args:
        sha256: Of its bytes.
        size_bytes: Of them.
        frames: In their order.
        package_frames: How many of them, the first, hold the packages of conda.
    """

    sha256: str
    size_bytes: int
    frames: tuple[Frame, ...]
    package_frames: int


def list_folder(folder: Path) -> Listing:
    """List files and links below a folder, but for compiled modules, which any run may add."""
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
    folder: Path,
    target: Path,
    *,
    skeleton: Listing,
    built: Listing,
    packages: Sequence[Path] = (),
    compiled: Mapping[str, Path] | None = None,
) -> Packed:
    """Write the archive of an environment; blocks.

    Args:
        target: A file that is made; a leftover when this raises.
        skeleton: What was there before the packages.
        built: What was there when the build ended. A run may have changed the folder since.
        packages: Files from which the skeleton is made on arrival.
        compiled: Modules that were compiled of what the packages brought, by where they belong.

    Raises:
        NotMovable: it names its own place in a binary, or was changed since it was built.
        OSError: a file cannot be read or written.

    Cost: memory of a few frames, whatever the environment's size.
    """
    if skeleton.keys() - built.keys():
        raise NotMovable("a package replaced files of the interpreter")
    with target.open("wb") as file:
        frames = _Frames(file)
        for package in packages:
            frames.add_large(PACKAGES + package.name, package)
        package_frames = frames.end()
        for path in sorted(built):
            if skeleton.get(path) != built[path]:
                _pack_one(frames, folder, path, built[path])
        for path, file_of in (compiled or {}).items():
            data = file_of.read_bytes()
            frames.add(Entry(name=FILES + path, size=len(data)), data)
        frames.end()
        return Packed(frames.sha256, file.tell(), tuple(frames.ended), package_frames)


class Unpacking:
    """Puts an archive, frame by frame, on top of a skeleton; frames may come in any order.

    ``frame`` may be called in several threads at once. All of it is there when ``end`` has
    returned.

    Args:
        folder: Of the environment.
        packages: Where packages of conda go.
        waits: Whether the skeleton is still being made: what is to be written is held back until
            ``begin``, or until ``give_up``.
    """

    def __init__(self, folder: Path, packages: Path, *, waits: bool = False) -> None:
        self._folders = {PACKAGES: str(packages), FILES: str(folder), TEXTS: str(folder)}
        self._prefix = os.fsencode(folder)
        self._made: set[str] = set()
        self._lock = threading.Lock()
        self._links: list[Entry] = []
        self._missing: dict[str, int] = {}
        self._packages: set[Path] = set()
        self._skeleton: dict[str, int] = {}
        self._size_bytes = 0
        self._ready = threading.Event()
        self._given_up = False
        if not waits:
            self._ready.set()

    @property
    def packages(self) -> Sequence[Path]:
        """Files of the packages that came so far."""
        return sorted(self._packages)

    @property
    def size_bytes(self) -> int:
        """Of the skeleton that ``begin`` was told of, and of what came so far."""
        return self._size_bytes

    def begin(self, skeleton: Listing) -> None:
        """Say that the skeleton is there, and what it has."""
        root = os.fsdecode(self._prefix)
        self._skeleton = {f"{root}/{path}": size for path, (size, _, _) in skeleton.items()}
        self._size_bytes = sum(self._skeleton.values())
        self._ready.set()

    def give_up(self) -> None:
        """Let frames that wait, or come from now on, end without writing anything."""
        self._given_up = True
        self._ready.set()

    def frame(self, data: bytes, frame: Frame) -> None:
        """Unpack one frame; blocks.

        Raises:
            Damaged: it is not that frame, or must not be unpacked; the folder is half filled then.
            OSError: a file cannot be written.
        """
        if hashlib.sha256(data).hexdigest() != frame.sha256:
            raise Damaged("a frame is not as it was stored")
        plain = memoryview(_plain(data))
        at = _HEADING_BYTES + int.from_bytes(plain[:_HEADING_BYTES], "big")
        if at > len(plain):
            raise Damaged("the heading of a frame is longer than the frame")
        try:
            entries = _ENTRIES.decode(plain[_HEADING_BYTES:at])
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Damaged(f"the heading of a frame cannot be read: {error}") from error
        self._ready.wait()
        if self._given_up:
            return
        size_bytes = 0
        for entry in entries:
            end = at + entry.size
            if entry.size < 0 or end > len(plain):
                raise Damaged(f"{entry.name!r} has fewer bytes than it says")
            size_bytes += self._take(entry, plain[at:end])
            at = end
        with self._lock:
            self._size_bytes += size_bytes

    def end(self) -> None:
        """Make the links, now that no file can be written through one; blocks.

        Raises:
            Damaged: a large file is not whole, or a link leaves the environment.
            OSError: a link cannot be made.
        """
        if any(self._missing.values()):
            raise Damaged("a large file is not whole")
        for entry in self._links:
            check_link(entry.name, entry.link or "")
            make_link(self._path(entry.name), entry.link or "")

    def _take(self, entry: Entry, data: memoryview) -> int:
        """Write an entry, a link excepted; says by how many bytes the environment grows."""
        path = self._path(entry.name)
        replaced_bytes = self._skeleton.get(path, 0) if not entry.start else 0
        if entry.link is not None:
            with self._lock:
                self._links.append(entry)
            return len(os.fsencode(entry.link)) - replaced_bytes
        if entry.name.startswith(TEXTS):
            data = memoryview(bytes(data).replace(TOKEN, self._prefix))
        if entry.start is not None:
            self._fill(entry, path, entry.start, data)
        else:
            self._note(entry.name, path)
            write_file(path, data, executable=entry.executable)
        return len(data) - replaced_bytes

    def _fill(self, entry: Entry, path: str, start: int, data: memoryview) -> None:
        """Write a piece of a large file; who comes first makes the file."""
        if start < 0 or start + len(data) > entry.total:
            raise Damaged(f"{entry.name!r} has a piece beyond its end")
        with self._lock:
            if entry.name not in self._missing:
                descriptor = create(path, executable=entry.executable)
                self._missing[entry.name] = entry.total
            else:
                descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._missing[entry.name] -= len(data)
        try:
            while data:
                written = os.pwrite(descriptor, data, start)
                data, start = data[written:], start + written
        finally:
            os.close(descriptor)
        self._note(entry.name, path)

    def _path(self, name: str) -> str:
        kind = name[: name.find("/") + 1]
        into = self._folders.get(kind)
        if into is None:
            raise Damaged(f"it holds {name!r}")
        path = f"{into}/{relative(name, kind)}"
        parent = path[: path.rfind("/")]
        if parent not in self._made:
            os.makedirs(parent, exist_ok=True)  # noqa: PTH103 - as all here, without Path: ten thousand times
            self._made.add(parent)
        return path

    def _note(self, name: str, path: str) -> None:
        if name.startswith(PACKAGES):
            with self._lock:
                self._packages.add(Path(path))


class _Frames:
    """Writes an archive."""

    def __init__(self, file: IO[bytes]) -> None:
        self.ended: list[Frame] = []
        self._file = file
        self._sha256 = hashlib.sha256()
        self._compressor = zstandard.ZstdCompressor(level=_LEVEL)
        self._entries: list[Entry] = []
        self._contents: list[bytes] = []
        self._size_bytes = 0

    @property
    def sha256(self) -> str:
        """Of what was written so far."""
        return self._sha256.hexdigest()

    def add(self, entry: Entry, data: bytes = b"") -> None:
        """Add a file or link; a frame that is full is written."""
        self._entries.append(entry)
        self._contents.append(data)
        self._size_bytes += len(data)
        if self._size_bytes >= _FRAME_BYTES:
            self.end()

    def add_large(self, name: str, path: Path, *, executable: bool = False) -> None:
        """Add a file in pieces."""
        total = path.stat().st_size
        with path.open("rb") as file:
            for start in range(0, total, _FRAME_BYTES):
                data = file.read(_FRAME_BYTES)
                self.add(
                    Entry(
                        name=name, size=len(data), executable=executable, start=start, total=total
                    ),
                    data,
                )

    def end(self) -> int:
        """Write what was added as a frame; says how many there are."""
        if self._entries:
            heading = msgspec.json.encode(self._entries)
            length = len(heading).to_bytes(_HEADING_BYTES, "big")
            packed = self._compressor.compress(b"".join((length, heading, *self._contents)))
            self._file.write(packed)
            self._sha256.update(packed)
            self.ended.append(Frame(len(packed), hashlib.sha256(packed).hexdigest()))
            self._entries, self._contents, self._size_bytes = [], [], 0
        return len(self.ended)


def create(path: str, *, executable: bool) -> int:
    """Open a file that is made; what a skeleton has there is replaced."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    mode = _MODE_EXECUTABLE if executable else _MODE
    try:
        return os.open(path, flags, mode)
    except FileExistsError:
        os.unlink(path)  # noqa: PTH108
        return os.open(path, flags, mode)


def write_file(path: str, data: memoryview | bytes, *, executable: bool) -> None:
    """Write a file whole; what a skeleton has there is replaced."""
    rest = memoryview(data)
    descriptor = create(path, executable=executable)
    try:
        while rest:
            rest = rest[os.write(descriptor, rest) :]
    finally:
        os.close(descriptor)


def make_link(path: str, link: str) -> None:
    """Make a link; what a skeleton has there is replaced."""
    try:
        os.symlink(link, path)  # noqa: PTH211
    except FileExistsError:
        os.unlink(path)  # noqa: PTH108
        os.symlink(link, path)  # noqa: PTH211


def relative(name: str, kind: str) -> str:
    """The path that an archive's name stands for; Damaged if it is none inside a folder."""
    path = name[len(kind) :]
    if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
        raise Damaged(f"{name!r} is not a path inside an environment")
    return path


def check_link(name: str, link: str) -> None:
    """Check that a link points below the environment's folder; Damaged."""
    if not _stays_inside(name.partition("/")[2], link):
        raise Damaged(f"{name!r} is a link that leaves the environment")


def _stays_inside(path: str, link: str) -> bool:
    target = os.path.normpath(str(PurePosixPath(path).parent / link))
    return not link.startswith("/") and target.split("/", 1)[0] != ".."


def _plain(data: bytes) -> bytes:
    try:
        if zstandard.frame_content_size(data) > FRAME_BYTES_MAX:
            raise Damaged("a frame is too large")
        return zstandard.ZstdDecompressor().decompress(data, max_output_size=FRAME_BYTES_MAX)
    except zstandard.ZstdError as error:
        raise Damaged(f"a frame cannot be unpacked: {error}") from error


def _pack_one(frames: _Frames, folder: Path, path: str, listed: tuple[int, int, int]) -> None:
    source = folder / path
    status = source.lstat()
    if (status.st_size, status.st_mtime_ns, status.st_ino) != listed:
        raise NotMovable(f"{path} was changed after the build")
    if stat.S_ISLNK(status.st_mode):
        link = os.readlink(source)  # noqa: PTH115 - as it is
        if not _stays_inside(path, link):
            raise NotMovable(f"{path} is a link that leaves the environment")
        frames.add(Entry(name=FILES + path, link=link))
        return
    prefix = os.fsencode(folder)
    executable = bool(status.st_mode & stat.S_IXUSR)
    if status.st_size > TEXT_BYTES_MAX:
        with (
            source.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as all_,
        ):
            if all_.find(prefix) >= 0:
                raise NotMovable(f"{path} names the folder it was built in")
        frames.add_large(FILES + path, source, executable=executable)
        return
    data = source.read_bytes()
    if prefix in data:
        if b"\0" in data or TOKEN in data:
            raise NotMovable(f"{path} names the folder it was built in")
        name, data = TEXTS + path, data.replace(prefix, TOKEN)
    else:
        name = FILES + path
    frames.add(Entry(name=name, size=len(data), executable=executable), data)
