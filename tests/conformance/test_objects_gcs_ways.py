"""Ways by which large objects go to Google Cloud Storage: encrypted, by a proxy, broken off."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from urllib.parse import urlsplit

import pytest
from tests.services._service import Service

from certificates import make_certificate
from gcs_front import GRAIN_BYTES, Answer, Asked, Fault, Front, KeepPart, LoseAnswer, LoseRequest
from gcs_world import endpoint_of, fresh_bucket
from seafloor.domain.errors import StoreError
from seafloor.stores.objects.gcs import sender as sender_module
from seafloor.stores.objects.gcs.auth import Anonymous
from seafloor.stores.objects.gcs.chunks import CHUNK_BYTES
from seafloor.stores.objects.gcs.client import GcsClient
from seafloor.stores.objects.gcs.sender import After, NotBegun, NotSent, Sender
from seafloor.stores.objects.gcs.store import GcsObjectStore
from seafloor.stores.objects.wrap.retry import RetryPolicy
from seafloor.testing.object_cases import bytes_of, content

AT_ONCE = RetryPolicy(attempts_max=4, delay_first_s=0.0, delay_max_s=0.0)
THREE_CHUNKS = bytes_of(2 * CHUNK_BYTES + 4000)
ELSEWHERE = "http://storage.test"
"""Where a name server would say that nothing is."""

Services = Callable[[str], Service]


@pytest.fixture(params=["encrypted", "by a proxy"])
def front(
    request: pytest.FixtureRequest,
    service: Services,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Front]:
    certificate = make_certificate(tmp_path) if request.param == "encrypted" else None
    with Front(endpoint_of(service), certificate).running() as front:
        for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.upper(), raising=False)
        if certificate is None:
            monkeypatch.setenv("http_proxy", front.url)
        else:
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        yield front
        assert front.planned == 0, "a fault did not happen"


@pytest.fixture
async def store(front: Front, service: Services) -> AsyncIterator[GcsObjectStore]:
    endpoint = front.url if front.url.startswith("https:") else ELSEWHERE
    client = GcsClient(
        fresh_bucket(endpoint_of(service)), Anonymous(), endpoint=endpoint, trust_env=True
    )
    store = GcsObjectStore(client, resume=AT_ONCE)
    yield store
    await store.close()


@pytest.mark.parametrize(
    "fault",
    [None, Answer(503), LoseRequest(), LoseAnswer(), KeepPart(3 * GRAIN_BYTES)],
    ids=["none", "503", "lost", "answer lost", "cut"],
)
async def test_put__in_chunks_of_which_one_fails__is_what_was_sent(
    front: Front, store: GcsObjectStore, fault: Fault | None
) -> None:
    def is_second(asked: Asked) -> bool:
        return asked.span.startswith(f"bytes {CHUNK_BYTES}-")

    if fault is not None:
        front.plan(is_second, fault)
    await store.put("a/b", THREE_CHUNKS)
    assert await content(store, "a/b") == THREE_CHUNKS
    assert sum(asked.is_chunk() for asked in front.asked) in (3, 4)


async def test_put__python_knows_no_authority__goes_by_the_other_client(
    service: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    known = ssl.get_default_verify_paths()
    nothing = known._replace(cafile=None, capath=None)
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: nothing)
    monkeypatch.setattr(Sender, "send", None)  # what is called breaks
    with Front(endpoint_of(service), certificate).running() as front:
        client = GcsClient(fresh_bucket(endpoint_of(service)), Anonymous(), endpoint=front.url)
        store = GcsObjectStore(client)
        await store.put("a", THREE_CHUNKS)
        assert await content(store, "a") == THREE_CHUNKS
        await store.close()


async def test_put__certificate_is_not_trusted__is_unavailable(
    service: Services, tmp_path: Path
) -> None:
    with Front(endpoint_of(service), make_certificate(tmp_path)).running() as front:
        sender = Sender(front.url)
        with pytest.raises(NotSent, match="CERTIFICATE_VERIFY_FAILED"):
            await sender.send("PUT", f"{front.url}/a", {}, (memoryview(b"1"),)).answer()
        sender.close()
        assert front.asked == []


class Silent:
    """Takes connections and what the system buffers of them, and reads nothing until told."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._reads = threading.Event()
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self.is_connected = threading.Event()
        self.came_bytes: list[int] = []
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def end(self) -> None:
        """Read what came until the other side ends it."""
        self._reads.set()
        self._thread.join()
        self._listening.close()

    def _take(self) -> None:
        link, _ = self._listening.accept()
        self.is_connected.set()
        self._reads.wait()
        count = 0
        with link, contextlib.suppress(ConnectionError):
            while came := link.recv(1 << 20):
                count += len(came)
        self.came_bytes.append(count)


