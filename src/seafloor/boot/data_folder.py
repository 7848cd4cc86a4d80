"""The data folder: one server at a time has it open, and says where it can be reached."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from pathlib import Path
from typing import IO, Final

import msgspec

from seafloor.domain.errors import Conflict, InvalidValue, StoreFull

_INSTALLATION_FILE: Final = "installation.id"
_WHERE_FILE: Final = "place.where"
_NO_SPACE = (28, 122)  # ENOSPC, EDQUOT
_BEFORE_A_SERVER = {"cache", "secrets", "seafloor.toml", "server.log"}
"""What our own commands put into a data folder before a server first opens it."""


class ServerFile(msgspec.Struct, frozen=True):
    """``server.json``: where the server of this folder is; agents and the CLI read it.

    Args:
        url: As tasks and clients on this machine reach it.
        pid: Of the server.
        port: Where it listens; the next one of this folder listens there again.
        version: Of the server.
        started_ns: UTC.
        own_url: Where it answers on this machine, whatever proxy ``url`` leads to.
    """

    url: str
    pid: int
    port: int
    version: str
    started_ns: int
    own_url: str = ""  # older versions did not say


class DataFolder:
    """The folder that holds all that is not elsewhere by URL; others may not look inside.

    Raises:
        InvalidValue: it cannot be made or written.
        Conflict: another server has it open.
        StoreFull: no space left.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not (path / "server.lock").exists():
                path.chmod(0o700)  # once: what its owner opens later stays as he wants it
                _keep_out_of_git(path)
            self._lock = (path / "server.lock").open("a+b")
        except OSError as error:
            raise _refusal(path, error) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self._lock.close()
            raise Conflict(_taken(path)) from error

    @property
    def server_file(self) -> Path:
        """Where the server's address stands."""
        return self.path / "server.json"

    def sub(self, name: str) -> Path:
        """A folder below, made when it is missing."""
        folder = self.path / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refusal(folder, error) from error
        return folder

    def port_last(self) -> int | None:
        """Where the last server of this folder listened; None when there was none."""
        found = read_server_file(self.server_file)
        return None if found is None else found.port

    def write_server_file(self, content: ServerFile) -> None:
        """Say where the server is; whole or not at all."""
        try:
            _write_whole(self.server_file, msgspec.json.encode(content), mode=0o644)
        except OSError as error:
            raise _refusal(self.server_file, error) from error

    def key(self) -> bytes:
        """A key to sign the tokens of tasks with; made once, readable by its owner only.

        In use is the one in the database, which got that of the first server.
        """
        file = self.path / "token.key"
        try:
            if not file.exists():
                _write_whole(file, secrets.token_bytes(32), mode=0o600)
            return file.read_bytes()
        except OSError as error:
            raise _refusal(file, error) from error

    def place(self) -> str:
        """The id of this folder as a place of tasks; made once, goes with the folder.

        It begins with the machine's name, for people. No two servers may have the same: see
        ``check_place_is_ours``.
        """
        file = self.path / "place.id"
        try:
            if not file.exists():
                host = re.sub(r"[^a-z0-9-]", "-", socket.gethostname().lower())[:40]
                _write_whole(file, f"{host}-{secrets.token_hex(4)}".encode(), mode=0o644)
            return file.read_text(encoding="ascii").strip()
        except OSError as error:
            raise _refusal(file, error) from error

    def is_where_it_was(self) -> bool:
        """Whether it is where its place was last driven; a copy is not, nor what was moved.

        So is one of an older version, which did not note where.
        """
        file = self.path / _WHERE_FILE
        try:
            return file.read_text(encoding="utf-8", errors="replace") == self._where()
        except FileNotFoundError:
            return True
        except OSError as error:
            raise _refusal(file, error) from error

    def note_where(self) -> None:
        """Note where its place is driven from now on."""
        file = self.path / _WHERE_FILE
        try:
            _write_whole(file, self._where().encode(errors="replace"), mode=0o644)
        except OSError as error:
            raise _refusal(file, error) from error

    def _where(self) -> str:
        path = str(self.path.resolve()).encode(errors="replace").decode()
        return f"{socket.gethostname()} {self.path.stat().st_ino} {path}"

    def installation(self) -> str | None:
        """The id of the installation whose runs have tasks here; None: none is noted."""
        file = self.path / _INSTALLATION_FILE
        try:
            return file.read_text(encoding="ascii", errors="replace").strip()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refusal(file, error) from error

    def note_installation(self, installation: str) -> None:
        """Note whose runs have tasks here."""
        file = self.path / _INSTALLATION_FILE
        try:
            _write_whole(file, installation.encode(), mode=0o644)
        except OSError as error:
            raise _refusal(file, error) from error

    def close(self) -> None:
        """Let go of the folder."""
        self._lock.close()


def read_server_file(file: Path) -> ServerFile | None:
    """Read ``server.json``; None when there is none or it is not one."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=ServerFile)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _keep_out_of_git(path: Path) -> None:
    """Tell git that nothing below is code, nor then is it for a snapshot of a folder around it.

    It would take keys and secrets along, and grow by itself each time. Not where a user's own files
    are: a data folder that is his project as well.
    """
    if _BEFORE_A_SERVER.issuperset(entry.name for entry in path.iterdir()):
        _write_whole(path / ".gitignore", b"*\n", mode=0o644)


def _write_whole(file: Path, content: bytes, *, mode: int) -> None:
    part = file.with_name(file.name + ".part")
    with part.open("wb") as stream:
        os.fchmod(stream.fileno(), mode)
        stream.write(content)
        _sync(stream)
    part.replace(file)


def _sync(stream: IO[bytes]) -> None:
    stream.flush()
    os.fsync(stream.fileno())


def _taken(path: Path) -> str:
    found = read_server_file(path / "server.json")
    who = f" (process {found.pid}, {found.url})" if found is not None else ""
    return (
        f"The data folder {path} is open by another server{who}: stop that one with "
        "`seafloor down`, or give this one another folder with --data."
    )


def _refusal(path: Path, error: OSError) -> InvalidValue | StoreFull:
    if error.errno in _NO_SPACE:
        return StoreFull(f"No space is left for {path}: free some and start again.")
    return InvalidValue(
        f"The data folder cannot be used ({path}: {error.strerror}): "
        "give another with --data, or mend its permissions.",
        field="data_dir",
    )
