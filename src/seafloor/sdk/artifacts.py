"""Artifacts and tf.events files over HTTP, in constant memory and checked by their digests."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import secrets
import stat
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from seafloor.domain.artifacts import ANY, ArtifactEntry, ArtifactFile, FileCondition
from seafloor.domain.errors import (
    InvalidValue,
    SeafloorError,
    StoreCorrupt,
    StoreFull,
    StoreUnavailable,
)
from seafloor.domain.names import check_path
from seafloor.sdk.downloads import Download, Progress
from seafloor.sdk.transport import Request, Transport, quote, quote_path
from seafloor.wire.artifacts import ArtifactDeleted, ArtifactFiles, ArtifactFolder, EventFileList
from seafloor.wire.tasks import Appended

_PIECE_BYTES: Final = 1024 * 1024
_NONE: Final[Mapping[str, str]] = {}


def no_progress(_size_bytes: int) -> None:
    pass


class Artifacts:
    """``/api/v1/runs/{run}/artifacts`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def folder(
        self, run_id: str, folder: str = "", *, limit: int = 1000, cursor: str | None = None
    ) -> ArtifactFolder:
        """Read a page of what is directly below a folder; ``""`` is the root.

        Args:
            run_id: Which run.
            folder: Which folder of it.
            limit: At most so many entries, 1..1000.
            cursor: ``next`` of the page before.

        Raises:
            NotFound: no such run.
        """
        query = [("folder", folder), ("limit", limit), ("cursor", cursor)]
        return self._transport.call(Request("GET", _path(run_id), query=query), ArtifactFolder)

    def entries(self, run_id: str, folder: str = "") -> Generator[ArtifactEntry]:
        """Read all that is directly below a folder, page by page."""
        cursor = None
        while True:
            page = self.folder(run_id, folder, cursor=cursor)
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    def iterate(self, run_id: str, folder: str = "") -> Generator[ArtifactFile]:
        """Read all files below a folder, page by page."""
        cursor = None
        while True:
            query = [("folder", folder), ("recursive", True), ("limit", 1000), ("cursor", cursor)]
            request = Request("GET", _path(run_id), query=query)
            page = self._transport.call(request, ArtifactFiles)
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    def put(
        self,
        run_id: str,
        path: str,
        source: Path,
        *,
        only_if: FileCondition | None = None,
        known: ArtifactFile | None = None,
        progress: Progress = no_progress,
    ) -> ArtifactFile:
        """Send a file; it is visible when this returns, and only whole.

        Args:
            run_id: Which run.
            path: What it is called there.
            source: Read twice: once for its digest.
            only_if: What has to be true of the file that is there when this one becomes visible,
                as ``NONE_THERE``. The file is then sent once only: a second time it would be
                compared with itself.
            known: What a listing tells of the path. When the file has the same bytes, and the
                server still has them, they are not sent.
            progress: Told of bytes sent; when the file is sent again, of as many less than none.

        Raises:
            PreconditionFailed: it is not as ``only_if`` asks. Nothing was changed.
            StoreUnavailable: with ``only_if`` it may have been put all the same: look.
            InvalidValue: path, or source is not a readable file.
            StoreCorrupt: the file changed while it was sent. Nothing was kept.
        """
        check_path(path)
        try:
            if not stat.S_ISREG(source.stat().st_mode):
                # Whoever opens a pipe waits for one that writes, and what it gave is gone then.
                raise InvalidValue(
                    f'"{source}" is a folder, a pipe or a device, not a file that can be read '
                    "twice: keep what you read from it in a file.",
                    field="source",
                )
            with source.open("rb") as file:
                size_bytes, sha256 = _measure(file)
                if known and known.sha256 == sha256 and self._is_kept(run_id, known):
                    progress(size_bytes)
                    return known
                request = Request(
                    "PUT",
                    f"{_path(run_id)}/{quote_path(path)}",
                    body=_ToldFile(file, size_bytes, progress),
                    size_bytes=size_bytes,
                    headers={"X-Content-SHA256": sha256, **_asking(only_if)},
                    repeatable=only_if is None,
                )
                return self._transport.call(request, ArtifactFile)
        except OSError as error:
            raise InvalidValue(
                f'"{source}" cannot be read: {error.strerror or error}.', field="source"
            ) from error

    def _is_kept(self, run_id: str, known: ArtifactFile) -> bool:
        """Whether the server has what a listing tells; that does not look whether the bytes are."""
        request = Request("HEAD", f"{_path(run_id)}/{quote_path(known.path)}")
        try:
            return self._transport.send(request).get("x-content-sha256") == known.sha256
        except StoreUnavailable:
            raise
        except SeafloorError:  # gone or damaged, which to put it mends
            return False

    def get(
        self,
        run_id: str,
        path: str,
        target: Path,
        *,
        known: ArtifactFile | None = None,
        progress: Progress = no_progress,
    ) -> int:
        """Fetch a file; it stands at ``target`` when it is there whole and checked.

        A connection that is cut is made again and goes on where it was.

        Args:
            run_id: Which run.
            path: Which file of it.
            target: Where to; its folder is made.
            known: What a listing tells of the path. When ``target`` has these bytes already, they
                are not fetched.
            progress: Told of bytes that came.

        Returns:
            Its size in bytes.

        Raises:
            NotFound: there is no such artifact. Nothing was written.
            StoreCorrupt: the bytes are not those of the digest. Nothing is left at ``target``.
            StoreFull: no space left here. Nothing is left at ``target``.
        """
        address = f"{_path(run_id)}/{quote_path(check_path(path))}"
        if known is not None and _is_same(target, known):
            progress(known.size_bytes)
            return known.size_bytes
        return fetch_file(self._transport, address, target, progress, may_be_direct=True)

    def size_bytes(self, run_id: str, path: str) -> int | None:
        """Ask how large a file is; None: what stands before the server leaves that out.

        Raises:
            NotFound: there is no such artifact, or no such run.
        """
        request = Request("HEAD", f"{_path(run_id)}/{quote_path(check_path(path))}")
        size = self._transport.send(request).get("content-length")
        return None if size is None else int(size)

    def delete(
        self, run_id: str, path: str, *, only_if: FileCondition | None = None
    ) -> ArtifactDeleted:
        """Delete a file, or a folder with all below it.

        Args:
            run_id: Which run.
            path: Which file or folder.
            only_if: What has to be true of the file, as for ``put``; a folder is no file.

        Raises:
            NotFound: there is neither.
            PreconditionFailed: it is not as ``only_if`` asks. Nothing was deleted.
            StoreUnavailable: with ``only_if`` it may have been deleted all the same: look.
        """
        request = Request(
            "DELETE",
            f"{_path(run_id)}/{quote_path(check_path(path))}",
            headers=_asking(only_if),
            repeatable=only_if is None,
        )
        return self._transport.call(request, ArtifactDeleted)

    def event_files(self, run_id: str) -> EventFileList:
        """Read which tf.events files a run has."""
        request = Request("GET", f"/api/v1/runs/{quote(run_id)}/event-files")
        return self._transport.call(request, EventFileList)

    def append_event_file(self, run_id: str, path: str, *, offset: int, data: bytes) -> int:
        """Append bytes to a tf.events file of a tracked run; a repeat is harmless.

        Args:
            run_id: Which run.
            path: What the file is called there.
            offset: Where the bytes begin in the file.
            data: At most 8 MiB.

        Returns:
            The offset that is wanted next.

        Raises:
            OutOfOrder: offset is above what was accepted.
        """
        request = Request(
            "POST",
            f"/api/v1/runs/{quote(run_id)}/attempts/0/event-files",
            query=[("path", path), ("offset", offset)],
            body=data,
            repeatable=True,
        )
        return self._transport.call(request, Appended).next_offset

    def get_event_file(
        self,
        run_id: str,
        attempt: int,
        path: str,
        target: Path,
        *,
        progress: Progress = no_progress,
    ) -> int:
        """Fetch a tf.events file; see ``get``."""
        address = f"/api/v1/runs/{quote(run_id)}/event-files/{attempt}/{quote_path(path)}"
        return fetch_file(self._transport, address, target, progress)


def fetch_file(
    transport: Transport,
    address: str,
    target: Path,
    progress: Progress = no_progress,
    *,
    may_be_direct: bool = False,
    headers: Mapping[str, str] = _NONE,
) -> int:
    """Fetch what a path of a server gives into a file; see ``Artifacts.get``.

    Args:
        may_be_direct: Whether the server knows URLs past itself for such paths.
        headers: Sent with each request.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _open_part(target) as (file, part), ExitStack() as undone:
            undone.callback(part.unlink, missing_ok=True)
            download = Download(transport, address, file, progress, headers=headers)
            size_bytes = download.run(may_be_direct=may_be_direct)
            file.flush()
            os.fsync(file.fileno())
            part.replace(target)
            undone.pop_all()
    except OSError as error:
        raise _unwritable(target, error) from error
    return size_bytes


@contextmanager
def _open_part(target: Path) -> Generator[tuple[BinaryIO, Path]]:
    """Open an empty file beside a target, and lock it until the end.

    It has one name as long as nobody else fetches the same: what a killed process left there, as
    much as the file is large, is written over by the next one. Where there are no locks nobody
    can tell whose such a file is, and it is let be.
    """
    part = target.with_name(f".{target.name[:200]}.part")
    is_new = True
    try:
        file = _open(part, os.O_EXCL)
    except FileExistsError:
        is_new = False
        try:
            file = _open(part)
        except OSError:  # another user's, or no file: the name below is free
            file = None
    if file is not None:
        with file:
            if _is_ours(file, part, is_new=is_new):
                file.truncate()
                yield file, part
                return
    part = target.with_name(f".{target.name[:200]}.{secrets.token_hex(4)}.part")
    with part.open("xb") as file:
        yield file, part


def _open(part: Path, flags: int = 0) -> BinaryIO:
    return os.fdopen(os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | flags, 0o666), "r+b")


def _is_ours(file: BinaryIO, part: Path, *, is_new: bool) -> bool:
    """Lock a file; False when somebody has, or had and renamed it.

    Args:
        is_new: It was made here, so that it is ours also where there are no locks.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # this file system has no locks
        return is_new
    try:
        return os.path.samestat(os.fstat(file.fileno()), part.lstat())
    except FileNotFoundError:
        return False


class _ToldFile:
    """A file of a known size that tells how much of it was read."""

    def __init__(self, file: BinaryIO, size_bytes: int, progress: Progress) -> None:
        self._file = file
        self._size_bytes = size_bytes
        self._progress = progress
        self._told_bytes = 0

    def read(self, size_bytes: int = -1, /) -> bytes:
        left_bytes = self._size_bytes - self._file.tell()
        piece = self._file.read(left_bytes if size_bytes < 0 else min(size_bytes, left_bytes))
        if not piece and left_bytes:
            raise StoreCorrupt("The file became shorter while it was sent. Nothing was kept.")
        self._told_bytes += len(piece)
        self._progress(len(piece))
        return piece

    def seek(self, offset: int, /) -> int:
        again_bytes, self._told_bytes = self._told_bytes - offset, offset
        if again_bytes > 0:
            self._progress(-again_bytes)
        return self._file.seek(offset)


def _unwritable(target: Path, error: OSError) -> SeafloorError:
    said = f'"{target}" cannot be written: {error.strerror or error}.'
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(said, field="target")
    return InvalidValue(said, field="target")


def _measure(file: BinaryIO) -> tuple[int, str]:
    digest, size_bytes = hashlib.sha256(), 0
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
        size_bytes += len(piece)
    return size_bytes, digest.hexdigest()


def _is_same(target: Path, known: ArtifactFile) -> bool:
    """Whether a file stands there already, itself and no link, with the bytes of a kept one."""
    try:
        found = target.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_size != known.size_bytes:
            return False
        with target.open("rb") as file:
            return _measure(file) == (known.size_bytes, known.sha256)
    except OSError:  # what is in the way is told by who fetches
        return False


def _asking(only_if: FileCondition | None) -> dict[str, str]:
    """The headers that ask for a condition."""
    if only_if is None:
        return {}
    headers: dict[str, str] = {}
    if only_if.any_of is not None:
        headers["If-Match"] = _etags(only_if.any_of)
    if only_if.none_of:
        headers["If-None-Match"] = _etags(only_if.none_of)
    return headers


def _etags(digests: frozenset[str]) -> str:
    return ANY if ANY in digests else ", ".join(f'"{one}"' for one in sorted(digests))


def _path(run_id: str) -> str:
    return f"/api/v1/runs/{quote(run_id)}/artifacts"
