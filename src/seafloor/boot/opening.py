"""From settings to the database and the object store that they name."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select

from seafloor.boot.settings import Settings
from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.metadata.sql.database import Database
from seafloor.stores.metadata.sql.open import parse_url
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore


def open_metadata_database(settings: Settings) -> Database:
    """Open the database; it is not asked anything yet.

    Raises:
        InvalidValue: the URL is not one.
        NotSupported: a database that Seafloor does not speak to.
    """
    return Database(settings.metadata_url)


async def bring_up_to_date(database: Database, settings: Settings) -> None:
    """Bring the schema of a server's database up to date; see ``Database.migrate``.

    Raises:
        StoreUnavailable: it does not answer; with its address.
        Conflict: it is of a newer version of Seafloor.
    """
    if not settings.metadata_url.startswith("sqlite:"):
        await check_answers(database, settings, "The database")
    await database.migrate()


async def check_answers(database: Database, settings: Settings, what: str) -> None:
    """Ask a database something, so that a command that cannot begin says which does not answer.

    Args:
        database: It is on a server.
        settings: With its URL.
        what: It, as a sentence begins.

    Raises:
        StoreUnavailable: it does not answer; with its address.
    """
    try:
        await database.read(lambda connection: connection.execute(select(1)))
    except StoreUnavailable as error:
        url = parse_url(settings.metadata_url)
        host = url.host or "localhost"
        place = f"{host}:{url.port}" if url.port else host
        raise StoreUnavailable(
            f"{what}, {place}, does not answer: see that it runs and can be reached from here, and "
            "give the same command again.",
            detail=error.detail,
        ) from error


def open_object_store(settings: Settings, variables: Mapping[str, str]) -> ObjectStore:
    """Open the object store; what fails for the moment is tried again.

    Args:
        variables: The process's environment: credentials and endpoints.

    Raises:
        InvalidValue, NotSupported: see ``stores.objects.open.open_objects``.
    """
    return RetryObjectStore(open_objects(settings.objects_url, variables))
