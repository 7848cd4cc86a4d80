"""The process that reads large batches beside the server: a help that may fail at any time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from structlog.testing import capture_logs

from seafloor.boot.data_folder import DataFolder
from seafloor.boot.settings import load
from seafloor.boot.wiring import open_application
from seafloor.http.mlflow import batch_reader
from seafloor.http.mlflow.batch_reader import BYTES_MIN, WAITING_MAX, BatchReader
from seafloor.http.server import create_asgi

URL = "http://localhost:7340"
API = f"{URL}/api/2.0/mlflow/runs"
WAIT_S = 60.0
CANARY = "a-secret-of-the-server"


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not look():
            await asyncio.sleep(0.01)


def batch(run_id: str, *, first: int = 0, count: int = 500, **more: Any) -> dict[str, Any]:
    metrics = [
        {"key": f"m{at % 5}", "value": at / 7, "timestamp": 1_790_000_000_000 + at, "step": at // 5}
        for at in range(first, first + count)
    ]
    return {"run_id": run_id, "metrics": metrics, **more}


def body(**more: Any) -> bytes:
    return json.dumps(batch("0" * 32, **more)).encode()


@pytest.fixture
async def reader(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[BatchReader]:
    """One that reads."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setattr(batch_reader, "ANSWER_S", WAIT_S)
    monkeypatch.setattr(batch_reader.os, "sched_getaffinity", lambda _pid: {0, 1})
    async with BatchReader(os.environ) as reader:
        assert await reader.read(body()) is None  # it starts by that, and nobody waits for it
        await until(lambda: reader.pid)
        yield reader


def test_process__of_a_server_with_secrets__has_none_of_them(reader: BatchReader) -> None:
    environment = Path(f"/proc/{reader.pid}/environ").read_bytes()
    assert b"PATH=" in environment
    assert CANARY.encode() not in environment


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_read__of_several_at_once__gives_each_his_own(reader: BatchReader) -> None:
    asked = [reader.read(body(count=400 + at)) for at in range(WAITING_MAX)]
    found = await asyncio.gather(*asked)
    assert [one.metrics for one in found if one is not None] == [
        400 + at for at in range(WAITING_MAX)
    ]


async def test_read__while_as_many_wait_as_may__is_left_to_the_server(reader: BatchReader) -> None:
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGSTOP)
    waiting = [asyncio.create_task(reader.read(body())) for _ in range(WAITING_MAX)]
    await asyncio.sleep(0)
    assert await reader.read(body()) is None
    os.kill(reader.pid, signal.SIGCONT)
    assert all(one is not None for one in await asyncio.gather(*waiting))


async def test_read__whose_caller_left__does_not_mix_up_the_others(reader: BatchReader) -> None:
    assert reader.pid is not None
    os.kill(reader.pid, signal.SIGSTOP)
    left = asyncio.create_task(reader.read(body(count=401)))
    stays = asyncio.create_task(reader.read(body(count=402)))
    await asyncio.sleep(0)
    left.cancel()
    os.kill(reader.pid, signal.SIGCONT)
    found = await stays
    assert found is not None
    assert found.metrics == 402


async def test_read__of_a_process_that_is_killed__is_left_to_the_server_and_starts_another(
    reader: BatchReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = reader.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    waiting = asyncio.create_task(reader.read(body()))
    await asyncio.sleep(0)
    os.kill(first, signal.SIGKILL)
    assert await waiting is None
    assert await reader.read(body()) is None
    assert reader.pid is None  # not yet: one that cannot live is not started all the time
    monkeypatch.setattr(reader, "_start_at", 0.0)
    assert await reader.read(body()) is None
    await until(lambda: reader.pid)
    assert reader.pid != first
    assert await reader.read(body()) is not None


async def test_read__of_a_process_that_hangs__is_left_to_the_server_and_ends_it(
    reader: BatchReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_reader, "ANSWER_S", 0.2)
    pid = reader.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    assert await reader.read(body()) is None
    await until(lambda: not is_alive(pid))
    assert reader.pid is None


async def test_close__ends_the_process(reader: BatchReader) -> None:
    pid = reader.pid
    assert pid is not None
    await reader.__aexit__()
    assert not is_alive(pid)
    assert await reader.read(body()) is None
    await reader.__aexit__()


async def test_close__while_it_starts__leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_reader.os, "sched_getaffinity", lambda _pid: {0, 1})
    async with BatchReader(os.environ) as reader:
        assert await reader.read(body()) is None
        await until(lambda: reader._process)
        assert reader._process is not None
        pid = reader._process.pid
        assert is_alive(pid)
    assert not is_alive(pid)


async def test_start__in_a_folder_with_modules_of_their_names__imports_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('the wrong numpy')")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(batch_reader.os, "sched_getaffinity", lambda _pid: {0, 1})
    async with BatchReader(os.environ) as reader:
        assert await reader.read(body()) is None
        await until(lambda: reader.pid)


async def test_start__of_one_that_writes_other_formats__is_not_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_reader, "FORMATS", b"frames 0, journal 0")
    monkeypatch.setattr(batch_reader.os, "sched_getaffinity", lambda _pid: {0, 1})
    async with BatchReader(os.environ) as reader:
        assert await reader.read(body()) is None
        await until(lambda: reader._starting is None)
        assert await reader.read(body()) is None
        assert reader.pid is None


