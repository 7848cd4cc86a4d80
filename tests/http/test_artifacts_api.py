"""``/api/v1/runs/{run}/artifacts``, and the same files by the MLflow routes."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import threading
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from unittest import mock
from urllib.parse import quote, urlsplit

import psutil
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from http_world import Answer, ask, check_envelope
from live_server import LiveServer, wait_for
from seafloor.app.application import Application
from seafloor.app.runs import NewTrackedRun
from seafloor.app.tokens import Administrator
from seafloor.domain.ids import WorkloadId
from seafloor.testing.artifact_store_suite import put_bytes
from seafloor.testing.metadata_records import model
from untouched import everything_below

Call = Callable[..., Answer]
MARK = b"a mark that stands nowhere else: 5c1f2f7a"


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_put__with_its_digest__is_kept_and_told_on_get(call: Call, run_id: str) -> None:
    data = bytes(range(256)) * 10
    path = f"/api/v1/runs/{run_id}/artifacts/{quote('modelle/größe 1.bin')}"
    put = call("PUT", path, data, X_Content_SHA256=sha256(data))
    assert put.status == 200, put
    assert (put.json["path"], put.json["size_bytes"]) == ("modelle/größe 1.bin", 2560)
    got = call("GET", path)
    assert got.body == data
    assert got.headers["content-length"] == "2560"
    assert got.headers["x-content-sha256"] == sha256(data)
    assert got.headers["etag"] == f'"{sha256(data)}"'
    assert got.headers["content-type"] == "application/octet-stream"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert quote("größe 1.bin") in got.headers["content-disposition"]
    head = call("HEAD", path)
    assert head.status == 200
    assert head.headers["content-length"] == "2560"
    assert head.body == b""


@pytest.mark.parametrize(
    ("name", "disposition"),
    [
        ("page.html", "attachment"),
        ("page.svg", "attachment"),
        ("code.js", "attachment"),
        ("plot.png", "inline"),
        ("notes.txt", "inline"),
        ('a"b;c.png', "inline"),
    ],
)
def test_get__of_what_a_browser_could_run__is_never_shown_as_itself(
    call: Call, run_id: str, name: str, disposition: str
) -> None:
    path = f"/api/v1/runs/{run_id}/artifacts/{quote(name)}"
    call("PUT", path, b"<script>alert(1)</script>")
    got = call("GET", path)
    assert got.headers["content-disposition"].startswith(f"{disposition}; filename*=UTF-8''")
    assert '"' not in got.headers["content-disposition"]


def test_put__of_an_empty_file__is_there(call: Call, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}/artifacts/empty"
    assert call("PUT", path, b"").status == 200
    got = call("GET", path)
    assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "0")
    answer = call("GET", path, Range="bytes=0-")
    assert answer.status == 416
    assert answer.headers["content-range"] == "bytes */0"


@pytest.mark.parametrize(
    ("range_", "status", "expected"),
    [
        ("bytes=0-0", 206, (0, 1)),
        ("bytes=10-19", 206, (10, 20)),
        ("bytes=990-", 206, (990, 1000)),
        ("bytes=-10", 206, (990, 1000)),
        ("bytes=-5000", 206, (0, 1000)),
        ("bytes=500-99999", 206, (500, 1000)),
        ("bytes=999-999", 206, (999, 1000)),
        ("bytes=1000-", 416, None),
        ("bytes=20-10", 416, None),
        ("bytes=-0", 416, None),
        (f"bytes={'9' * 20}-", 416, None),
        (f"bytes={'9' * 5000}-", 200, (0, 1000)),
        ("bytes=-", 200, (0, 1000)),
        ("bytes=0-1,5-6", 200, (0, 1000)),
        ("bytes=a-b", 200, (0, 1000)),
        ("lines=0-1", 200, (0, 1000)),
    ],
)
def test_get__of_a_range__gives_it(
    call: Call, run_id: str, range_: str, status: int, expected: tuple[int, int] | None
) -> None:
    data = bytes(i % 251 for i in range(1000))
    path = f"/api/v1/runs/{run_id}/artifacts/data"
    call("PUT", path, data)
    mlflow = f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/data"
    for place in (path, mlflow):
        got = call("GET", place, Range=range_)
        assert got.status == status, got
        if expected is None:
            assert got.headers["content-range"] == "bytes */1000"
            assert got.json["request_id"] == got.headers["x-request-id"]
            continue
        start, end = expected
        assert got.body == data[start:end]
        if status == 206:
            assert got.headers["content-range"] == f"bytes {start}-{end - 1}/1000"


@pytest.mark.parametrize("announced", ["0" * 64, "short", "Z" * 64, ""])
def test_put__with_another_digest__leaves_nothing(call: Call, run_id: str, announced: str) -> None:
    path = f"/api/v1/runs/{run_id}/artifacts/a/b.bin"
    answer = call("PUT", path, b"data", X_Content_SHA256=announced)
    check_envelope(answer, code="invalid_value", status=400)
    check_envelope(call("GET", path), code="not_found", status=404)
    assert call("GET", f"/api/v1/runs/{run_id}/artifacts").json["items"] == []


def test_put__of_another_digest_over_a_file__leaves_the_old_one(call: Call, run_id: str) -> None:
    path = f"/api/v1/runs/{run_id}/artifacts/a"
    call("PUT", path, b"old")
    assert call("PUT", path, b"new", X_Content_SHA256=sha256(b"other")).status == 400
    assert call("GET", path).body == b"old"
    assert call("PUT", path, b"new", X_Content_SHA256=sha256(b"new")).status == 200
    assert call("GET", path).body == b"new"


@pytest.mark.parametrize(
    "place",
    ["/api/v1/runs/{}/artifacts/cut", "/api/2.0/mlflow-artifacts/artifacts/0/{}/artifacts/cut"],
)
def test_put__of_a_path_with_an_empty_part__is_refused(call: Call, run_id: str, place: str) -> None:
    for path in (place.format(run_id) + "/", place.format(run_id) + "//x"):
        assert call("PUT", path, b"x").status == 400
    assert call("GET", f"/api/v1/runs/{run_id}/artifacts").json["items"] == []


@pytest.mark.parametrize(
    "place",
    ["/api/v1/runs/{}/artifacts/cut", "/api/2.0/mlflow-artifacts/artifacts/0/{}/artifacts/cut"],
)
def test_put__that_is_cut_off__leaves_nothing(
    shared_server: LiveServer, call: Call, run_id: str, place: str
) -> None:
    parts = urlsplit(shared_server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    connection.putrequest("PUT", place.format(run_id))
    connection.putheader("Content-Length", "100000")
    connection.endheaders(b"x" * 5000)
    connection.close()
    assert call("GET", f"/api/v1/runs/{run_id}/artifacts/cut").status == 404
    assert call("GET", f"/api/v1/runs/{run_id}/artifacts").json["items"] == []


def test_list__of_a_folder__knows_no_prefix_siblings(call: Call, run_id: str) -> None:
    base = f"/api/v1/runs/{run_id}/artifacts"
    for path in ("model/a/x", "model/a-hf/y", "model/a.txt", "model/ab"):
        assert call("PUT", f"{base}/{path}", b"12").status == 200
    assert [e["path"] for e in call("GET", f"{base}?folder=model/a").json["items"]] == ["model/a/x"]
    top = call("GET", base).json["items"]
    assert [(e["path"], e["is_folder"], e["files"], e["size_bytes"]) for e in top] == [
        ("model", True, 4, 8)
    ]
    assert call("DELETE", f"{base}/model/a").json == {"files": 1}
    left = [e["path"] for e in call("GET", f"{base}?folder=model").json["items"]]
    assert left == ["model/a-hf", "model/a.txt", "model/ab"]
    check_envelope(call("DELETE", f"{base}/model/a"), code="not_found", status=404)
    listed = call("GET", f"{base}?folder=nothing")
    assert listed.json["items"] == []


def test_list__recursive__pages_by_path(call: Call, run_id: str) -> None:
    base = f"/api/v1/runs/{run_id}/artifacts"
    paths = sorted(f"d{i % 3}/f{i:02}" for i in range(11))
    for path in paths:
        call("PUT", f"{base}/{path}", b"x")
    seen: list[str] = []
    cursor = ""
    while True:
        page = call("GET", f"{base}?recursive=true&limit=4{cursor}").json
        seen += [file["path"] for file in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={quote(page['next'])}"
    assert seen == paths


def test_put__through_a_file__is_refused(call: Call, run_id: str) -> None:
    base = f"/api/v1/runs/{run_id}/artifacts"
    call("PUT", f"{base}/file", b"x")
    call("PUT", f"{base}/folder/inner", b"x")
    check_envelope(call("PUT", f"{base}/file/below", b"x"), code="conflict", status=409)
    check_envelope(call("PUT", f"{base}/folder", b"x"), code="conflict", status=409)
    check_envelope(call("GET", f"{base}/folder"), code="not_found", status=404)
    assert call("GET", f"{base}/file").body == b"x"


def staged_bytes(server: LiveServer) -> list[int]:
    """The sizes of what is on its way into the object store."""
    sizes: list[int] = []
    for file in everything_below(server.data / "objects" / ".seafloor-tmp"):
        with suppress(FileNotFoundError):  # the server has put it in its place meanwhile
            sizes.append(file.stat().st_size)
    return sizes


@pytest.mark.parametrize("which", ["native", "mlflow"])
def test_put__of_a_run_that_is_purged_meanwhile__leaves_nothing(
    shared_server: LiveServer, call: Call, run_id: str, which: str
) -> None:
    """Its bytes would be nobody's for good: no list names them, no purge finds them."""
    native = f"/api/v1/runs/{run_id}/artifacts/late"
    mlflow = f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/late"
    parts = urlsplit(shared_server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.putrequest("PUT", native if which == "native" else mlflow)
    connection.putheader("Content-Length", "8000000")
    connection.endheaders(b"x" * 6_000_000)
    wait_for(lambda: max(staged_bytes(shared_server), default=0) > 1_000_000, what="first bytes")
    assert call("DELETE", f"/api/v1/runs/{run_id}?purge=true").status == 200
    connection.send(b"x" * 2_000_000)
    assert connection.getresponse().status == 404
    connection.close()
    left = shared_server.data / "objects" / "runs" / run_id
    assert not [file for file in everything_below(left) if file.is_file()]


@pytest.mark.parametrize("what", ["trace", "model"])
def test_put__of_a_trace_or_model_that_goes_meanwhile__leaves_nothing(
    shared_server: LiveServer, call: Call, run_id: str, what: str
) -> None:
    mlflow = "/api/3.0/mlflow/traces"
    if what == "trace":
        trace_id = f"tr-{uuid.uuid4().hex}"
        place = {"type": "MLFLOW_EXPERIMENT", "mlflow_experiment": {"experiment_id": "0"}}
        info = {"trace_id": trace_id, "trace_location": place, "state": "OK"}
        info |= {"request_time": "2026-01-01T00:00:00Z"}
        assert call("POST", mlflow, {"trace": {"trace_info": info}}).status == 200
        owner, base = f"t-{trace_id[3:]}", f"traces/{trace_id}"
    else:
        body = {"experiment_id": "0", "name": "m", "source_run_id": run_id}
        made = call("POST", "/api/2.0/mlflow/logged-models", body).json["model"]["info"]
        owner, base = made["model_id"], f"models/{made['model_id']}"
    parts = urlsplit(shared_server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    path = f"/api/2.0/mlflow-artifacts/artifacts/0/{base}/artifacts/late"
    connection.putrequest("PUT", path)
    connection.putheader("Content-Length", "8000000")
    connection.endheaders(b"x" * 6_000_000)
    wait_for(lambda: max(staged_bytes(shared_server), default=0) > 1_000_000, what="first bytes")
    if what == "trace":
        asked = {"experiment_id": "0", "request_ids": [trace_id]}
        assert call("POST", f"{mlflow}/delete-traces", asked).json["traces_deleted"] == 1
    else:
        assert call("DELETE", f"/api/v1/runs/{run_id}?purge=true").status == 200
    connection.send(b"x" * 2_000_000)
    assert connection.getresponse().status == 404
    connection.close()
    objects = shared_server.data / "objects"
    late = [file for file in everything_below(objects) if file.name == "late" and file.is_file()]
    assert not [file for file in late if owner in str(file) or base in str(file)]


@pytest.mark.parametrize("which", ["native", "mlflow"])
def test_get__of_a_range_of_what_was_replaced__gives_all_of_the_new(
    call: Call, run_id: str, which: str
) -> None:
    """Who goes on with a download that broke off would join two files into one."""
    path = f"/api/v1/runs/{run_id}/artifacts/data"
    mlflow = f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/data"
    place = path if which == "native" else mlflow
    call("PUT", path, b"old" * 100)
    etag = call("GET", place).headers["etag"]
    went_on = call("GET", place, Range="bytes=3-", If_Range=etag)
    assert (went_on.status, went_on.body) == (206, b"old" * 99)
    call("PUT", path, b"new")
    got = call("GET", place, Range="bytes=3-", If_Range=etag)
    assert (got.status, got.body) == (200, b"new")
    assert got.headers["etag"] != etag


@pytest.mark.parametrize("name", ["%ff", "caf%e9.txt", "a/%ed%a0%80", "%c0%ae"])
def test_put__of_a_name_that_is_no_utf8__is_refused(call: Call, run_id: str, name: str) -> None:
    """Each such byte is read as U+FFFD: files of two names were one."""
    for base in (
        f"/api/v1/runs/{run_id}/artifacts/",
        f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/",
        f"/api/v1/runs/{run_id}/attempts/0/event-files?offset=0&path=",
    ):
        answer = call("POST" if "?" in base else "PUT", base + name, b"1")
        assert answer.status == 400, answer
        assert "UTF-8" in answer.json["message"]
    assert call("GET", f"/api/v1/runs/{run_id}/artifacts").json["items"] == []
    assert call("GET", f"/api/v1/runs/{run_id}/event-files").json["items"] == []


def test_put__of_the_letter_that_stands_for_no_utf8__is_kept(call: Call, run_id: str) -> None:
    place = f"/api/v1/runs/{run_id}/artifacts/%ef%bf%bd"
    assert call("PUT", place, b"1").json["path"] == "\ufffd"


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LiveServer, str]]:
    """A server of its own, and a run of it whose artifacts are attacked."""
    server = LiveServer(tmp_path_factory.mktemp("attacked") / "data").start()
    run = server.post("/api/v1/runs", {"experiment": "attacked"})["id"]
    yield server, run
    server.stop()


