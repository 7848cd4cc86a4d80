"""What is S3's and Azure's own: large puts, listings of many keys, errors, secrets."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.services._service import Service

from live_server import wait_for
from object_worlds import fresh_objects
from s3_requests import unfinished_uploads
from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import (
    AlreadyExists,
    InvalidValue,
    LimitExceeded,
    NotFound,
    StoreError,
    StoreUnavailable,
)
from seafloor.domain.names import PATH_BYTES_MAX
from seafloor.stores.objects.cloud.upload import PART_BYTES
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectInfo, ObjectStore
from seafloor.stores.objects.wrap.prefix import PrefixObjectStore
from seafloor.testing.fault_proxy import FaultProxy, Hold
from seafloor.testing.object_cases import (
    broken_stream,
    content,
    deepest_key,
    keys_of,
    outcomes,
    put_all,
    stream_of,
)

MIB = 1024 * 1024
Services = Callable[[str], Service]
KINDS = ("s3", "azure")


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def store(kind: str, service: Services) -> AsyncIterator[ObjectStore]:
    async with fresh_objects(kind, service) as store:
        yield store


def folder_of(store: ObjectStore) -> str:
    """The folder in the bucket that a store has for itself."""
    assert isinstance(store, PrefixObjectStore)
    return store._folder  # pyright: ignore[reportPrivateUsage]


def large(size_bytes: int = 3 * PART_BYTES + 77) -> bytes:
    return os.urandom(MIB) * (size_bytes // MIB) + os.urandom(size_bytes % MIB)


@pytest.fixture
def scripted() -> Iterator[ScriptedServer]:
    with ScriptedServer().running() as server:
        yield server


class _BrokenSource(Exception):
    """What the stream of a caller raises."""


# -- large puts


@pytest.mark.parametrize("more_bytes", [-1, 0, 1])
async def test_put__about_one_part__is_the_same(store: ObjectStore, more_bytes: int) -> None:
    data = large(PART_BYTES + more_bytes)
    for body in (data, stream_of([data]), stream_of([data[:9], data[9:]])):
        info = await store.put("a b/#é", body)
        assert info == await store.head("a b/#é")
        assert info.size_bytes == len(data)
        assert await content(store, "a b/#é") == data


async def test_put__many_parts_to_an_odd_key__read_gives_them_back(store: ObjectStore) -> None:
    data = large()
    pieces = [data[at : at + 1_000_003] for at in range(0, len(data), 1_000_003)]
    put = await store.put("odd key/100% #1 é+&?", stream_of(pieces))
    assert put == await store.head("odd key/100% #1 é+&?")
    assert await content(store, "odd key/100% #1 é+&?") == data
    again = await store.put("odd key/100% #1 é+&?", data)
    assert again.modified_ns > put.modified_ns


async def test_put__large_stream_raises__leaves_nothing(
    store: ObjectStore, kind: str, service: Services
) -> None:
    await store.put("there", b"old")
    data = large(PART_BYTES)
    for key in ("there", "new"):
        for if_absent in (False, key == "new"):
            stream = broken_stream([data] * 3, _BrokenSource())
            with pytest.raises(_BrokenSource):
                await store.put(key, stream, if_absent=if_absent)
    assert await keys_of(store) == ["there"]
    assert await content(store, "there") == b"old"
    if kind == "s3":
        assert unfinished_uploads(service("s3"), below=folder_of(store)) == []


async def test_put__large_stream_cancelled__leaves_nothing(
    store: ObjectStore, kind: str, service: Services
) -> None:
    piece = large(PART_BYTES)
    for count in (1, 2, 5):
        came = asyncio.Event()

        async def stuck(count: int = count, came: asyncio.Event = came) -> AsyncIterator[bytes]:
            for _ in range(count):
                yield piece
            came.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(store.put("a", stuck()))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await keys_of(store) == []
    if kind == "s3":
        assert unfinished_uploads(service("s3"), below=folder_of(store)) == []


async def test_put__large_if_absent__creates_only(store: ObjectStore) -> None:
    data = large()
    first = await store.put("new/a", stream_of([data]), if_absent=True)
    assert await store.head("new/a") == first
    with pytest.raises(AlreadyExists):
        await store.put("new/a", stream_of([data, b"2"]), if_absent=True)
    assert await content(store, "new/a") == data
    assert await keys_of(store) == ["new/a"]


async def test_put__large_by_two_at_once__contents_are_never_mixed(store: ObjectStore) -> None:
    for _ in range(3):
        one, other = large(), large(2 * PART_BYTES + 5)
        ends = await outcomes(
            store.put("a", stream_of([body[:MIB], body[MIB:]])) for body in (one, other)
        )
        wins = [end for end in ends if isinstance(end, ObjectInfo)]
        assert wins
        assert all(isinstance(end, ObjectInfo | StoreUnavailable) for end in ends), ends
        assert await content(store, "a") in (one, other)


async def test_put__if_absent_by_sixteen__exactly_one_succeeds(store: ObjectStore) -> None:
    async def race(round_: int) -> None:
        key = f"race/{round_}"
        ends = await outcomes(store.put(key, b"%d" % n, if_absent=True) for n in range(16))
        winners = [n for n, end in enumerate(ends) if isinstance(end, ObjectInfo)]
        assert len(winners) == 1
        assert sum(isinstance(end, AlreadyExists) for end in ends) == 15
        assert await content(store, key) == b"%d" % winners[0]

    # All rounds at once: SeaweedFS lets those who want one key wait for seconds.
    await asyncio.gather(*(race(round_) for round_ in range(10)))


_CHILD = """
import asyncio, os, sys
from seafloor.stores.objects.open import open_objects

