"""The server behind an Ingress: what is followed comes at once, what is large is kept nowhere."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3
import yaml
from tests.kube.deployed import FOLDER
from tests.kube.ingress_proxy import IngressProxy, ingress_proxy
from tests.services._service import Missing, free_port

from client_process import Client
from live_server import LiveServer
from missing import skip_missing

PIECE = bytes(range(256)) * 4096
PIECES = 48
MakeProxy = Callable[[Mapping[str, str]], tuple[LiveServer, IngressProxy]]


def ingress_annotations() -> dict[str, str]:
    """Of the Ingress that is deployed."""
    found = yaml.safe_load_all((FOLDER / "everything.yaml").read_text(encoding="utf-8"))
    (ingress,) = [one for one in found if one["kind"] == "Ingress"]
    return dict(ingress["metadata"]["annotations"])


@pytest.fixture
def make_proxy(tmp_path: Path) -> Iterator[MakeProxy]:
    """A server, and nginx before it, whose address tasks and users are told."""
    with ExitStack() as stack:

        def make(chosen: Mapping[str, str]) -> tuple[LiveServer, IngressProxy]:
            port = free_port()
            proxied = ingress_proxy(tmp_path / "nginx", port, host="127.0.0.1", annotations=chosen)
            try:
                proxy = stack.enter_context(proxied)
            except Missing as error:
                skip_missing("a proxy before the server", error)
            server = LiveServer(tmp_path / "data", env={"SEAFLOOR_SERVER__URL": proxy.url})
            stack.callback(server.stop)
            return server.start("--port", str(port)), proxy

        yield make


def test_ingress__a_log_that_is_followed__comes_line_by_line(
    make_proxy: MakeProxy, tmp_path: Path
) -> None:
    server, proxy = make_proxy(ingress_annotations())
    gate = tmp_path / "gate"
    run = server.launch(f"echo first; until [ -e {gate} ]; do sleep 0.1; done; echo second")
    url = f"{proxy.url}/api/v1/runs/{run['id']}/logs/follow"
    with urllib3.PoolManager(retries=False, timeout=60.0) as pool:
        answer = pool.request("GET", url, preload_content=False)
        assert answer.status == 200
        lines: list[str] = []
        for event in _events(answer):
            lines += [line["text"] for line in event["lines"]]
            if lines == ["first"]:
                assert not gate.exists(), "it came while the command went on"
                gate.touch()
        answer.release_conn()
    assert lines == ["first", "second"]
    assert server.wait_state(run["id"], "succeeded")["attempt"] == 1
    # The task was told the proxy's address, and what it sent went by it.
    assert f"/api/v1/runs/{run['id']}/attempts/1" in (proxy.folder / "access.log").read_text()


def _events(answer: urllib3.BaseHTTPResponse) -> Iterator[dict[str, list[dict[str, str]]]]:
    """The data of server-sent events, as they come."""
    rest = b""
    for piece in answer.stream(65_536):
        *events, rest = (rest + piece).split(b"\n\n")
        for event in events:
            for line in event.splitlines():
                if line.startswith(b"data: "):
                    yield json.loads(line.removeprefix(b"data: "))


def test_ingress__a_large_file__goes_through_and_is_kept_nowhere_on_the_way(
    make_proxy: MakeProxy,
) -> None:
    server, proxy = make_proxy(ingress_annotations())
    run = server.post("/api/v1/runs", {"experiment": "files"})
    url = f"{proxy.url}/api/v1/runs/{run['id']}/artifacts/large.bin"
    seen: list[str] = []

    def pieces() -> Iterator[bytes]:
        for _ in range(PIECES):
            yield PIECE
            seen.extend(proxy.kept("bodies"))

    with urllib3.PoolManager(retries=False, timeout=60.0) as pool:
        put = pool.request("PUT", url, body=pieces())
        assert put.status in (200, 201), put.data
        assert seen == []
        digest = hashlib.sha256()
        answer = pool.request("GET", url, preload_content=False)
        for piece in answer.stream(65_536):
            digest.update(piece)
            assert proxy.kept("answers") == []
        answer.release_conn()
    assert digest.digest() == hashlib.sha256(PIECE * PIECES).digest()


def test_ingress__without_its_annotations__refuses_what_is_large(make_proxy: MakeProxy) -> None:
    server, proxy = make_proxy({})
    run = server.post("/api/v1/runs", {"experiment": "files"})
    url = f"{proxy.url}/api/v1/runs/{run['id']}/artifacts/large.bin"
    with urllib3.PoolManager(retries=False, timeout=60.0) as pool:
        headers = {"Content-Length": str(2 * len(PIECE))}
        assert pool.request("PUT", url, body=2 * PIECE, headers=headers).status == 413


def test_ingress__the_command_line__runs_a_folder_by_it(
    make_proxy: MakeProxy, tmp_path: Path
) -> None:
    _, proxy = make_proxy(ingress_annotations())
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "train.py").write_text("print(6 * 7)\n")
    (folder / "weights.bin").write_bytes(hashlib.sha256(b"").digest() * 65_536)
    done = Client(tmp_path / "home", proxy.url).cli("run", "--", "python", "train.py", cwd=folder)
    assert done.returncode == 0, done
    assert "42" in done.stdout.splitlines()
    assert urlsplit(proxy.url).netloc in done.stdout + done.stderr
