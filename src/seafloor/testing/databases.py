"""Which database the stores use that tests open over a folder."""

from __future__ import annotations

from pathlib import Path

_FILE = "database-url"


def use_database(folder: Path, url: str) -> None:
    """Have the stores over a folder use another database than the SQLite file in it."""
    (folder / _FILE).write_text(url)


def database_url(folder: Path) -> str:
    """The database of a folder, for this process and those that it starts."""
    named = folder / _FILE
    return named.read_text() if named.exists() else f"sqlite:///{folder / 'seafloor.db'}"