async def work():
    store = open_objects(sys.argv[1], os.environ)
    async def endless():
        while True:
            yield os.urandom(1024 * 1024)
            print("more", flush=True)
    await store.put("a", endless())

asyncio.run(work())
"""


async def test_put__killed_in_its_middle__nothing_is_visible(
    store: ObjectStore, kind: str, service: Services
) -> None:
    await store.put("b", b"1")
    folder, real = folder_of(store), service(kind)
    child = subprocess.Popen(
        [sys.executable, "-c", _CHILD, f"{real.url}/{folder}"],
        stdout=subprocess.PIPE,
        env={**os.environ, **real.env},
    )
    assert child.stdout is not None
    for _ in range(40):  # five parts
        assert child.stdout.readline() == b"more\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    assert await keys_of(store) == ["b"]
    with pytest.raises(NotFound):
        await store.head("a")
    if kind == "s3":
        # A lifecycle rule removes it (docs/reference/object-stores.md).
        wait_for(lambda: unfinished_uploads(real, below=folder) == [f"{folder}/a"])
    await store.put("a", b"2")
    assert await content(store, "a") == b"2"


async def test_put__longest_key_of_the_bucket__is_like_any_other(
    kind: str, service: Services
) -> None:
    real = service(kind)
    bucket = open_objects(real.url, real.env)
    mine = uuid.uuid4().hex
    key = f"{mine}/{deepest_key(PATH_BYTES_MAX - 33, folders_max=200)}"
    assert len(key) == PATH_BYTES_MAX
    await bucket.put(key, b"1")
    assert await keys_of(bucket, mine) == [key]
    with pytest.raises(LimitExceeded):
        await bucket.put(f"{key}d", b"1")
    if kind == "azure":
        with pytest.raises(LimitExceeded):
            await bucket.put("/".join("d" * 255), b"1")
    assert await bucket.delete_folder(mine) == 1
    await bucket.close()


async def test_list__root_of_the_bucket__hides_what_is_not_whole(
    kind: str, service: Services
) -> None:
    real = service(kind)
    bucket = open_objects(real.url, real.env)
    folder = uuid.uuid4().hex
    begun = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield large(2 * PART_BYTES)
        begun.set()
        staged = [key for key in await keys_of(bucket) if key.startswith(".seafloor")]
        assert staged == []
        yield b"end"

    await bucket.put(f"{folder}/a", slow(), if_absent=True)
    assert begun.is_set()
    assert [key for key in await keys_of(bucket) if key.startswith(".seafloor")] == []
    await bucket.delete_folder(folder)
    await bucket.close()


# -- what servers say


def opened(real: Service, url: str = "", **changes: str) -> ObjectStore:
    return open_objects(url or real.url, {**real.env, **changes})


CALLS: Mapping[str, Callable[[ObjectStore], object]] = {
    "head": lambda store: store.head("a"),
    "read": lambda store: content(store, "a"),
    "list": lambda store: store.list(""),
    "level": lambda store: store.list("", recursive=False),
    "put": lambda store: store.put("a", b"1"),
    "put large": lambda store: store.put("a", stream_of([bytes(PART_BYTES + 1)])),
    "create": lambda store: store.put("a", b"1", if_absent=True),
    "create large": lambda store: store.put("a", bytes(PART_BYTES + 1), if_absent=True),
    "copy": lambda store: store.copy("a", "b"),
    "delete": lambda store: store.delete("a"),
    "delete many": lambda store: store.delete_many(["a", "b"]),
    "delete folder": lambda store: store.delete_folder("a"),
}

CANARY = "c2VjcmV0Y2FuYXJ5"
"""A secret of which nothing may be seen; it is base64 too."""


@pytest.mark.parametrize("call", CALLS)
async def test_wrong_secret__any_call__says_what_to_do_and_shows_nothing(
    kind: str, service: Services, call: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    name = "AWS_SECRET_ACCESS_KEY" if kind == "s3" else "AZURE_STORAGE_ACCOUNT_KEY"
    store = opened(service(kind), **{name: CANARY})
    with pytest.raises(StoreError) as caught:
        await CALLS[call](store)  # type: ignore[misc]
    error = caught.value
    assert type(error) is StoreError
    assert not error.retryable
    assert "tests" in error.message
    seen = [error.message, error.detail or "", repr(error), repr(store), repr(vars(store))]
    seen += [str(error.__cause__), caplog.text]
    assert not [text for text in seen if CANARY in text or "secretcanary" in text]
    await store.close()


async def test_reader__writes__is_told_which_right_is_missing(service: Services) -> None:
    store = opened(
        service("s3"), AWS_ACCESS_KEY_ID="readerkey", AWS_SECRET_ACCESS_KEY="readersecret"
    )
    await store.list("")
    for call, right in (
        ("put", "s3:PutObject"),
        ("put large", "s3:PutObject"),
        ("create", "s3:PutObject"),
        ("delete many", "s3:DeleteObject"),
    ):
        with pytest.raises(StoreError, match=right) as caught:
            await CALLS[call](store)  # type: ignore[misc]
        assert not caught.value.retryable
    await store.close()


@pytest.mark.parametrize("call", ["read", "list", "level", "put", "put large", "create"])
async def test_missing_bucket__any_call__names_it(kind: str, service: Services, call: str) -> None:
    real = service(kind)
    changes = {}
    if kind == "s3":  # an administrator's first object would make it
        changes = {"AWS_ACCESS_KEY_ID": "readerkey", "AWS_SECRET_ACCESS_KEY": "readersecret"}
        if call not in ("read", "list", "level"):
            return
    store = opened(real, f"{real.url.split('://')[0]}://no-such-bucket", **changes)
    with pytest.raises(StoreError, match=r'no (bucket|container) "no-such-bucket".*create it'):
        await CALLS[call](store)  # type: ignore[misc]
    await store.close()


@pytest.mark.parametrize("call", CALLS)
async def test_nobody_listens__any_call__is_unavailable(
    kind: str, service: Services, call: str
) -> None:
    name = "AWS_ENDPOINT_URL" if kind == "s3" else "AZURE_STORAGE_ENDPOINT"
    store = opened(service(kind), **{name: "http://127.0.0.1:1"})
    with pytest.raises(StoreUnavailable):
        await CALLS[call](store)  # type: ignore[misc]
    await store.close()


async def test_environment_of_the_process__is_not_read(
    kind: str, service: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """obstore reads it by itself; what is given goes before."""
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "other",
        "AWS_SESSION_TOKEN": "other",
        "AWS_REGION": "other",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
        "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:1",
        "AZURE_STORAGE_ACCOUNT_NAME": "other",
        "AZURE_STORAGE_SAS_KEY": "sv=1&sig=x",
        "AZURE_STORAGE_TOKEN": "other",
        "AZURE_SKIP_SIGNATURE": "true",
        "AZURE_STORAGE_USE_EMULATOR": "true",
    }.items():
        monkeypatch.setenv(name, value)
    async with fresh_objects(kind, service) as store:
        await store.put("a b", b"1")
        assert await keys_of(store) == ["a b"]
        assert await store.delete("a b") is True


@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("s3://b", {"AWS_ACCESS_KEY_ID": "x"}),
        ("s3://b", {"AWS_ENDPOINT_URL": "localhost:9000"}),
        ("s3://b", {"AWS_ENDPOINT_URL": "http://user:secret@host"}),
        ("az://c", {}),
        ("az://c", {"AZURE_STORAGE_ACCOUNT_NAME": "a", "AZURE_STORAGE_ACCOUNT_KEY": "not base64!"}),
        ("abfs://c@host", {}),
        ("abfs://c@one.dfs.core.windows.net", {"AZURE_STORAGE_ACCOUNT_NAME": "two"}),
    ],
)
def test_open__something_is_wrong__says_what(url: str, variables: dict[str, str]) -> None:
    with pytest.raises(InvalidValue) as caught:
        open_objects(url, variables)
    assert "secret" not in str(caught.value)
    assert "not base64!" not in repr(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "abfs://tests/{folder}",
        "abfss://tests/{folder}",
        "abfs://tests@devstoreaccount1.dfs.core.windows.net/{folder}",
        "abfss://tests@devstoreaccount1.dfs.core.windows.net/{folder}",
    ],
)
async def test_abfs__every_form__is_the_same_container(url: str, service: Services) -> None:
    real = service("azure")
    folder = uuid.uuid4().hex
    one = open_objects(f"{real.url}/{folder}", real.env)
    other = open_objects(url.format(folder=folder), real.env)
    await one.put("a", b"1")
    assert await content(other, "a") == b"1"
    await other.delete("a")
    await one.close()
    await other.close()


async def test_close__calls_after__are_refused(store: ObjectStore) -> None:
    await store.close()
    with pytest.raises(StoreError, match="closed"):
        await store.head("a")


async def test_threads__after_more_work__are_no_more(store: ObjectStore) -> None:
    async def work() -> None:
        await store.put("a", large())
        await content(store, "a")
        await put_all(store, [f"{number}" for number in range(50)])

    await work()
    before = len(list(Path("/proc/self/task").iterdir()))
    for _ in range(3):
        await work()
    # The client's pool may grow a little; one thread per request would be 150.
    assert len(list(Path("/proc/self/task").iterdir())) < before + 20


def test_the_process_ends_cleanly__after_a_listing_left_early(
    kind: str, service: Services, tmp_path: Path
) -> None:
    """A native client that is torn down in the wrong moment aborts the whole process."""
    real = service(kind)
    program = (
        "import asyncio, os, sys\n"
        "from seafloor.stores.objects.open import open_objects\n"
        "async def work():\n"
        "    store = open_objects(sys.argv[1], os.environ)\n"
        "    await store.put('a', bytes(3_000_000))\n"
        "    await store.list('', limit=1)\n"
        "    async for chunk in store.read('a'):\n"
        "        break\n"
        "    await store.close()\n"
        "asyncio.run(work())\n"
    )

    def ends() -> tuple[int, bytes]:
        ended = subprocess.run(
            [sys.executable, "-c", program, f"{real.url}/{uuid.uuid4().hex}"],
            env={**os.environ, **real.env},
            capture_output=True,
            check=False,
        )
        return ended.returncode, ended.stderr

    # More at once than processors: the client's threads wait for theirs while the process ends.
    with ThreadPoolExecutor(6) as pool:
        ended = [pool.submit(ends) for _ in range(18)]
    assert {one.result() for one in ended} == {(0, b"")}


async def test_close__while_a_cancelled_call_goes_on__waits_for_its_end(
    kind: str, service: Services
) -> None:
    real = service(kind)
    with FaultProxy(_port(real)) as proxy:
        # Its first call opens its first connection: one that is kept may be cut under the call.
        store = opened(real, **_moved(real, proxy.port))
        answer = threading.Event()
        proxy.plan(Hold(answer))
        task = asyncio.create_task(store.head("a"))
        async with asyncio.timeout(60):
            while proxy.planned:  # the call is under way when its connection has the fault
                assert not task.done(), task
                await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        closing = asyncio.create_task(store.close())
        early, _ = await asyncio.wait({closing}, timeout=0.3)
        answer.set()
        await asyncio.wait_for(closing, 60)
        assert not early


def _port(real: Service) -> int:
    return next(port for value in real.env.values() if (port := urlsplit(value).port) is not None)


def _moved(real: Service, port: int) -> dict[str, str]:
    old = f":{_port(real)}"
    return {name: value.replace(old, f":{port}") for name, value in real.env.items()}


@pytest.mark.parametrize("if_absent", [False, True])
@pytest.mark.parametrize("status", [500, 503])
async def test_put_to_azure__the_last_request_of_a_large_one_fails_once__is_made_again(
    scripted: ScriptedServer, status: int, *, if_absent: bool
) -> None:
    """Unless it may only create: the first may have done so, and the second would meet it."""

    def answer(asked: Asked) -> Answer:
        is_first = sum("comp=blocklist" in each.path for each in scripted.asked) == 1
        if "comp=blocklist" in asked.path and is_first:
            return Answer(status, headers={"x-ms-error-code": "ServerBusy"})
        return Answer(201, b"", {"ETag": '"1"'})

    scripted.answer = answer
    variables = {
        "AZURE_STORAGE_ENDPOINT": scripted.url,
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": "YWNjb3VudCBrZXk=",
    }
    store = open_objects("az://container", variables)
    putting = store.put("a", stream_of([bytes(PART_BYTES), b"more"]), if_absent=if_absent)
    if if_absent:
        with pytest.raises(StoreUnavailable):
            await putting
    else:
        assert (await putting).etag == "1"
    lists = [asked.body for asked in scripted.asked if "comp=blocklist" in asked.path]
    assert len(lists) == (1 if if_absent else 2)
    assert len(set(lists)) == 1
    await store.close()


async def test_put_to_azure__only_a_proxy_leads_there__all_goes_by_it(
    scripted: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"ETag": '"1"', "Last-Modified": "Thu, 01 Jan 2026 00:00:00 GMT"}
    scripted.answer = lambda _: Answer(201, b"", made)
    monkeypatch.setenv("http_proxy", scripted.url)
    monkeypatch.setenv("no_proxy", "")
    endpoint = "http://account.blob.example.invalid"
    variables = {
        "AZURE_STORAGE_ENDPOINT": endpoint,
        "AZURE_STORAGE_ACCOUNT_NAME": "account",
        "AZURE_STORAGE_ACCOUNT_KEY": "YWNjb3VudCBrZXk=",
    }
    store = open_objects("az://container", variables)
    for body in (b"small", stream_of([bytes(PART_BYTES), b"more"])):
        assert (await store.put("a", body)).etag == "1"
    assert len(scripted.asked) == 1 + 2 + 1  # two blocks, and their list
    assert all(asked.path.startswith(f"{endpoint}/container/a") for asked in scripted.asked)
    monkeypatch.setenv("no_proxy", ".example.invalid")
    with pytest.raises(StoreUnavailable, match="does not answer"):
        await store.put("a", stream_of([bytes(PART_BYTES), b"more"]))
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("http_proxy", "socks5://user:secret@127.0.0.1:9")
    with pytest.raises(StoreError, match="kind socks5 cannot be used") as told:
        await store.put("a", stream_of([bytes(PART_BYTES), b"more"]))
    assert "secret" not in told.value.message
    await store.close()
