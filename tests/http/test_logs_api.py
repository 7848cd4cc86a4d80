"""``/api/v1/runs/{run}/logs``."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import msgspec
import psutil
import pytest

from http_world import Answer, check_envelope
from live_server import LiveServer, wait_for
from seafloor.app.application import Application
from seafloor.app.runs import NewTrackedRun
from seafloor.app.tokens import Administrator
from seafloor.domain.ids import WorkloadId
from seafloor.domain.workloads import WorkloadState
from seafloor.http.routes.logs import _until_over
from seafloor.stores.logs.protocol import LogKey, LogPage
from seafloor.testing.log_spools import OUT, T0_NS, Record, spool

Call = Callable[..., Answer]
PRINTING = (
    "import sys\nfor i in range(50): print('line', i, 'größe')\nprint('bad', file=sys.stderr)"
)


@pytest.fixture(scope="module")
def printed(shared_server: LiveServer) -> str:
    run = shared_server.launch(["python3", "-c", PRINTING])
    shared_server.wait_state(run["id"], "succeeded")
    return run["id"]


def test_read__from_a_line_on__gives_pages_in_order(call: Call, printed: str) -> None:
    path = f"/api/v1/runs/{printed}/logs"
    out = call("GET", f"{path}?stream=out").json
    assert [line["text"] for line in out["lines"]][:2] == ["line 0 größe", "line 1 größe"]
    assert len(out["lines"]) == 50
    page = call("GET", f"{path}?from_line=3&limit=4").json
    assert [line["number"] for line in page["lines"]] == [3, 4, 5, 6]
    assert page["next_line"] == 7
    last = call("GET", f"{path}?from_line=-2").json
    assert [line["number"] for line in last["lines"]] == [
        last["total_lines"] - 1,
        last["total_lines"],
    ]
    assert last["finished"] is True
    assert call("GET", f"{path}?stream=err").json["lines"][0]["text"] == "bad"
    assert call("GET", f"{path}?from_line=999999").json["lines"] == []


def test_raw__of_a_log__is_what_was_printed(call: Call, printed: str) -> None:
    answer = call("GET", f"/api/v1/runs/{printed}/logs/raw?stream=out")
    assert answer.body.decode() == "".join(f"line {i} größe\n" for i in range(50))
    assert answer.headers["content-type"] == "application/octet-stream"
    assert "attachment" in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=10001",
        "from_line=x",
        f"from_line={2**63}",
        "from_line=-10001",
        "attempt=-1",
        "attempt=null",
        f"attempt={2**31}",
        "stream=both",
        "task=../main",
        "task=",
    ],
)
def test_read__with_an_odd_parameter__is_refused(call: Call, printed: str, query: str) -> None:
    for place in ("logs", "logs/follow"):
        if place == "logs/follow" and query.startswith(("limit", "stream")):
            continue
        answer = call("GET", f"/api/v1/runs/{printed}/{place}?{query}")
        check_envelope(answer, code="invalid_value", status=400)


def test_read__of_a_tracked_run__is_empty(call: Call, run_id: str) -> None:
    assert call("GET", f"/api/v1/runs/{run_id}/logs").json["lines"] == []
    assert call("GET", f"/api/v1/runs/{run_id}/logs/raw").body == b""


@contextlib.contextmanager
def following(url: str, path: str, *, last_id: str = "") -> Iterator[Iterator[dict[str, Any]]]:
    """Follow a log by server-sent events: what each says, until the server ends it."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=120)
    connection.request("GET", path, headers={"Last-Event-ID": last_id} if last_id else {})
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.getheader("content-type", "").startswith("text/event-stream")
    assert answer.getheader("cache-control") == "no-store"

    def events() -> Iterator[dict[str, Any]]:
        event_id = ""
        while line := answer.readline():
            if line.startswith(b"id: "):
                event_id = line[4:].strip().decode()
            elif line.startswith(b"data: "):
                yield {"event_id": event_id, **json.loads(line[6:])}

    try:
        yield events()
    finally:
        answer.close()
        connection.close()


def test_follow__of_a_run_that_prints__gives_lines_as_they_come(
    shared_server: LiveServer, tmp_path: Path
) -> None:
    until_seen = f"while ! [ -e {tmp_path}/$i ]; do sleep 0.02; done"
    run = shared_server.launch(["sh", "-c", f"for i in 1 2 3; do echo $i; {until_seen}; done"])
    path = f"/api/v1/runs/{run['id']}/logs/follow?attempt=1"
    lines: list[str] = []
    with following(shared_server.url, path) as events:
        for page in events:
            for line in page["lines"]:
                if line["stream"] == "out":
                    lines.append(line["text"])
                    (tmp_path / line["text"]).touch()
            assert page["event_id"] == str(page["next_line"])
    assert lines == ["1", "2", "3"]


def test_follow__resumed__goes_on_after_the_last_event(
    shared_server: LiveServer, printed: str
) -> None:
    path = f"/api/v1/runs/{printed}/logs/follow"
    with following(shared_server.url, path, last_id="40") as events:
        numbers = [line["number"] for page in events for line in page["lines"]]
    assert numbers[0] == 40
    assert numbers == list(range(40, numbers[-1] + 1))
    for odd in ("9" * 5000, "x", "-1", "²"):
        with following(shared_server.url, path, last_id=odd) as events:
            first = next(events)
        assert first["lines"] == [] or first["lines"][0]["number"] == 1


