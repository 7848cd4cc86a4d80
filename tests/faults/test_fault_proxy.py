"""The proxy does to connections what it was told, and nothing else."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import urllib3

from live_server import wait_for
from seafloor.testing.fault_proxy import (
    Answer,
    Cut,
    CutRequest,
    Delay,
    FaultProxy,
    Silence,
    Truncate,
)

BODY = b"x" * 100_000
MANY = 1100
"""More than ``select`` knows."""
DELAY_S = 0.5


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.received.append(len(body))  # pyright: ignore
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    httpd.received = []
    httpd.handle_error = lambda *_: None  # a connection that is cut is what is meant
    thread = threading.Thread(target=httpd.serve_forever)
    thread.start()
    yield httpd
    httpd.shutdown()
    httpd.server_close()
    thread.join()


@pytest.fixture
def proxy(server: ThreadingHTTPServer) -> Iterator[FaultProxy]:
    with FaultProxy(server.server_port) as proxy:
        yield proxy


@pytest.fixture
def pool() -> Iterator[urllib3.PoolManager]:
    with urllib3.PoolManager(retries=False, timeout=60.0) as pool:
        yield pool


def _get(pool: urllib3.PoolManager, proxy: FaultProxy) -> urllib3.BaseHTTPResponse:
    return pool.request("GET", f"http://127.0.0.1:{proxy.port}/")


def test_without_a_fault_everything_comes_through(proxy: FaultProxy, pool) -> None:
    assert _get(pool, proxy).data == BODY
    assert proxy.connections == 1
    assert proxy.spoiled == 0


@pytest.mark.parametrize("fault", [Cut(), Cut(50_000), Truncate(50_000)])
def test_an_answer_that_ends_early_is_seen_and_the_next_is_well(proxy, pool, fault) -> None:
    proxy.plan(fault)
    with pytest.raises(urllib3.exceptions.HTTPError):
        _get(pool, proxy)
    assert _get(pool, proxy).data == BODY
    assert proxy.spoiled == 1


def test_a_request_that_is_cut_does_not_arrive_whole(proxy, pool, server) -> None:
    proxy.plan(CutRequest(1_000))
    with pytest.raises(urllib3.exceptions.HTTPError):
        pool.request("PUT", f"http://127.0.0.1:{proxy.port}/", body=BODY)
    assert len(BODY) not in server.received
    assert pool.request("PUT", f"http://127.0.0.1:{proxy.port}/", body=BODY).status == 204
    assert server.received.count(len(BODY)) == 1  # what came of the first may be noted after it


def test_silence_times_out(proxy) -> None:
    proxy.plan(Silence())
    impatient = urllib3.PoolManager(retries=False, timeout=2.0)
    with impatient, pytest.raises(urllib3.exceptions.TimeoutError):
        _get(impatient, proxy)


def test_a_delay_holds_the_answer_back(proxy, pool) -> None:
    # How late it comes, and not who gives up before: where this process stands still, nobody does.
    proxy.plan(Delay(DELAY_S))
    begun_s = time.monotonic()
    assert _get(pool, proxy).data == BODY
    assert time.monotonic() - begun_s >= DELAY_S


def test_it_answers_in_the_servers_place_as_often_as_told(proxy, pool, server) -> None:
    proxy.plan(Answer(503, (("Retry-After", "7"),)), connections=2)
    for _ in range(2):
        answer = pool.request("PUT", f"http://127.0.0.1:{proxy.port}/", body=BODY)
        assert answer.status == 503
        assert answer.headers["Retry-After"] == "7"
    assert server.received == []
    assert _get(pool, proxy).status == 200


def test_down_is_down_until_it_comes_up(proxy, pool) -> None:
    assert _get(pool, proxy).status == 200
    proxy.go_down()
    for _ in range(3):
        with pytest.raises(urllib3.exceptions.HTTPError):
            _get(pool, proxy)
    proxy.come_up()
    assert wait_for(lambda: _get(pool, proxy).status == 200)


def test_it_works_in_a_process_with_many_descriptors(proxy: FaultProxy, pool) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < MANY + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MANY + 200, hard))
    with ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        while (descriptor := os.open(os.devnull, os.O_RDONLY)) < MANY:
            stack.callback(os.close, descriptor)
        stack.callback(os.close, descriptor)
        assert _get(pool, proxy).data == BODY