async def test_start__where_it_cannot__is_said_once_and_the_server_reads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(batch_reader.sys, "executable", "/absent/python")
    monkeypatch.setattr(batch_reader.os, "sched_getaffinity", lambda _pid: {0, 1})
    with capture_logs() as said:
        async with BatchReader(os.environ) as reader:
            assert await reader.read(body()) is None
            await until(lambda: said)
            assert await reader.read(body()) is None  # the next start is not due
            assert reader._starting is None
    (only,) = said
    assert only["event"] == "batches are read by the server alone"
    assert "/absent/python" in only["reason"]


@pytest.fixture
async def client(tmp_path: Path, reader: BatchReader) -> AsyncIterator[httpx.AsyncClient]:
    """Asks a server that has the process."""
    settings = load(data_dir=tmp_path / "data", flags={}, variables={})
    folder = DataFolder(settings.data_dir)
    try:
        async with (
            open_application(settings, folder, url=URL) as application,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(
                    app=cast(Any, create_asgi(application, reader=reader))
                ),
                timeout=WAIT_S,
            ) as client,
        ):
            yield client
    finally:
        folder.close()


async def new_run(client: httpx.AsyncClient) -> str:
    made = await client.post(f"{API}/create", json={"experiment_id": "0"})
    return made.json()["run"]["info"]["run_id"]


@pytest.fixture
def read(reader: BatchReader, monkeypatch: pytest.MonkeyPatch) -> dict[bytes, bool]:
    """Of each batch that was given to the process, whether it was read there."""
    asked: dict[bytes, bool] = {}
    ask = reader.read

    async def noting(sent: bytes) -> object:
        found = await ask(sent)
        asked[sent] = found is not None
        return found

    monkeypatch.setattr(reader, "read", noting)
    return asked


async def test_log_batch__by_several_at_once__every_point_is_there_once(
    client: httpx.AsyncClient, read: dict[bytes, bool]
) -> None:
    run = await new_run(client)
    labels = [{"key": "p", "value": "1"}]
    sent = [batch(run, first=500 * at, params=labels, tags=labels) for at in range(8)]
    for one in await asyncio.gather(
        *(client.post(f"{API}/log-batch", json=each) for each in sent * 2)
    ):
        assert (one.status_code, one.json()) == (200, {})
    assert any(read.values())
    found = (await client.get(f"{API}/get", params={"run_id": run})).json()["run"]["data"]
    assert found["params"] == labels
    assert {"key": "p", "value": "1"} in found["tags"]
    history = await client.get(
        f"{URL}/api/2.0/mlflow/metrics/get-history", params={"run_id": run, "metric_key": "m3"}
    )
    wanted = [at for at in range(4000) if at % 5 == 3]
    assert [one["value"] for one in history.json()["metrics"]] == [at / 7 for at in wanted]


ODD: dict[str, Callable[[str], dict[str, Any]]] = {
    "more than are taken, one of them twice": lambda run: {
        **batch(run, count=1000),
        "metrics": [*batch(run, count=1000)["metrics"], batch(run, count=1)["metrics"][0]],
    },
    "a param twice": lambda run: batch(run, params=[{"key": "p", "value": "1"}] * 2),
    "a param of two values": lambda run: batch(
        run, params=[{"key": "p", "value": "1"}, {"key": "p", "value": "2"}]
    ),
    "too many params": lambda run: batch(
        run, params=[{"key": f"p{at}", "value": "1"} for at in range(101)]
    ),
    "a key that is none": lambda run: batch(run, params=[{"key": "a//b", "value": "1"}]),
    "a tag that names the run": lambda run: batch(
        run, tags=[{"key": "mlflow.runName", "value": "new"}]
    ),
    "no such run": lambda run: batch("f" * 32),  # noqa: ARG005  # all are called alike
    "a step that is none": lambda run: {
        **batch(run),
        "metrics": [
            *batch(run)["metrics"],
            {"key": "a", "value": 1, "timestamp": 1, "step": 2**63},
        ],
    },
}


@pytest.mark.parametrize("odd", ODD)
async def test_log_batch__that_is_odd__is_answered_as_without_the_process(
    client: httpx.AsyncClient, reader: BatchReader, read: dict[bytes, bool], odd: str
) -> None:
    run, other = await new_run(client), await new_run(client)
    alone = await client.post(f"{API}/log-batch", json=ODD[odd](run))
    assert read == {}  # nobody waited
    asked = client.build_request("POST", f"{API}/log-batch", json=ODD[odd](other))
    *_, beside = await asyncio.gather(  # the first of them is alone, and read here
        client.post(f"{API}/log-batch", json=batch(other, first=10_000)),
        client.send(asked),
    )
    assert asked.content in read
    told = [one.text.replace(run, "RUN").replace(other, "RUN") for one in (alone, beside)]
    assert beside.status_code == alone.status_code
    assert told[0] == told[1]


async def test_log_batch__that_is_small_or_alone__is_read_here(
    client: httpx.AsyncClient, read: dict[bytes, bool]
) -> None:
    run = await new_run(client)
    await client.post(f"{API}/log-batch", json=batch(run))
    small = batch(run, count=10)
    assert len(json.dumps(small)) < BYTES_MIN
    await asyncio.gather(*(client.post(f"{API}/log-batch", json=small) for _ in range(4)))
    assert read == {}
