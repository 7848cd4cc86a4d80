"""Something else answers in the place of a bucket: it is never taken for the bucket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from xml.sax.saxutils import escape

import pytest

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.objects.cloud.upload import PART_BYTES
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.object_cases import content, stream_of

PAGES = {
    # Written as XML is, which a client may take for a listing of nothing.
    "tidy page": b"<html><head><title>Sign in</title></head><body>Who are you?</body></html>",
    "page": b"<!DOCTYPE html><html><head><meta charset=utf-8></head><body>Who are you?<br></html>",
    "nothing": b"",
    "json": b"{}",
}
KEY = "YWNjb3VudCBrZXk="  # base64, of no account
PLACES: dict[str, tuple[str, Callable[[str], dict[str, str]]]] = {
    "s3": (
        "s3://bucket/folder",
        lambda url: {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "id",
            "AWS_SECRET_ACCESS_KEY": "secret",
        },
    ),
    "azure": (
        "az://container/folder",
        lambda url: {
            "AZURE_STORAGE_ENDPOINT": url,
            "AZURE_STORAGE_ACCOUNT_NAME": "account",
            "AZURE_STORAGE_ACCOUNT_KEY": KEY,
        },
    ),
    "gcs": ("gs://bucket/folder", lambda url: {"STORAGE_EMULATOR_HOST": url}),
}
CALLS: dict[str, Callable[[ObjectStore], Awaitable[object]]] = {
    "list": lambda store: store.list("a"),
    "list a level": lambda store: store.list("a", recursive=False),
    "list the root": lambda store: store.list(""),
    "delete a folder": lambda store: store.delete_folder("a"),
    "describe": lambda store: store.head("a"),
    "read": lambda store: content(store, "a"),
    "read a part": lambda store: content(store, "a", start=1, length=2),
    "put": lambda store: store.put("a", b"content"),
    "put a large one": lambda store: store.put("a", stream_of([bytes(PART_BYTES), b"more"])),
    "copy": lambda store: store.copy("a", "b"),
    "delete": lambda store: store.delete("a"),
    "delete many": lambda store: store.delete_many(["a", "b"]),
}


@asynccontextmanager
async def answered(kind: str, answer: Callable[[Asked], Answer]) -> AsyncIterator[ObjectStore]:
    """A store whose server answers so."""
    url, variables = PLACES[kind]
    server = ScriptedServer()
    server.answer = answer
    with server.running():
        store = open_objects(url, variables(server.url))
        try:
            yield store
        finally:
            await store.close()


@pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("kind", PLACES)
async def test_any_call__a_page_to_sign_in_is_answered__is_unavailable(
    kind: str, call: Callable[[ObjectStore], Awaitable[object]], page: bytes
) -> None:
    """The proxy of a company answers what it does not let through with a page, and with 200."""
    if kind == "gcs" and call is CALLS["delete"]:
        page = page or b"\n"  # so does Google answer, with nothing
    async with answered(kind, lambda _: Answer(200, page, {"Content-Type": "text/html"})) as store:
        with pytest.raises(StoreUnavailable) as told:
            await call(store)
    assert "does not answer" not in told.value.message


def listing(keys: list[str], *, next_token: str = "") -> bytes:
    """What S3 answers to a listing."""
    entries = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
        f'<ETag>"0"</ETag><Size>1</Size></Contents>'
        for key in keys
    )
    goes_on = f"<NextContinuationToken>{next_token}</NextContinuationToken>" if next_token else ""
    return f"<ListBucketResult>{entries}{goes_on}</ListBucketResult>".encode()


@pytest.mark.parametrize("call", ["list the root", "list a level", "delete a folder"])
async def test_listing_in_s3__its_second_page_is_not_one__is_not_the_end(call: str) -> None:
    keys = [f"folder/a/{number:04}" for number in range(1000)]

    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            deleted = "".join(f"<Deleted><Key>{key}</Key></Deleted>" for key in keys)
            return Answer(200, f"<DeleteResult>{deleted}</DeleteResult>".encode())
        is_first = "list-type=2" in asked.path and "continuation-token" not in asked.path
        if is_first and "start-after" not in asked.path:
            return Answer(200, listing(keys, next_token="more"))
        return Answer(200, PAGES["tidy page"])

    async with answered("s3", answer) as store:
        with pytest.raises(StoreUnavailable, match="What answered is not the bucket"):
            await CALLS[call](store)


async def test_listing_in_s3__nothing_is_there__the_bucket_itself_has_said_so() -> None:
    def answer(asked: Asked) -> Answer:
        if "list-type=2" in asked.path:
            return Answer(200, listing([]))
        return Answer(404, b"<Error><Code>NoSuchKey</Code></Error>")

    async with answered("s3", answer) as store:
        assert (await store.list("a")).objects == ()
        assert (await store.list("a", recursive=False)).folders == ()
        assert await store.delete_folder("a") == 0