BODY = memoryview(bytes(64 * 2**20))


@pytest.fixture
def silent() -> Iterator[Silent]:
    silent = Silent()
    yield silent
    silent.end()


async def test_send__caller_is_cancelled__the_body_stays_unfinished(silent: Silent) -> None:
    sender = Sender(silent.url)
    task = asyncio.create_task(sender.send("PUT", f"{silent.url}/a", {}, (BODY,)).answer())
    await asyncio.to_thread(silent.is_connected.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    silent.end()
    assert silent.came_bytes[0] < len(BODY)
    sender.close()


async def test_send__the_one_before_is_given_up__what_follows_is_not_begun(silent: Silent) -> None:
    sender = Sender(silent.url)
    before = sender.send("PUT", f"{silent.url}/a", {}, (BODY,))
    after = After(before, lambda _: True)
    following = sender.send("PUT", f"{silent.url}/a", {}, (BODY,), after=after)
    await asyncio.to_thread(silent.is_connected.wait)
    before.give_up()
    await asyncio.to_thread(silent.end)
    with pytest.raises(NotSent, match="nobody waits"):
        await before.answer()
    with pytest.raises(NotBegun):
        await following.answer()
    with pytest.raises(NotBegun):  # it is over, so what comes now has a turn of its own
        await sender.send("PUT", f"{silent.url}/a", {}, (BODY,), after=after).answer()
    sender.close()


async def test_send__breaks_by_a_bug__nobody_waits_for_ever(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_told = threading.Event()
    logged: SimpleQueue[BaseException | None] = SimpleQueue()

    def broken(*_: object) -> None:
        is_told.wait()
        raise RuntimeError("a bug")

    monkeypatch.setattr(Sender, "_sent", broken)
    # What ends a thread is told after those who wait were: often in the test that comes next.
    monkeypatch.setattr(threading, "excepthook", lambda told: logged.put(told.exc_value))
    sender = Sender(silent.url)
    before = sender.send("PUT", f"{silent.url}/a", {}, (BODY,))
    after = After(before, lambda _: True)
    following = sender.send("PUT", f"{silent.url}/a", {}, (BODY,), after=after)
    is_told.set()
    with pytest.raises(StoreError, match="server's log"):
        await before.answer()
    with pytest.raises(NotBegun):
        await following.answer()
    bug = await asyncio.to_thread(logged.get, timeout=60)
    assert isinstance(bug, RuntimeError)
    sender.close()
    with socket.create_connection(("127.0.0.1", urlsplit(silent.url).port or 0)):
        pass  # whom the fixture waits for


async def test_send__nothing_is_taken__ends(
    silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "SLICE_TIMEOUT_S", 1)
    sender = Sender(silent.url)
    with pytest.raises(NotSent):
        await sender.send("PUT", f"{silent.url}/a", {}, (BODY,)).answer()
    sender.close()


async def test_send__too_slowly__ends(silent: Silent, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender_module, "ANSWER_TIMEOUT_S", 0)
    monkeypatch.setattr(sender_module, "SLOWEST_BYTES_PER_S", 1 << 60)
    sender = Sender(silent.url)
    with pytest.raises(NotSent, match="not sent within 0 s"):
        await sender.send("PUT", f"{silent.url}/a", {}, (BODY,)).answer()
    sender.close()


async def test_send__idle_connection_was_closed__another_is_made() -> None:
    closed = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer_and_close() -> None:
            for _ in range(2):
                link, _ = listening.accept()
                came = b""
                while not came.endswith(b"\r\n\r\nbody"):
                    came += link.recv(4096)
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                link.close()
                closed.set()

        thread = threading.Thread(target=answer_and_close)
        thread.start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        sender = Sender(url)
        for _ in range(2):
            answer = await sender.send("PUT", f"{url}/a", {}, (memoryview(b"body"),)).answer()
            assert answer.status == 200
            await asyncio.to_thread(closed.wait)
        thread.join()
        sender.close()


async def test_close__while_a_body_is_sent__its_connection_does_not_stay() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        sender = Sender(url)
        sending = sender.send("PUT", f"{url}/a", {}, (memoryview(b"body"),))
        link, _ = await asyncio.to_thread(listening.accept)
        with link:
            sender.close()
            came = b""
            while not came.endswith(b"\r\n\r\nbody"):
                came += await asyncio.to_thread(link.recv, 4096)
            link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            assert (await sending.answer()).status == 200
            assert await asyncio.to_thread(link.recv, 1) == b"", "it is still open"


async def test_send__nobody_listens__says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    sender = Sender(url)
    with pytest.raises(NotSent, match="refused"):
        await sender.send("PUT", f"{url}/a", {}, (memoryview(b"1"),)).answer()
    sender.close()