PARTS = st.sampled_from(
    [
        *("..", ".", "", "a", "A b", "%2e%2e", "%252e%252e", "..%2f", "%2F", "%5c", "\\", "%00"),
        *("%0a", "~", "C:", "c:%5cx", "%c0%ae", "%ff", "ü", "é" * 130, "x" * 300, "&", "?", "#"),
        *("+", "%", "manifest.json", "....", ". .", "..;", "%e2%80%ae", "%ed%a0%80", "$HOME"),
        *("`id`", "-rf"),
    ]
)
PATHS = st.lists(PARTS | st.text(max_size=5), min_size=1, max_size=6).map("/".join)


def on_the_wire(path: str) -> str:
    """A path as a request line may carry it: what could not stand there is percent-encoded."""
    encoded = path.encode("utf-8", "surrogatepass").decode("latin-1")
    return "".join(c if "!" <= c <= "~" else f"%{ord(c):02x}" for c in encoded)


@given(PATHS, st.sampled_from(["native", "mlflow", "mlflow-raw", "event-files"]))
@example("../../../../../../tmp/escaped", "native")
@example("..%2f..%2f..%2fescaped", "native")
@example("..%252f..%252fescaped", "mlflow")
@example("%2e%2e/%2e%2e/escaped", "mlflow")
@example("../../../escaped", "mlflow-raw")
@example("/etc/passwd", "native")
@example("a//b", "native")
@example("a/", "native")
@example("C:\\x", "mlflow")
def test_put__of_any_path__never_leaves_the_folder(
    attacked: tuple[LiveServer, str], path: str, by: str
) -> None:
    server, run = attacked
    wire = on_the_wire(path)
    places = {
        "native": f"/api/v1/runs/{run}/artifacts/{wire}",
        "mlflow": f"/api/2.0/mlflow-artifacts/artifacts/0/{run}/artifacts/{wire}",
        "mlflow-raw": f"/api/2.0/mlflow-artifacts/artifacts/{wire}",
        "event-files": f"/api/v1/runs/{run}/attempts/1/event-files?offset=0&path={wire}",
    }
    method = "POST" if by == "event-files" else "PUT"
    put = ask(server.url, method, places[by], body=MARK)
    assert put.status in (200, 400, 404, 405, 409, 413), put
    got = ask(server.url, "GET", places[by])
    if by != "event-files":
        assert got.status in (200, 400, 404, 413), got
        assert (got.body == MARK) == (put.status == 200 and method == "PUT"), (put, got)
    deleted = ask(server.url, "DELETE", places[by])
    assert deleted.status in (200, 400, 404, 405, 409, 413), deleted
    assert_marks_are_inside(server.data, run)


