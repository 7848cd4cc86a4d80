"""``CloudObjectStore``: what S3 and Azure Blob Storage have in common, by obstore."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from obstore.exceptions import BaseError, PreconditionError
from obstore.store import AzureStore, S3Store

from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    LimitExceeded,
    NotFound,
    NotSupported,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
)
from seafloor.stores.objects.cloud.calls import Calls
from seafloor.stores.objects.cloud.errors import (
    CloudWords,
    already_exists,
    answer_of,
    not_found,
    other_answers,
    translated,
)
from seafloor.stores.objects.cloud.listing import CloudListing, listed_info, plain_etag
from seafloor.stores.objects.cloud.shared_access import Sign
from seafloor.stores.objects.cloud.upload import PART_BYTES
from seafloor.stores.objects.keys import (
    check_append,
    check_listing,
    check_object_key,
    check_presign,
    check_range,
)
from seafloor.stores.objects.protocol import (
    READ_CHUNK_BYTES,
    ObjectCapabilities,
    ObjectInfo,
    ObjectPage,
)
from seafloor.stores.objects.streams import pieces_of

if TYPE_CHECKING:
    from obstore import Attributes, GetOptions, GetResult

REQUESTS_AT_ONCE = 64
"""More wait here: a server that is asked by thousands at once refuses some."""

PUT_TIME = "seafloortime"
"""Metadata of an object: when it was put (ns). The store's own clock tells seconds only.

