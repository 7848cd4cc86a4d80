"""Which database the stores use that tests open over a folder."""

from __future__ import annotations

import contextlib
import os
import tempfile
from functools import cache
from pathlib import Path

from seafloor.stores.metadata.sql.migrations.run import migrate
from seafloor.stores.metadata.sql.open import open_backend, parse_url

_FILE = "database-url"


def use_database(folder: Path, url: str) -> None:
    """Have the stores over a folder use another database than the SQLite file in it."""
    (folder / _FILE).write_text(url)


def database_url(folder: Path) -> str:
    """The database of a folder, for this process and those that it starts."""
    named = folder / _FILE
    return named.read_text() if named.exists() else f"sqlite:///{folder / 'seafloor.db'}"


def migrated_sqlite(file: Path) -> None:
    """Make a database as a server's first start does: by migrating, once for each process.

    One that is there already stays as it is.
    """
    if file.exists():
        return
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        made.write_bytes(_sqlite_template())
        with contextlib.suppress(FileExistsError):
            os.link(made, file)


@cache
def _sqlite_template() -> bytes:
    with tempfile.TemporaryDirectory(prefix="seafloor-sqlite-") as folder:
        migrate_database(f"sqlite:///{folder}/seafloor.db")
        (made,) = Path(folder).iterdir()  # nothing of it lies in a file beside
        return made.read_bytes()


def migrate_database(url: str) -> None:
    """Make the tables of a database, or bring them up to date."""
    backend = open_backend(parse_url(url), connections=1)
    migrate(backend)
    backend.engine.dispose()