def assert_marks_are_inside(data: Path, run: str) -> None:
    inside = data / "objects" / "runs" / run / "artifacts"
    marked: list[Path] = []
    for folder, _, names in os.walk(data.parent):
        for file in (Path(folder, name) for name in names):
            with suppress(FileNotFoundError):  # the server works there
                if file.stat().st_size == len(MARK) and file.read_bytes() == MARK:
                    marked.append(file)
    outside = [file for file in marked if not file.resolve().is_relative_to(inside.resolve())]
    assert not outside


@pytest.mark.parametrize(
    "query", ["folder=..", "folder=/etc", "folder=a//b", "folder=a%00", "path=..", "limit=0"]
)
def test_list__of_an_odd_folder__is_refused(call: Call, run_id: str, query: str) -> None:
    if query.startswith("path"):
        answer = call("GET", f"/api/2.0/mlflow/artifacts/list?run_id={run_id}&{query}")
        assert (answer.status, answer.json["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    else:
        answer = call("GET", f"/api/v1/runs/{run_id}/artifacts?{query}")
        check_envelope(answer, code="invalid_value", status=400)


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    ["/api/v1/runs/{}/artifacts/big", "/api/2.0/mlflow-artifacts/artifacts/0/{}/artifacts/big"],
)
def test_transfer__of_100_mb__takes_little_memory(
    make_server: Callable[..., LiveServer], place: str
) -> None:
    server = make_server()
    run = server.post("/api/v1/runs", {"experiment": "big"})["id"]
    path = place.format(run)
    assert server.process is not None
    process = psutil.Process(server.process.pid)
    warm = ask(server.url, "PUT", path, body=b"warm")
    assert warm.status == 200
    before = process.memory_info().rss
    chunk, chunks = bytes(range(256)) * 4096, 100
    peak = before
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.putrequest("PUT", path)
    connection.putheader("Content-Length", str(len(chunk) * chunks))
    connection.endheaders()
    digest = hashlib.sha256()
    for _ in range(chunks):
        connection.send(chunk)
        digest.update(chunk)
        peak = max(peak, process.memory_info().rss)
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    answer.read()
    connection.request("GET", path)
    answer = connection.getresponse()
    assert answer.status == 200
    received = hashlib.sha256()
    while part := answer.read(1 << 20):
        received.update(part)
        peak = max(peak, process.memory_info().rss)
    connection.close()
    assert received.hexdigest() == digest.hexdigest()
    assert peak - before < 30 * 2**20, f"{(peak - before) / 2**20:.0f} MiB more"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("known", "status"),
    [
        ("{}", 304),
        ("W/{}", 304),
        ('"a", {}', 304),
        ("*", 304),
        ('"other"', 200),
        ("", 200),
        ("a,,W/", 200),
    ],
)
def test_get__of_what_is_there_already__is_not_sent_again(
    call: Call, run_id: str, method: str, known: str, status: int
) -> None:
    etag = f'"{sha256(b"a picture")}"'
    path = f"/api/v1/runs/{run_id}/artifacts/a.png"
    call("PUT", path, b"a picture")
    places = [path] if method == "HEAD" else [path, _by_mlflow(run_id, "a.png")]
    for place in places:
        for more in ({}, {"Range": "bytes=0-1"}, {"Range": "bytes=99-"}):
            if status == 200 and more:
                continue
            got = call(method, place, If_None_Match=known.format(etag), **more)
            assert got.status == status
            assert got.headers["etag"] == etag
            if status == 304:
                assert got.body == b""
    call("PUT", path, b"another one")
    assert call(method, path, If_None_Match=known.format(etag)).status == (
        304 if known == "*" else 200
    )


