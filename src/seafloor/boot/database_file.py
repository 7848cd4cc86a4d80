"""A database that is a file: one server at a time has it open."""

from __future__ import annotations

import fcntl
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from seafloor.boot.settings import Settings
from seafloor.domain.errors import Conflict, InvalidValue
from seafloor.stores.metadata.sql.open import parse_url

_SUFFIX = ".server"


@contextmanager
def alone_on_file(settings: Settings) -> Generator[None]:
    """Be the only server of a SQLite file as long as the context is open; else do nothing.

    What its runs print is beside it in the data folder of one server, so that a second one would
    show them without. The kernel lets go of the lock when a server is killed. It is on a file of
    its own: SQLite loses its locks when anything in its process closes the database's.

    Raises:
        Conflict: another server has it open; with that one's data folder.
        InvalidValue: the file beside the database cannot be written.
    """
    url = parse_url(settings.metadata_url)
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        yield
        return
    database = Path(url.database).resolve()  # a link to it is the same database
    beside = database.with_name(database.name + _SUFFIX)
    try:
        beside.parent.mkdir(parents=True, exist_ok=True)
        lock = beside.open("a+", encoding="utf-8", errors="surrogateescape")
        _hold(lock, database, settings.data_dir.resolve())
    except OSError as error:
        raise InvalidValue(
            f"The database's folder cannot be used ({beside}: {error.strerror}): name another "
            "with --metadata, or mend this one.",
            field="metadata",
        ) from error
    with lock:
        yield


def _hold(lock: TextIO, database: Path, data: Path) -> None:
    """Lock the file and note for those who are refused whose it is."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        with lock:
            holder = lock.read().strip()
        raise Conflict(
            f"The database {database} is open by another server, of the data folder {holder}: a "
            "SQLite file has one server. Stop that one with `seafloor down`, or keep the metadata "
            "on a database server, which can have many."
        ) from error
    lock.truncate(0)
    lock.write(f"{data}\n")
    lock.flush()