def test_follow__whose_reader_leaves__is_ended_by_the_server(
    shared_server: LiveServer, run_id: str
) -> None:
    assert shared_server.process is not None
    process = psutil.Process(shared_server.process.pid)

    def connected() -> int:
        return sum(
            1
            for found in process.net_connections(kind="tcp")
            if found.status == psutil.CONN_ESTABLISHED or found.status == psutil.CONN_CLOSE_WAIT
        )

    before = connected()
    with contextlib.ExitStack() as readers:
        for _ in range(20):
            readers.enter_context(
                following(shared_server.url, f"/api/v1/runs/{run_id}/logs/follow")
            )
        assert connected() >= 20  # those before may have been kept ones, which close
    wait_for(lambda: connected() <= before + 1, what="the readers' connections to be closed")


@pytest.fixture
def quick(application: Application) -> Iterator[Application]:
    """An application whose followers soon hear that nothing comes."""
    with mock.patch.object(application.stores.logs, "_quiet_s", 0.01):
        yield application


async def tracked_with_a_line(app: Application) -> WorkloadId:
    new = NewTrackedRun(project="default", experiment="followed", name="one")
    run_id = (await app.runs.create_tracked(new, by=Administrator())).workload.id
    line = spool([Record(1, T0_NS, b"one", OUT, 1)])
    await app.stores.logs.append(LogKey(run_id, 0, "main"), offset=0, data=line)
    return run_id


@pytest.mark.parametrize("ends", ["before", "meanwhile", "purged"])
async def test_follow__of_a_tracked_run__ends_with_it(quick: Application, ends: str) -> None:
    run_id = await tracked_with_a_line(quick)
    if ends == "before":
        await quick.runs.set_state(run_id, WorkloadState.FAILED)
    pages: list[LogPage] = []
    async with asyncio.timeout(30):
        async for page in _until_over(quick, LogKey(run_id, 0, "main"), 1):
            pages.append(page)
            if ends != "before" and len(pages) == 2:
                assert not page.finished
                await quick.runs.set_state(run_id, WorkloadState.FAILED)
                if ends == "purged":
                    await quick.runs.purge(run_id)
    assert [line.text for page in pages for line in page.lines] == ["one"]
    assert [page.finished for page in pages] == [False] * (len(pages) - 1) + [True]


@pytest.mark.parametrize("key", [("7", "main"), ("1", "git-localize")])
async def test_follow__of_what_a_launched_run_never_had__ends_with_it(
    quick: Application, key: tuple[str, str]
) -> None:
    run_id = await tracked_with_a_line(quick)
    run = msgspec.structs.replace(await quick.runs.get(run_id), origin="launched")
    pages: list[LogPage] = []
    with mock.patch.object(quick.runs, "get", mock.AsyncMock(return_value=run)) as get:
        async with asyncio.timeout(30):
            async for page in _until_over(quick, LogKey(run_id, int(key[0]), key[1]), 1):
                pages.append(page)
                if len(pages) == 2:
                    ended = msgspec.structs.replace(run, state=WorkloadState.FAILED)
                    get.return_value = ended
    assert [page.finished for page in pages] == [False, False, True]


def test_setups__of_a_task_that_something_prepared__are_listed_and_read(
    shared_server: LiveServer, call: Call, printed: str
) -> None:
    path = f"/api/v1/runs/{printed}/logs"
    assert call("GET", f"{path}/setups").json["items"] == []
    folder = shared_server.data / "spool" / "logs" / printed / "1"
    for number, (name, text) in enumerate((("kernel-fetch", "later"), ("git-localize", "HEAD"))):
        record = Record(1, T0_NS - number, text.encode(), OUT, 1)
        (folder / f"main@{name}.log").write_bytes(spool([record]))
    (folder / "main@agent.done").touch()  # it printed nothing

    listed = call("GET", f"{path}/setups").json

    assert [(one["setup"], one["lines"]) for one in listed["items"]] == [
        ("git-localize", 1),
        ("kernel-fetch", 1),
    ]
    page = call("GET", f"{path}?setup=git-localize").json
    assert (page["setup"], page["task"], page["lines"][0]["text"]) == (
        *("git-localize", "main", "HEAD"),
    )
    assert call("GET", f"{path}/raw?setup=git-localize").body == b"HEAD\n"
    assert call("GET", path).json["setup"] is None
    check_envelope(call("GET", f"{path}?setup=../x"), code="invalid_value", status=400)


def test_follow__while_the_server_stops__does_not_hold_it(
    make_server: Callable[..., LiveServer],
) -> None:
    server = make_server()
    run = server.post("/api/v1/runs", {"experiment": "stopping"})["id"]
    with following(server.url, f"/api/v1/runs/{run}/logs/follow"):
        assert server.stop() == 0
    log = (server.data / "server.log").read_text()
    assert "Traceback" not in log  # which a request leaves that is cut off after its grace
    assert '"server has stopped"' in log