def test_put__of_a_part__does_not_replace_the_whole(call: Call, run_id: str) -> None:
    native = f"/api/v1/runs/{run_id}/artifacts/a"
    call("PUT", native, b"whole")
    for place in (native, _by_mlflow(run_id, "a")):
        refused = call("PUT", place, b"le", Content_Range="bytes 3-4/5")
        assert refused.status == 400
        assert "Content-Range" in refused.json["message"]
        assert call("GET", native).body == b"whole"


@pytest.mark.parametrize("coding", ["gzip", "identity, gzip", "aws-chunked", "GZIP"])
def test_put__of_encoded_bytes__is_refused(call: Call, run_id: str, coding: str) -> None:
    """The coding would be forgotten: who fetches the file would get what he cannot read."""
    native = f"/api/v1/runs/{run_id}/artifacts/a"
    call("PUT", native, b"plain", Content_Encoding="identity")
    for place in (native, _by_mlflow(run_id, "a")):
        refused = call("PUT", place, gzip.compress(b"other"), Content_Encoding=coding)
        assert refused.status == 400
        assert "without Content-Encoding" in refused.json["message"]
        assert call("GET", native).body == b"plain"


@pytest.mark.parametrize("by_mlflow", [False, True])
def test_put__that_ends_after_a_newer_one__does_not_replace_it(
    call: Call, shared_server: LiveServer, run_id: str, *, by_mlflow: bool
) -> None:
    """Who gave an upload up, and sent another, finds the other, whenever the first arrives."""
    native = f"/api/v1/runs/{run_id}/artifacts/a"
    place = _by_mlflow(run_id, "a") if by_mlflow else native
    connection = http.client.HTTPConnection(urlsplit(shared_server.url).netloc, timeout=60)
    with closing(connection):
        connection.putrequest("PUT", place)
        connection.putheader("Content-Length", "32000001")
        connection.endheaders(bytes(32_000_000))  # more than lies between: the server has begun
        assert call("PUT", place, b"newer").status == 200
        connection.send(b"e")
        assert connection.getresponse().status == 200
    assert call("GET", native).body == b"newer"