One word without ``-`` or ``_``: Azure takes no hyphen, and some proxies drop underscores.
"""

_RESUMES_MAX = 3
# At least so many bytes come at once, and a little more: mostly less than a chunk may have.
_READ_BYTES = READ_CHUNK_BYTES * 3 // 4
_RANGE_PAST_END = 416
_PIECE_BYTES = 1024 * 1024


class LargePut(Protocol):
    """How a stream that does not fit into one request is written."""

    async def __call__(
        self, key: str, pieces: AsyncIterable[bytes], *, attributes: Attributes, if_absent: bool
    ) -> str | None:
        """Write it whole or not at all, in constant memory.

        Returns:
            Its etag; None when it is not known, nor whether it has the attributes.

        Raises:
            AlreadyExists: if_absent, and there is an object.
        """
        ...


class CloudObjectStore:
    """An ``ObjectStore`` in a bucket.

    No call is repeated here, but for the rest of a read whose connection broke: that is
    ``RetryObjectStore``'s work.

    Args:
        bucket: Of obstore, with its own retries off.
        words: For messages.
        calls: What is asked of the bucket goes through it.
        large: Writes what does not fit into one request.
        sign: Makes URLs.
        in_order: Whether the server is known to list by code point.
        takes_any: Whether the client takes any XML for a listing.
        says_missing: Whether a delete tells that there was nothing; else it is looked first.
        folders_max: How deep a key may be.
        deletes_at_once: How many objects one request deletes.
        copy_bytes_max: What the server copies at once; what is larger is read and written.
    """

    def __init__(
        self,
        bucket: S3Store | AzureStore,
        words: CloudWords,
        *,
        calls: Calls,
        large: LargePut,
        sign: Sign,
        in_order: bool,
        takes_any: bool,
        says_missing: bool,
        deletes_at_once: int,
        folders_max: int | None = None,
        copy_bytes_max: int | None = None,
    ) -> None:
        self._bucket = bucket
        self._words = words
        self._calls = calls
        self._large = large
        self._sign = sign
        self._says_missing = says_missing
        self._deletes_at_once = deletes_at_once
        self._folders_max = folders_max
        self._copy_bytes_max = copy_bytes_max
        self._listing = CloudListing(bucket, words, calls, in_order=in_order, takes_any=takes_any)
        self._room = asyncio.Semaphore(REQUESTS_AT_ONCE)
        self._clock_lock = threading.Lock()
        self._last_ns = 0
        self._closed = False

    def __repr__(self) -> str:
        return f"CloudObjectStore({self._words.bucket})"

    @property
    def capabilities(self) -> ObjectCapabilities:
        """A bucket: keys and nothing but keys."""
        return ObjectCapabilities(presign=True, nested_keys=True, exact_listing=False)

    async def head(self, key: str) -> ObjectInfo:
        """Describe one object; see ``ObjectRead.head``."""
        self._check(key)
        async with self._room:
            with translated(self._words, "read", key):
                # Unlike obstore's own head, this tells the metadata.
                getting = self._bucket.get_async(key, options={"head": True})
                return _info(self._checked(await self._calls.run(getting)))

    async def read(
        self, key: str, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream an object or a range of it; see ``ObjectRead.read``.

        When the connection breaks, the rest is asked for again, of the same content.

        Raises:
            StoreUnavailable: the connection broke again and again, or the object was replaced
                since it broke. Read it again.
        """
        self._check(key)
        check_range(start=start, length=length)
        if length == 0:
            await self.head(key)
            return
        end = None if length is None else start + length
        answer = await self._get(key, start, end, etag=None)
        if answer is None:
            return
        etag = plain_etag(answer.meta["e_tag"])
        end = answer.range[1]
        resumes = 0
        while answer is not None:
            before = start
            try:
                pieces = answer.stream(_READ_BYTES)
                while (piece := await self._calls.next(pieces)) is not None:
                    for at in range(0, len(piece), READ_CHUNK_BYTES):
                        chunk = piece[at : at + READ_CHUNK_BYTES]
                        start += len(chunk)
                        yield chunk
                    if start == end:
                        return  # to ask for what comes after the end takes as long as a chunk
            except BaseError as error:
                resumes = resumes + 1 if start == before else 0
                if resumes == _RESUMES_MAX:
                    raise self._broken(key, error) from error
            else:
                self._check_ended(key, missing_bytes=end - start)
            answer = await self._rest(key, start, end, etag) if start < end else None

    async def list(
        self, folder: str, *, recursive: bool = True, limit: int = 1000, cursor: str | None = None
    ) -> ObjectPage:
        """List what is below a folder; see ``ObjectRead.list``.

        Cost: see ``CloudListing``; with ``recursive=False``, one request per 1,000 entries of
        the folder for every page, and the memory of all of them.
        """
        check_listing(folder, limit=limit, cursor=cursor)
        self._check_open()
        async with self._room:
            return await self._listing.page(
                folder, recursive=recursive, limit=limit, after=cursor or ""
            )

    async def local_path(self, key: str) -> Path:
        """Raise NotSupported: objects of a bucket are no files."""
        self._check(key)
        raise NotSupported("Objects of a bucket are not files: read them.")

    async def put(
        self, key: str, data: bytes | AsyncIterable[bytes], *, if_absent: bool = False
    ) -> ObjectInfo:
        """Write an object whole; see ``ObjectWrite.put``.

        Cost: one request up to PART_BYTES; else a few, and the memory of PARTS_AT_ONCE parts.
        """
        self._check(key)
        modified_ns = self._next_ns()
        attributes: Attributes = {PUT_TIME: str(modified_ns)}
        etag: str | None
        if isinstance(data, bytes) and len(data) <= PART_BYTES:
            etag = await self._put_small(key, data, attributes, if_absent=if_absent)
            size_bytes = len(data)
        else:
            etag, size_bytes = await self._put_stream(key, data, attributes, if_absent=if_absent)
        if etag is None:
            return await self.head(key)
        return ObjectInfo(key=key, size_bytes=size_bytes, modified_ns=modified_ns, etag=etag)

    async def append(self, key: str, *, offset: int, data: bytes) -> int:  # noqa: ARG002
        """Raise NotSupported: what is in a bucket is written whole."""
        check_append(key, offset=offset)
        raise NotSupported("Objects of a bucket are written whole, never appended to.")

    async def copy(self, source: str, target: str, *, if_absent: bool = False) -> ObjectInfo:
        """Copy one object whole; see ``ObjectWrite.copy``."""
        self._check(source)
        self._check(target)
        info = await self.head(source)
        if source == target:
            # Servers refuse this; it changes nothing.
            if if_absent:
                raise already_exists(target)
            return info
        if self._copies_here(info.size_bytes, if_absent=if_absent):
            return await self.put(target, self.read(source), if_absent=if_absent)
        async with self._room:
            try:
                with translated(self._words, "write", target):
                    copying = self._bucket.copy_async(source, target, overwrite=not if_absent)
                    await self._calls.run(copying)
            except NotFound as error:
                raise not_found(source) from error
        return await self.head(target)

    async def delete(self, key: str) -> bool:
        """Delete one object; see ``ObjectWrite.delete``."""
        self._check(key)
        try:
            if not self._says_missing:
                await self.head(key)
            async with self._room:
                with translated(self._words, "delete", key):
                    await self._calls.run(self._bucket.delete_async(key))
        except NotFound:
            return False
        return True

    async def delete_many(self, keys: Sequence[str]) -> None:
        """Delete many objects; see ``ObjectWrite.delete_many``."""
        for key in keys:
            self._check(key)
        await self._delete(list(dict.fromkeys(keys)))

    async def delete_folder(self, folder: str) -> int:
        """Delete everything below a folder; see ``ObjectWrite.delete_folder``."""
        check_object_key(folder, field="folder")
        self._check_open()
        count = 0
        async with aclosing(self._listing.batches(folder)) as batches:
            async for batch in batches:
                await self._delete(batch)
                count += len(batch)
        return count

    async def presign(self, key: str, *, method: Literal["GET", "PUT"], expires_s: int) -> str:
        """Make a URL for one object; see ``ObjectAccess.presign``."""
        self._check(key)
        check_presign(key, method=method, expires_s=expires_s)
        with translated(self._words, "read", key):
            return await self._sign(method, key, timedelta(seconds=expires_s))

    async def close(self) -> None:
        """Refuse further calls and let those end that go on; connections go with the store."""
        self._closed = True
        await self._calls.close()

    def _check(self, key: str) -> None:
        self._check_open()
        check_object_key(key)
        if self._folders_max is not None and key.count("/") > self._folders_max:
            raise LimitExceeded(
                f"A key lies in at most {self._folders_max} folders here, not {key.count('/')}.",
                field="key",
            )

    def _copies_here(self, size_bytes: int, *, if_absent: bool) -> bool:
        """Say whether the bytes pass through this process.

        A small put with a condition is one request, which every server answers to one creator
        only; a copy with a condition is several in S3, and not every server is exact in that.
        """
        if if_absent and size_bytes <= PART_BYTES:
            return True
        return self._copy_bytes_max is not None and size_bytes > self._copy_bytes_max

    def _check_open(self) -> None:
        if self._closed:
            raise StoreError("The object store is closed.")

    def _next_ns(self) -> int:
        """Tell the time, later than ever before: no two puts have one time."""
        with self._clock_lock:
            self._last_ns = max(time.time_ns(), self._last_ns + 1)
            return self._last_ns

    async def _put_stream(
        self,
        key: str,
        data: bytes | AsyncIterable[bytes],
        attributes: Attributes,
        *,
        if_absent: bool,
    ) -> tuple[str | None, int]:
        """Write a stream, in one request if it fits; give etag and size."""
        async with aclosing(pieces_of(_chunks(data), _PIECE_BYTES)) as pieces:
            first, is_whole = await _beginning(pieces)
            if is_whole:
                body = first[0] if len(first) == 1 else b"".join(first)
                etag = await self._put_small(key, body, attributes, if_absent=if_absent)
                return etag, len(body)
            counted = _Counted(first, pieces)
            done = await self._large(key, counted, attributes=attributes, if_absent=if_absent)
            return done, counted.size_bytes

    async def _put_small(
        self, key: str, body: bytes, attributes: Attributes, *, if_absent: bool
    ) -> str:
        try:
            async with self._room:
                with translated(self._words, "write", key):
                    putting = self._bucket.put_async(
                        key,
                        body,
                        attributes=attributes,
                        mode="create" if if_absent else "overwrite",
                        use_multipart=False,
                    )
                    done = await self._calls.run(putting)
        except AlreadyExists as error:
            if if_absent and await self._is_there(key):
                raise
            raise Conflict(
                f'"{key}" cannot be written: the server has a folder of this name.', field="key"
            ) from error
        return plain_etag(done["e_tag"])

    async def _is_there(self, key: str) -> bool:
        try:
            await self.head(key)
        except NotFound:
            return False
        return True

    async def _get(
        self, key: str, start: int, end: int | None, *, etag: str | None
    ) -> GetResult | None:
        """Begin to read; None when the object ends before."""
        options: GetOptions = {}
        if end is not None:
            options["range"] = (start, end)
        elif start:
            options["range"] = {"offset": start}
        if etag is not None:
            options["if_match"] = f'"{etag}"'
        async with self._room:
            with translated(self._words, "read", key):
                try:
                    getting = self._bucket.get_async(key, options=options)
                    return self._checked(await self._calls.run(getting))
                except BaseError as error:
                    if answer_of(error).status == _RANGE_PAST_END or _starts_past_end(error):
                        return None
                    raise

    def _checked(self, answer: GetResult) -> GetResult:
        """Refuse what something else answered; a store always tells an etag.

        Raises:
            StoreUnavailable: there is none.
        """
        if not plain_etag(answer.meta["e_tag"]):
            raise other_answers(self._words, "an object without an etag was answered")
        return answer

    async def _rest(self, key: str, start: int, end: int, etag: str) -> GetResult:
        """Go on with a read whose connection broke, of the same content."""
        try:
            answer = await self._get(key, start, end, etag=etag)
        except (NotFound, StoreUnavailable) as error:
            if isinstance(error.__cause__, PreconditionError | FileNotFoundError):
                answer = None
            else:
                raise
        if answer is None:
            raise StoreUnavailable(
                f'The connection broke in the middle of "{key}", which is gone or replaced since: '
                "read it again."
            )
        return answer

    def _check_ended(self, key: str, *, missing_bytes: int) -> None:
        if missing_bytes:
            raise StoreCorrupt(
                f'"{key}" ended {missing_bytes} bytes early: read it again, and look at what '
                f"stands between this process and {self._words.bucket}."
            )

    def _broken(self, key: str, error: BaseError) -> StoreUnavailable:
        return StoreUnavailable(
            f'The connection broke again and again in the middle of "{key}": read it again.',
            detail=answer_of(error).detail,
        )

    async def _delete(self, keys: Sequence[str]) -> None:
        for at in range(0, len(keys), self._deletes_at_once):
            await self._delete_batch(keys[at : at + self._deletes_at_once])

    async def _delete_batch(self, keys: Sequence[str]) -> None:
        try:
            async with self._room:
                with translated(self._words, "delete", keys[0]):
                    await self._calls.run(self._bucket.delete_async(list(keys)))
        except NotFound:
            # Some were missing, and it is unknown how far the rest came.
            # The errors one by one, not as a group: a caller asks what each of them is.
            ended = await asyncio.gather(*map(self.delete, keys), return_exceptions=True)
            for error in ended:
                if isinstance(error, BaseException):
                    raise error from None


