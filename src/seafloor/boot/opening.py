"""From settings to the database and the object store that they name."""

from __future__ import annotations

from collections.abc import Mapping

from seafloor.boot.settings import Settings
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore


def metadata_url(settings: Settings) -> str:
    """The URL of the database; it may hold a password."""
    return settings.stores.metadata or f"sqlite:///{settings.data_dir / 'seafloor.db'}"


def objects_url(settings: Settings) -> str:
    """The URL of the object store."""
    return settings.stores.objects or (settings.data_dir / "objects").as_uri()


def open_metadata_database(settings: Settings) -> Database:
    """Open the database; it is not asked anything yet.

    Raises:
        InvalidValue: the URL is not one.
        NotSupported: a database that Seafloor does not speak to.
    """
    return Database(metadata_url(settings))


def open_object_store(settings: Settings, variables: Mapping[str, str]) -> ObjectStore:
    """Open the object store; what fails for the moment is tried again.

    Args:
        variables: The process's environment: credentials and endpoints.

    Raises:
        InvalidValue, NotSupported: see ``stores.objects.open.open_objects``.
    """
    return RetryObjectStore(open_objects(objects_url(settings), variables))