def _by_mlflow(run_id: str, path: str) -> str:
    return f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/{path}"


def test_put__with_a_condition_that_does_not_hold__changes_nothing(call: Call, run_id: str) -> None:
    native, old = f"/api/v1/runs/{run_id}/artifacts/a", f'"{sha256(b"old")}"'
    for place in (native, _by_mlflow(run_id, "a")):
        call("DELETE", native)
        assert call("PUT", place, b"1", If_Match="*").status == 412
        assert call("PUT", place, b"1", If_Match=old).status == 412
        assert call("GET", native).status == 404
        assert call("PUT", place, b"old", If_None_Match="*").status == 200
        for asked in (
            {"If_None_Match": "*"},
            {"If_None_Match": f'"other", W/{old}'},
            {"If_Match": f'"{sha256(b"other")}"'},
            {"If_Match": f"W/{old}"},
            {"If_Match": ""},
            {"If_Match": old, "If_None_Match": "*"},
        ):
            refused = call("PUT", place, b"new", **asked)
            assert refused.status == 412, asked
            assert sha256(b"old") in refused.json["message"]
        assert call("GET", native).body == b"old"
        assert call("PUT", place, b"new", If_Match=f'"other", {old}').status == 200
        assert call("PUT", place, b"newer", If_Match="*").status == 200
        assert call("PUT", place, b"newest", If_None_Match=old).status == 200
        assert call("GET", native).body == b"newest"
    refused = call("PUT", native, b"1", If_None_Match="*")
    assert check_envelope(refused, code="precondition_failed", status=412)["field"] == "path"