def _info(answer: GetResult) -> ObjectInfo:
    """Describe an object, with the time that it was put with."""
    listed = listed_info(answer.meta)
    told = answer.attributes.get(PUT_TIME, "")
    if told.isascii() and told.isdigit():
        return ObjectInfo(
            key=listed.key,
            size_bytes=listed.size_bytes,
            modified_ns=int(told),
            etag=listed.etag,
        )
    return ObjectInfo(
        key=listed.key,
        size_bytes=listed.size_bytes,
        # Put by another program, or copied without its metadata: seconds are all there is, and
        # two contents within one are told apart by what is derived from the etag.
        modified_ns=listed.modified_ns + _fraction_ns(listed.etag),
        etag=listed.etag,
    )


def _fraction_ns(etag: str) -> int:
    return int.from_bytes(hashlib.blake2b(etag.encode(), digest_size=8).digest()) % 1_000_000_000


def _starts_past_end(error: BaseError) -> bool:
    """Azure answers such a range with the whole object, which obstore refuses."""
    return "StartTooLarge" in str(error)


async def _chunks(data: bytes | AsyncIterable[bytes]) -> AsyncGenerator[bytes]:
    """Give bytes as a stream, without copying them more than a piece at a time."""
    if not isinstance(data, bytes):
        async for chunk in data:
            yield chunk
    else:
        for at in range(0, len(data), _PIECE_BYTES):
            yield data[at : at + _PIECE_BYTES]


async def _beginning(pieces: AsyncIterator[bytes]) -> tuple[list[bytes], bool]:
    """Read until one request does not hold it, or to the end; say whether it was the end."""
    first: list[bytes] = []
    size_bytes = 0
    async for piece in pieces:
        first.append(piece)
        size_bytes += len(piece)
        if size_bytes > PART_BYTES:
            return first, False
    return first, True


class _Counted:
    """A stream whose beginning was read already, counted on its way."""

    def __init__(self, first: list[bytes], rest: AsyncIterator[bytes]) -> None:
        self._first = first
        self._rest = rest
        self.size_bytes = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self._first.reverse()
        while self._first:
            piece = self._first.pop()
            self.size_bytes += len(piece)
            yield piece
        async for piece in self._rest:
            self.size_bytes += len(piece)
            yield piece
