"""The output folder: every file becomes an artifact when the command has ended."""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import stat
import threading
import urllib.parse
from typing import Callable, Iterator, List, NamedTuple, Optional, Tuple

from .progress import Progress
from .server import BUG, TRIES_AFTER_A_BUG, Refused, Request, Server, ServerAway
from .tree import walk

PARALLEL = 8
"""The server waits for its disk with each file, and commits all that wait together at once."""
LOOK_S = 0.2
"""How often whoever waits for them is told how far it is."""
TRIES_WHILE_WRITTEN = 3
_BLOCK_BYTES = 1 << 20
_OTHERS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class Changed(Exception):
    """A file became another while it was sent."""


class Uploaded(NamedTuple):
    """What became of the output folder.

    Args:
        files: How many were taken.
        failed: Paths and why, of those that were not.
    """

    files: int
    failed: List[Tuple[str, str]]


class Outputs:
    """Uploads a folder.

    Args:
        folder: Its root; nothing outside is sent.
        api_path: Of the workload on the server.
        connect: Makes a connection for a thread.
        patiently: Calls a function until it raises no ServerAway; raises when it is given up.
        progress: Told how far it is, by the thread that waits.
    """

    def __init__(
        self,
        folder: str,
        api_path: str,
        *,
        connect: Callable[[], Server],
        patiently: Callable[[Callable[[], None]], None],
        progress: Progress,
    ) -> None:
        self._folder = folder
        self._path = api_path + "/artifacts/"
        self._connect = connect
        self._patiently = patiently
        self._progress = progress
        self._lock = threading.Lock()  # of what the threads count
        self._failed: List[Tuple[str, str]] = []
        self._files = 0
        self._done = 0
        self._broken: List[BaseException] = []
        self._waiting: "queue.SimpleQueue[str]" = queue.SimpleQueue()

    def upload(self) -> Uploaded:
        """Send every file below the folder; may be repeated.

        Raises:
            WorkloadGone: nobody wants them.
            Whatever ``patiently`` raises when it gives up.
        """
        count = 0
        for name in self._names():
            self._waiting.put(name)
            count += 1
        threads = [
            threading.Thread(target=self._work, name="upload", daemon=True)
            for _ in range(min(PARALLEL, count))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(LOOK_S)
                self._progress.look(self._done, count)
        if self._broken:
            raise self._broken[0]
        self._progress.end(self._files, count)
        return Uploaded(self._files, sorted(self._failed))

    def _names(self) -> Iterator[str]:
        root = os.path.realpath(self._folder)
        if os.path.islink(self._folder):
            self._failed.append((".", "the output folder was replaced by a link"))
            return
        for parent, folders, names in walk(root, onerror=self._skip_folder):
            for folder in folders:
                if os.path.islink(os.path.join(parent, folder)):
                    self._skip(os.path.relpath(os.path.join(parent, folder), root))
            for name in names:
                path = os.path.join(parent, name)
                relative = os.path.relpath(path, root)
                if _is_endless(path):
                    self._failed.append((relative, "it leads through too many links"))
                    continue
                real = os.path.realpath(path)
                if real != path and not real.startswith(root + os.sep):
                    self._skip(relative)
                    continue
                kind = _kind(real)
                if kind == stat.S_IFREG:
                    yield relative
                elif kind is not None:
                    self._failed.append(
                        (relative, "it is {}".format(_OTHERS.get(kind, "a device")))
                    )

    def _skip(self, name: str) -> None:
        self._failed.append((name, "a link to a folder, or out of the output folder"))

    def _skip_folder(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # removed: there is nothing to keep
            name = os.path.relpath(error.filename, os.path.realpath(self._folder))
            self._failed.append((name, "the folder cannot be read: {}".format(error.strerror)))

    def _work(self) -> None:
        """Send files until none is left; trouble that concerns all ends the other threads too."""
        server = self._connect()
        try:
            while not self._broken:
                name = self._waiting.get_nowait()
                why_not = self._send(server, name)
                with self._lock:
                    self._done += 1
                    if why_not is None:
                        self._files += 1
                    else:
                        self._failed.append((name, why_not))
        except queue.Empty:
            return
        except BaseException as error:  # noqa: BLE001  # raised again by the thread that waits
            self._broken.append(error)
        finally:
            server.close()

    def _send(self, server: Server, name: str) -> Optional[str]:
        """Send one file; return why it was not taken, None when it was."""
        path = os.path.join(self._folder, name)
        target = self._path + urllib.parse.quote(os.fsencode(name), safe="/")
        tries = 0

        def once() -> None:
            nonlocal tries
            tries += 1
            digest, size_bytes = announced = _digest(path)
            headers = {
                "Content-Type": "application/octet-stream",
                "Content-Length": str(size_bytes),
                "X-Content-SHA256": digest,
            }
            try:
                server.send(Request("PUT", target, _blocks(path, size_bytes), headers, "sha256"))
            except ServerAway as error:
                if error.code == BUG and tries >= TRIES_AFTER_A_BUG:
                    raise Refused(500, error.code, str(error), None) from error
                raise
            except Refused as error:
                if _digest(path) == announced:
                    raise
                raise Changed(path) from error

        for _ in range(TRIES_WHILE_WRITTEN):
            try:
                self._patiently(once)
                return None
            except Changed:
                server.close()
            except Refused as error:
                return error.message
            except OSError as error:
                return "it cannot be read: {}".format(error.strerror)
        return "it was still being written"


def _is_endless(path: str) -> bool:
    """Whether no program can follow a link; ``realpath`` would call itself for each of a chain."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _kind(path: str) -> Optional[int]:
    try:
        return stat.S_IFMT(os.stat(path).st_mode)
    except OSError:  # a dangling link, or removed since it was listed: there is nothing to keep
        return None


def _digest(path: str) -> Tuple[str, int]:
    digest, size_bytes = hashlib.sha256(), 0
    with open(path, "rb", buffering=0) as stream:
        while True:
            block = stream.read(_BLOCK_BYTES)
            if not block:
                return digest.hexdigest(), size_bytes
            digest.update(block)
            size_bytes += len(block)


def _blocks(path: str, size_bytes: int) -> Iterator[bytes]:
    """The first bytes of a file; exactly so many, since so many were announced."""
    left = size_bytes
    with open(path, "rb", buffering=0) as stream:
        while left > 0:
            block = stream.read(min(_BLOCK_BYTES, left))
            if not block:
                raise Changed(path)
            left -= len(block)
            yield block