@pytest.mark.parametrize("how", ["create", "replace"])
def test_put__by_several_who_ask_for_the_same__one_is_first(
    call: Call, run_id: str, how: str
) -> None:
    path = f"/api/v1/runs/{run_id}/artifacts/a"
    asked = {"If_None_Match": "*"}
    if how == "replace":
        call("PUT", path, b"old")
        asked = {"If_Match": f'"{sha256(b"old")}"'}
    together = threading.Barrier(8)

    def put(number: int) -> int:
        together.wait(timeout=60)
        return call("PUT", path, f"{number}".encode(), **asked).status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(put, range(8)))
    assert sorted(statuses) == [200] + [412] * 7
    assert call("GET", path).body == f"{statuses.index(200)}".encode()


def test_put__too_long_with_what_stands_before_it__names_what_can_be_shortened(
    call: Call, run_id: str
) -> None:
    path = "/".join(["x" * 200] * 5)[:1000]
    for place in (f"/api/v1/runs/{run_id}/artifacts/{path}", _by_mlflow(run_id, path)):
        refused = call("PUT", place, b"a")
        assert refused.status in (400, 413), refused
        assert "This path has 1000 bytes" in refused.json["message"]
        assert "Shorten it" in refused.json["message"]
    native = call("PUT", f"/api/v1/runs/{run_id}/artifacts/{path}", b"a").json
    assert (native["code"], native["field"]) == ("limit_exceeded", "path")
    assert call("GET", f"/api/v1/runs/{run_id}/artifacts").json["items"] == []


async def test_purge__while_uploads_end__leaves_nothing_of_them(
    application: Application, tmp_path: Path
) -> None:
    """They found their run still there, and no list named what they brought."""
    new = NewTrackedRun(project="default", experiment="purged", name="one")
    run_id = (await application.runs.create_tracked(new, by=Administrator())).workload.id
    metadata = application.stores.metadata
    logged = model(1, source_run_id=run_id)
    await metadata.model_create(logged)
    remove = metadata.workload_purge

    async def remove_late(workload_id: WorkloadId) -> None:
        for owner in (run_id, logged.id):
            await put_bytes(application.stores.artifacts, "late", b"x" * 100, owner=owner)
        await remove(workload_id)

    with mock.patch.object(metadata, "workload_purge", remove_late):
        await application.runs.purge(run_id)
    objects = tmp_path / "data" / "objects"
    assert not [file for file in objects.rglob("late*") if file.is_file()]
