"""``GcsObjectStore``: a bucket of Google Cloud Storage."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Literal
from urllib.parse import urlsplit

import msgspec

from seafloor.domain.errors import (
    AlreadyExists,
    InvalidValue,
    NotFound,
    NotSupported,
    StoreError,
    StoreUnavailable,
)
from seafloor.domain.names import PATH_BYTES_MAX
from seafloor.stores.objects.gcs.auth import Anonymous, find_credentials
from seafloor.stores.objects.gcs.batch import BATCH_CALLS_MAX, delete_batch
from seafloor.stores.objects.gcs.chunks import Chunk, ChunkSource
from seafloor.stores.objects.gcs.client import Call, GcsClient
from seafloor.stores.objects.gcs.download import Download
from seafloor.stores.objects.gcs.errors import no_bucket
from seafloor.stores.objects.gcs.resource import (
    FIELDS,
    Listing,
    Resource,
    Rewrite,
    crc32c_text,
    decoded,
)
from seafloor.stores.objects.gcs.resumable import ResumableUpload
from seafloor.stores.objects.gcs.signing import ServiceKey
from seafloor.stores.objects.keys import (
    check_append,
    check_listing,
    check_object_key,
    check_range,
)
from seafloor.stores.objects.protocol import (
    LIST_LIMIT_MAX,
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
)
from seafloor.stores.objects.wrap.retry import RetryPolicy

PRESIGN_EXPIRES_S_MAX = 604_800
BATCHES_AT_ONCE = 4
RESUME = RetryPolicy(attempts_max=6, delay_first_s=0.2, delay_max_s=10.0)
"""How patiently one upload or download goes on where it broke off."""

_READ = "storage.objects.get and storage.objects.list"
_WRITE = "storage.objects.create and storage.objects.delete"
_LIST_FIELDS = f"kind,items({FIELDS}),prefixes,nextPageToken"


def from_url(url: str, variables: Mapping[str, str]) -> GcsObjectStore:
    """Open ``gs://bucket``; nothing is asked of it yet.

    Args:
        url: Without a path.
        variables: ``STORAGE_EMULATOR_HOST`` (no credentials are sent there), else
            ``GOOGLE_APPLICATION_CREDENTIALS`` (a file), else the machine's role
            (``GCE_METADATA_HOST``).

    Raises:
        InvalidValue: the file of credentials or an address is not one.
        NotSupported: credentials of another kind.
    """
    bucket = urlsplit(url).netloc
    emulator = variables.get("STORAGE_EMULATOR_HOST", "")
    if not emulator:
        credentials = find_credentials(variables)
        # The proxies and authorities of the process are meant for what is far away.
        client = GcsClient(bucket, credentials.tokens, trust_env=True)
        return GcsObjectStore(client, key=credentials.key)
    endpoint = emulator if "://" in emulator else f"http://{emulator}"
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise InvalidValue(
            "STORAGE_EMULATOR_HOST is an address such as http://127.0.0.1:4443.",
            field="STORAGE_EMULATOR_HOST",
        )
    named = variables.get("GOOGLE_APPLICATION_CREDENTIALS", "")
    # Its key signs URLs; its tokens are for Google only.
    key = find_credentials(variables).key if named else None
    return GcsObjectStore(GcsClient(bucket, Anonymous(), endpoint=endpoint.rstrip("/")), key=key)


class GcsObjectStore:
    """An ``ObjectStore`` in a bucket.

    Used from one event loop. What Google Cloud Storage promises holds here: a write is visible to
    every reader when it returns, and whole or not at all.

    Names that end with a slash, by which other tools mark folders, are not listed; they go with
    ``delete_folder``.

    Args:
        client: The bucket. ``close`` closes it.
        key: Signs URLs; None: ``presign`` is not supported.
        resume: How patiently an upload or download goes on where it broke off.
    """

    def __init__(
        self, client: GcsClient, *, key: ServiceKey | None = None, resume: RetryPolicy = RESUME
    ) -> None:
        self._client = client
        self._key = key
        self._resume = resume
        self._boundary = f"seafloor-{uuid.uuid4().hex}"
        self._parts = itertools.count()

    @property
    def capabilities(self) -> ObjectCapabilities:
        """Objects may have others below them; URLs are signed where there is a key."""
        return ObjectCapabilities(nested_keys=True, presign=self._key is not None)

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object; see ``ObjectRead.head``."""
        found = await self._find(check_object_key(key))
        if found is None:
            await self._client.check_bucket()
            raise _missing(key)
        return found.info()

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream an object or a range of it; see ``ObjectRead.read``.

        Raises:
            StoreCorrupt: also when the connection broke in the middle and the object was replaced
                or deleted meanwhile, in a bucket without versions; or the bytes of a whole object
                differ from its checksum.
        """
        check_object_key(key)
        check_range(start=start, length=length)
        if length == 0:
            await self.head(key)
            return
        reading = Download(
            self._client, key, start=start, length=length, policy=self._resume
        ).chunks()
        async with contextlib.aclosing(reading):
            async for chunk in reading:
                yield chunk

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder; see ``ObjectRead.list``."""
        check_listing(folder, limit=limit, cursor=cursor)
        query = {"prefix": f"{folder}/" if folder else "", "fields": _LIST_FIELDS}
        # One more than asked for, so that it is known whether a page follows.
        query["maxResults"] = str(min(limit + 1, LIST_LIMIT_MAX))
        if not recursive:
            query["delimiter"] = "/"
        if cursor is not None:
            query["startOffset"] = _just_after(cursor)
        found: dict[str, ObjectInfo | None] = {}
        while True:
            answer = await self._listing(query)
            found |= {
                item.name: item.info()
                for item in answer.items
                if item.name != cursor and not item.name.endswith("/")
            }
            found |= dict.fromkeys(answer.prefixes)
            if len(found) >= limit or not answer.next_page_token:
                break
            query["pageToken"] = answer.next_page_token
        page = sorted(found)[:limit]
        goes_on = len(found) > limit or bool(answer.next_page_token)
        infos = (found[name] for name in page)
        return ObjectPage(
            objects=tuple(info for info in infos if info is not None),
            folders=tuple(name[:-1] for name in page if found[name] is None),
            next=page[-1] if goes_on else None,
        )

    async def local_path(self, key: str) -> Path:
        """Raise NotSupported: there are no files here."""
        check_object_key(key)
        raise NotSupported("Objects in Google Cloud Storage are not files.")

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Make a URL for one object; see ``ObjectAccess.presign``."""
        check_object_key(key)
        if not 1 <= expires_s <= PRESIGN_EXPIRES_S_MAX:
            raise InvalidValue(
                f"A signed URL is good for 1 to {PRESIGN_EXPIRES_S_MAX} seconds, not {expires_s}.",
                field="expires_s",
            )
        if self._key is None:
            raise NotSupported(
                "URLs are signed with the key of a service account, and there is none here: "
                "name its file by GOOGLE_APPLICATION_CREDENTIALS."
            )
        path = f"/{self._client.bucket}/{key}"
        return self._key.signed_url(method, self._client.endpoint, path, expires_s=expires_s)

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole; see ``ObjectWrite.put``."""
        check_object_key(key)
        source = ChunkSource(data)
        if await source.is_one_chunk():
            found = await self._put_whole(
                key, await source.next(), source.crc32c, if_absent=if_absent
            )
        else:
            if if_absent:
                # Looked at before gigabytes are sent for nothing; the session decides at its end.
                await self._check_absent(key)
            async with ResumableUpload(self._client, key, self._resume) as upload:
                await upload.begin(if_absent=if_absent)
                found = await upload.send(source)
        await self._check_arrived(found, source.crc32c)
        return found.info()

    async def append(self, key: str, *, offset: int, data: bytes) -> int:  # noqa: ARG002
        """Raise NotSupported: an object of this store is written whole."""
        check_append(key, offset=offset)
        raise NotSupported("Objects in Google Cloud Storage are written whole: put them again.")

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object within the service; see ``ObjectWrite.copy``."""
        check_object_key(source)
        check_object_key(target)
        query = {"fields": f"done,rewriteToken,resource({FIELDS})"}
        if if_absent:
            # Looked at before a copy that takes many requests; the last of them decides.
            if await self._find(target) is not None:
                await self.head(source)
                raise _already_there(target)
            query["ifGenerationMatch"] = "0"
        while True:
            answer = await self._rewritten(source, target, query)
            if answer.done and answer.resource is not None:
                return answer.resource.info()
            query["rewriteToken"] = answer.rewrite_token

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        url = self._client.object_url(check_object_key(key))
        fine = frozenset({200, 204, 404})
        response = await self._client.call(Call("DELETE", url, "storage.objects.delete", fine=fine))
        if response.status == 404:
            await self._client.check_bucket()
            return False
        if response.content:  # Google says nothing; whoever says more may be another
            decoded(response, NoneType)
        return True

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects, 100 in a request; see ``ObjectWrite.delete_many``."""
        for key in keys:
            check_object_key(key)
        await self._delete_all(keys)

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``."""
        check_object_key(folder, field="folder")
        query = {"prefix": f"{folder}/", "fields": _LIST_FIELDS, "maxResults": str(LIST_LIMIT_MAX)}
        count = 0
        while True:
            answer = await self._listing(query)
            count += await self._delete_all([item.name for item in answer.items])
            if not answer.next_page_token:
                return count
            query["pageToken"] = answer.next_page_token

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _find(self, key: str) -> Resource | None:
        url = self._client.object_url(key, fields=FIELDS)
        response = await self._client.call(Call("GET", url, _READ, fine=frozenset({200, 404})))
        return None if response.status == 404 else decoded(response, Resource)

    async def _check_absent(self, key: str) -> None:
        if await self._find(key) is not None:
            raise _already_there(key)

    async def _listing(self, query: Mapping[str, str]) -> Listing:
        url = self._client.objects_url(**query)
        response = await self._client.call(
            Call("GET", url, "storage.objects.list", fine=frozenset({200, 404}))
        )
        if response.status == 404:
            await self._client.check_bucket()
            return Listing(kind="storage#objects")
        return decoded(response, Listing)

    async def _put_whole(self, key: str, chunk: Chunk, crc32c: int, *, if_absent: bool) -> Resource:
        """Send name and content in one request (``multipart/related``)."""
        query = {"uploadType": "multipart", "name": key, "fields": FIELDS}
        if if_absent:
            query["ifGenerationMatch"] = "0"
        # Chosen at random, and never used twice: no content has it.
        boundary = f"{self._boundary}-{next(self._parts)}"
        # With the checksum the service itself refuses what was damaged on its way.
        described = msgspec.json.encode({"name": key, "crc32c": crc32c_text(crc32c)})
        head = (
            f"--{boundary}\r\nContent-Type: application/json; charset=UTF-8\r\n\r\n".encode()
            + described
            + f"\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\n\r\n".encode()
        )
        response = await self._client.call(
            Call(
                "POST",
                self._client.upload_url(**query),
                _WRITE,
                headers={"Content-Type": f"multipart/related; boundary={boundary}"},
                body=b"".join((head, *chunk.pieces, f"\r\n--{boundary}--\r\n".encode())),
                fine=frozenset({200, 404, 412}),
            )
        )
        if response.status == 412:
            raise _already_there(key)
        if response.status == 404:
            raise no_bucket(self._client.bucket)
        return decoded(response, Resource)

    async def _check_arrived(self, found: Resource, crc32c: int) -> None:
        """Take back what is not what was sent."""
        if not found.crc32c or found.crc32c == crc32c_text(crc32c):
            return
        url = self._client.object_url(found.name, ifGenerationMatch=found.generation)
        call = Call("DELETE", url, _WRITE, fine=frozenset({200, 204, 404, 412}))
        with contextlib.suppress(StoreError):
            await self._client.call(call)
        raise StoreUnavailable(f'"{found.name}" was damaged on its way: put it again.')

    async def _rewritten(self, source: str, target: str, query: Mapping[str, str]) -> Rewrite:
        to = self._client.object_url(target, **query).partition("/storage/v1/")[2]
        response = await self._client.call(
            Call(
                "POST",
                f"{self._client.object_url(source)}/rewriteTo/{to}",
                f"storage.objects.get, {_WRITE}",
                headers={"Content-Type": "application/json"},
                fine=frozenset({200, 404, 412}),
            )
        )
        if response.status == 412:
            raise _already_there(target)
        if response.status == 404:
            await self._client.check_bucket()
            raise _missing(source)
        return decoded(response, Rewrite)

    async def _delete_all(self, keys: Sequence[str]) -> int:
        """Delete objects, some batches at once; how many there were."""
        batches = [
            keys[start : start + BATCH_CALLS_MAX] for start in range(0, len(keys), BATCH_CALLS_MAX)
        ]
        count = 0
        for start in range(0, len(batches), BATCHES_AT_ONCE):
            ends = await asyncio.gather(
                *(
                    delete_batch(self._client, batch)
                    for batch in batches[start : start + BATCHES_AT_ONCE]
                ),
                return_exceptions=True,
            )
            for end in ends:
                if isinstance(end, BaseException):
                    raise end
                count += end
        return count


def _missing(key: str) -> NotFound:
    return NotFound(f'There is no object "{key}".', field="key")


def _already_there(key: str) -> AlreadyExists:
    return AlreadyExists(f'There is an object "{key}" already.', field="key")


def _just_after(cursor: str) -> str:
    """The least name that comes after an entry of a listing.

    A folder's entry is its key with a slash; what comes after all below it begins with the next
    character, ``0``. No key has a character before the space, and none is longer than the limit:
    the longest is listed again, and left out.
    """
    if cursor.endswith("/"):
        return f"{cursor[:-1]}0"
    return f"{cursor} " if len(cursor.encode()) < PATH_BYTES_MAX else cursor
