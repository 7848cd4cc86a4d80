"""Archives in every place that is known: object stores, web servers and files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from seafloor.code.archive import OpenRemote, RemoteFacts, RemoteFile
from seafloor.code.file_archive import open_file
from seafloor.code.http_access import http_access
from seafloor.code.http_archive import HttpArchive
from seafloor.domain.errors import NotFound, SeafloorError, SourceError, StoreError
from seafloor.domain.secrets import Secret
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.objects.wrap.retry import RetryObjectStore

BREAKS_MAX: Final = 5
"""How often in a row a stream may break without a byte having come."""


def open_remote(url: str, secret: Secret | None, variables: Mapping[str, str]) -> RemoteFile:
    """Open the address of an archive; nothing is asked of the place yet.

    Args:
        url: As ``code.archive.check_request`` accepts it.
        secret: What a web server is shown; None: as this machine is set up.
        variables: The process's environment: credentials and endpoints by their standard names.

    Raises:
        InvalidValue: the secret is not for that address.
    """
    scheme = urlsplit(url).scheme
    if scheme in {"http", "https"}:
        return HttpArchive(url, http_access(url, secret))
    if scheme == "file" or secret is not None:
        return open_file(url, secret)
    return ObjectArchive(url, variables)


def remote_opener(variables: Mapping[str, str]) -> OpenRemote:
    """``open_remote`` with its variables."""
    return lambda url, secret: open_remote(url, secret, variables)


@dataclass(frozen=True)
class ObjectArchive:
    """An archive in an object store; see ``code.archive.RemoteFile``.

    Args:
        url: ``s3://``, ``gs://``, ``az://``, ``abfs[s]://``, ``hdfs://`` or ``viewfs://``.
        variables: Credentials and endpoints.
    """

    url: str
    variables: Mapping[str, str]

    def facts(self) -> RemoteFacts:
        """Size and etag (generation, time of change) of the object."""
        return asyncio.run(self._facts())

    def copy(self, facts: RemoteFacts, write: Callable[[bytes], object]) -> None:
        """Read the object; a stream that breaks is taken up again if its etag is the same."""
        asyncio.run(self._copy(facts, write))

    async def _facts(self) -> RemoteFacts:
        async with self._store() as (store, key):
            info = await store.head(key)
            return RemoteFacts(info.size_bytes, info.etag)

    async def _copy(self, facts: RemoteFacts, write: Callable[[bytes], object]) -> None:
        done, breaks = 0, 0
        async with self._store() as (store, key):
            while True:
                before = done
                try:
                    async for block in store.read(key, start=done):
                        write(block)
                        done += len(block)
                except StoreError:
                    breaks = 0 if done > before else breaks + 1
                    if breaks >= BREAKS_MAX:
                        raise
                # What was read is what was asked for only if it still is that.
                info = await store.head(key)
                if RemoteFacts(info.size_bytes, info.etag) != facts:
                    raise SourceError(
                        f"{self.url} was changed while it was read: it was {facts.etag}, "
                        f"{facts.size_bytes} bytes and is {info.etag}, {info.size_bytes} bytes. "
                        "Try again.",
                        field="code.url",
                    )
                if done >= info.size_bytes:
                    return

    @asynccontextmanager
    async def _store(self) -> AsyncGenerator[tuple[ObjectStore, str]]:
        parts = urlsplit(self.url)
        folder, _, name = parts.path.rpartition("/")
        store = RetryObjectStore(open_objects(parts._replace(path=folder).geturl(), self.variables))
        try:
            yield store, unquote(name)
        except NotFound as error:
            raise SourceError(
                f"There is nothing at {self.url}: correct the address.", field="code.url"
            ) from error
        except SourceError:
            raise
        except SeafloorError as error:
            raise SourceError(
                f"{self.url} cannot be read: {error.message}", field="code.url", detail=error.detail
            ) from error
        finally:
            await store.close()
