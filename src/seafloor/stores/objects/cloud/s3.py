"""``s3://bucket``: Amazon's S3 and what speaks as it does."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.exceptions import BaseError
from obstore.store import S3Store

from seafloor.domain.errors import InvalidValue, LimitExceeded, NotFound
from seafloor.stores.objects.cloud.calls import Calls
from seafloor.stores.objects.cloud.client import (
    NO_RETRIES,
    PART_RETRIES,
    check_endpoint,
    client_options,
)
from seafloor.stores.objects.cloud.errors import CloudWords, already_exists, translated
from seafloor.stores.objects.cloud.listing import plain_etag
from seafloor.stores.objects.cloud.shared_access import SignByStore
from seafloor.stores.objects.cloud.store import CloudObjectStore
from seafloor.stores.objects.cloud.upload import PART_BYTES, PARTS_AT_ONCE, fed
from seafloor.stores.objects.keys import STAGING_FOLDER

if TYPE_CHECKING:
    from obstore import Attributes, PutResult
    from obstore.store import RetryConfig, S3Config, S3Credential

COPY_BYTES_MAX = 5 * 1024**3
"""What S3 copies in one request."""

PARTS_MAX = 10_000
"""What S3 takes: a stream has at most 78 GiB."""


def from_url(url: str, variables: Mapping[str, str]) -> CloudObjectStore:
    """Open a bucket; nothing is asked of it yet.

    Args:
        url: ``s3://bucket``.
        variables: ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``,
            ``AWS_REGION`` (or ``AWS_DEFAULT_REGION``), ``AWS_ENDPOINT_URL_S3`` (or
            ``AWS_ENDPOINT_URL``). Without keys: the role of the web identity, container or
            instance, which obstore finds by itself.

    Raises:
        InvalidValue: half of the credentials is missing, or the endpoint is no http(s) URL.
    """
    name = urlsplit(url).netloc
    endpoint = variables.get("AWS_ENDPOINT_URL_S3") or variables.get("AWS_ENDPOINT_URL") or ""
    check_endpoint(endpoint, "AWS_ENDPOINT_URL")
    # All is said, since what is not said obstore reads from the process's environment.
    config: S3Config = {
        "region": variables.get("AWS_REGION") or variables.get("AWS_DEFAULT_REGION") or "us-east-1",
        "skip_signature": False,
        "virtual_hosted_style_request": False,
        "copy_if_not_exists": "multipart",
        "conditional_put": "etag",
    }
    if endpoint:
        config["endpoint"] = endpoint
        config["aws_endpoint_url_s3"] = endpoint
    credentials = _credentials(variables)

    def opened(retries: RetryConfig) -> S3Store:
        return S3Store(
            name,
            config=config,
            client_options=client_options(endpoint),
            retry_config=retries,
            credential_provider=credentials,
        )

    bucket = opened(NO_RETRIES)
    words, calls = _words(name, endpoint), Calls()
    return CloudObjectStore(
        bucket,
        words,
        calls=calls,
        large=_Multipart(bucket, opened(PART_RETRIES), words, calls),
        sign=SignByStore(bucket, calls),
        # Amazon documents its order. Of others it is not known, and some go folder by folder.
        in_order=not endpoint,
        takes_any=True,
        says_missing=False,
        deletes_at_once=1000,
        copy_bytes_max=COPY_BYTES_MAX,
    )


def _credentials(variables: Mapping[str, str]) -> Callable[[], S3Credential] | None:
    """Give the keys that are set; None when a role is to be found."""
    key_id = variables.get("AWS_ACCESS_KEY_ID", "")
    secret = variables.get("AWS_SECRET_ACCESS_KEY", "")
    if bool(key_id) != bool(secret):
        raise InvalidValue(
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: set both or none.",
            field="stores.objects",
        )
    token = variables.get("AWS_SESSION_TOKEN") or None

    def given() -> S3Credential:
        return {
            "access_key_id": key_id,
            "secret_access_key": secret,
            "token": token,
            "expires_at": None,
        }

    return given if key_id else None


def _words(name: str, endpoint: str) -> CloudWords:
    host = urlsplit(endpoint).netloc or "Amazon"
    rights = {
        "read": "s3:GetObject",
        "write": "s3:PutObject and s3:AbortMultipartUpload",
        "list": "s3:ListBucket",
        "delete": "s3:DeleteObject",
    }
    return CloudWords(
        bucket=f'bucket "{name}" (S3 at {host})',
        make=f'create it, or correct the name in "s3://{name}".',
        rights={
            action: f'give the access key or role {right} on "{name}".'
            for action, right in rights.items()
        },
        credentials="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN), "
        "or run where a role is given.",
        region="set AWS_REGION to the region that the bucket is in.",
    )


class _Multipart:
    """Large puts as multipart uploads, given up when the stream fails; see ``LargePut``.

    obstore completes an upload without a condition, so one that may only create is uploaded
    under a name of its own and copied in the store, which does have the condition.

    Args:
        bucket: For all but the upload.
        patient: The same, which repeats requests: for the upload.
        words: For messages.
        calls: Of the store.
    """

    def __init__(self, bucket: S3Store, patient: S3Store, words: CloudWords, calls: Calls) -> None:
        self._bucket = bucket
        self._patient = patient
        self._words = words
        self._calls = calls

    async def __call__(
        self, key: str, pieces: AsyncIterable[bytes], *, attributes: Attributes, if_absent: bool
    ) -> str | None:
        if not if_absent:
            return await self._upload(key, pieces, attributes)
        if await self._exists(key):
            raise already_exists(key)
        staged = f"{STAGING_FOLDER}/{uuid.uuid4().hex}"
        await self._upload(staged, pieces, attributes)
        try:
            with translated(self._words, "write", key):
                copying = self._bucket.copy_async(staged, key, overwrite=False)
                await self._calls.run(copying)
        finally:
            # What stays is removed by the bucket's lifecycle rule.
            with suppress(BaseError, FileNotFoundError):
                await self._calls.run(self._bucket.delete_async(staged))
        return None

    async def _exists(self, key: str) -> bool:
        try:
            with translated(self._words, "read", key):
                await self._calls.run(self._bucket.head_async(key))
        except NotFound:
            return False
        return True

    async def _upload(self, key: str, pieces: AsyncIterable[bytes], attributes: Attributes) -> str:
        async def pull(feed: AsyncIterator[bytes]) -> PutResult:
            with translated(self._words, "write", key):
                uploading = self._patient.put_async(
                    key,
                    feed,
                    attributes=attributes,
                    use_multipart=True,
                    chunk_size=PART_BYTES,
                    max_concurrency=PARTS_AT_ONCE,
                )
                return await self._calls.run(uploading)

        return plain_etag((await fed(_bounded(pieces), pull))["e_tag"])


async def _bounded(pieces: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Pass a stream on as long as S3 takes as much."""
    size_bytes = 0
    async for piece in pieces:
        size_bytes += len(piece)
        if size_bytes > PARTS_MAX * PART_BYTES:
            raise LimitExceeded(
                f"An object in S3 has at most {PARTS_MAX * PART_BYTES // 1024**3} GiB: split it."
            )
        yield piece
