"""What shared stores stand on, for tests: a database and an object store named by a folder."""

from __future__ import annotations

from pathlib import Path

import msgspec

from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.streams.streams import SealLimits
from seafloor.testing.databases import database_url

SMALL = SealLimits(size_bytes=20_000, rows=7)
"""Limits that make chunks of what tests write."""

_FILE = "objects.json"


class _Objects(msgspec.Struct, frozen=True):
    url: str
    variables: dict[str, str]


def use_objects(folder: Path, url: str, variables: dict[str, str]) -> None:
    """Have the stores over a folder use another object store than the folder in it."""
    (folder / _FILE).write_bytes(msgspec.json.encode(_Objects(url, variables)))


def objects_in(folder: Path) -> ObjectStore:
    """The object store of a folder, for this process and those that it starts."""
    named = folder / _FILE
    if not named.exists():
        return LocalObjectStore(folder / "objects")
    found = msgspec.json.decode(named.read_bytes(), type=_Objects)
    return open_objects(found.url, found.variables)


def below_in(folder: Path) -> tuple[Database, ObjectStore]:
    """The database and the object store of a folder."""
    objects = objects_in(folder)
    return Database(database_url(folder)), objects
