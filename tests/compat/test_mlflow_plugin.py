"""Scripts that use mlflow and log through the plugin: what ``log_…`` returned for is never lost."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from live_server import LiveServer, wait_for
from mlflow_world import PluginUser
from scripted_server import Answer, ScriptedServer
from seafloor.testing.small_disk import small_disk

pytestmark = pytest.mark.slow


@pytest.fixture
def user(tmp_path: Path, shared_server: LiveServer) -> PluginUser:
    return PluginUser(tmp_path, shared_server.url)


def steps(server: LiveServer, run_id: str, key: str = "loss") -> list[int]:
    found: list[int] = []
    cursor = ""
    while True:
        page = server.get(
            f"/api/v1/runs/{run_id}/metrics/series?key={key}&limit=5000"
            + (f"&cursor={cursor}" if cursor else "")
        )
        found += [point[0] for point in page["points"]]
        cursor = page["next"]
        if not cursor:
            return found


def answers(process: subprocess.Popen[str]) -> Any:
    """The next line of JSON that a script prints; mlflow prints addresses in between."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("@"):
            return json.loads(line[1:])
    raise AssertionError(process.communicate())


TELL = """
import json, os, sys, time
import mlflow
def tell(what): print("@" + json.dumps(what), flush=True)
def wait(): sys.stdin.readline()
"""

READING = (
    TELL
    + """
client = mlflow.MlflowClient()
with mlflow.start_run() as run:
    seen = []
    for step in range(50):
        mlflow.log_metric("loss", step * 0.5, step=step, timestamp=1000 + step)
        mlflow.set_tag("last", step)
        if step % 10 == 0:
            data = mlflow.get_run(run.info.run_id).data
            seen.append([data.metrics["loss"], data.tags["last"]])
    history = client.get_metric_history(run.info.run_id, "loss")
    found = client.search_runs(["0"], f"metrics.loss = 24.5 and run_id = '{run.info.run_id}'")
    client.delete_tag(run.info.run_id, "last")
    tell([seen, len(history), history[7].timestamp, len(found)])
tell([run.info.run_id, mlflow.get_run(run.info.run_id).info.status])
"""
)


def test_reads__after_logging__see_what_this_process_logged(user: PluginUser) -> None:
    process = user.script(READING)
    seen = [[step * 0.5, str(step)] for step in range(0, 50, 10)]
    assert answers(process) == [seen, 50, 1007, 1]
    run_id, status = answers(process)
    assert status == "FINISHED"
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert not user.waiting, run_id


KILLED = (
    TELL
    + """
acknowledged = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
run = mlflow.start_run()
tell(run.info.run_id)
step = 0
while True:
    mlflow.log_metric("loss", step * 0.5, step=step)
    os.pwrite(acknowledged, b"%d" % step, 0)
    step += 1
"""
)

NEXT = (
    TELL
    + """
client = mlflow.MlflowClient()
deadline = time.monotonic() + 120
while len(client.get_metric_history(sys.argv[1], "loss")) < int(sys.argv[2]):
    assert time.monotonic() < deadline
    time.sleep(0.05)
tell(client.get_run(sys.argv[1]).info.status)
wait()
"""
)


def test_log__the_process_is_killed__the_next_process_brings_every_point(
    user: PluginUser, shared_server: LiveServer, tmp_path: Path
) -> None:
    said = tmp_path / "acknowledged"
    process = user.script(KILLED, str(said))
    run_id = answers(process)
    path = f"/api/v1/runs/{run_id}/metrics"
    wait_for(lambda: shared_server.request("GET", path)[1].get("items"), what="the first points")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    acknowledged = int(said.read_bytes())
    following = user.script(NEXT, run_id, str(acknowledged + 1))
    # As with mlflow itself, a run that was never ended goes on.
    assert answers(following) == "RUNNING"
    # The server has it before the one that brought it has cleared it away.
    wait_for(lambda: not user.waiting, what="the spool to be cleared")
    following.communicate("end\n")
    found = steps(shared_server, run_id)
    assert found == list(range(len(found)))
    assert len(found) in (acknowledged + 1, acknowledged + 2)


TRAINING = (
    TELL
    + """
import threading

class Beside(threading.Thread):
    # Does next to nothing; all that takes longer is the machine's doing, not the server's.
    def __init__(self):
        super().__init__(daemon=True)
        self.late = 0.0
        self.file = open("beside", "ab", buffering=0)
    def run(self):
        while True:
            begun = time.perf_counter()
            self.file.write(b".")
            time.sleep(0.01)
            self.late += max(0.0, time.perf_counter() - begun - 0.05)

slowest = 0.0
with mlflow.start_run() as run:
    mlflow.log_param("before", 1)
    mlflow.log_metric("loss", 0.0, step=0)
    tell(run.info.run_id)
    wait()
    beside = Beside()
    beside.start()
    for step in range(1, 2000):
        begun = time.perf_counter()
        mlflow.log_metric("loss", step * 0.5, step=step)
        slowest = max(slowest, time.perf_counter() - begun)
    begun = time.perf_counter()
    mlflow.log_params({"after": 2, "more": 3})
    mlflow.set_tag("t", "v")
    labels = time.perf_counter() - begun
    begun = time.perf_counter()
tell([slowest, labels, time.perf_counter() - begun, beside.late])
wait()
"""
)


def check_pace(process: subprocess.Popen[str], *, labels_s: float) -> None:
    """Compare how long calls took with what they may, and what a busy machine adds to that."""
    slowest, labels, end, late = answers(process)
    assert slowest < 1.0 + late, (slowest, late)
    assert labels < labels_s + late, (labels, late)
    assert end < 3.0 + late, (end, late)


def check_run(server: LiveServer, run_id: str) -> None:
    assert steps(server, run_id) == list(range(2000))
    run = server.get(f"/api/v1/runs/{run_id}")
    assert run["state"] == "succeeded"
    assert run["params"] == {"before": "1", "after": "2", "more": "3"}
    assert run["tags"]["t"] == "v"


def test_training__the_server_is_killed__goes_on_and_all_arrives_when_it_is_back(
    tmp_path: Path, make_server: Callable[..., LiveServer]
) -> None:
    server = make_server()
    user = PluginUser(tmp_path, server.url)
    process = user.script(TRAINING)
    assert process.stdin is not None
    run_id = answers(process)
    server.kill()
    print("go on", file=process.stdin, flush=True)
    check_pace(process, labels_s=6.0)
    server.start()
    # The process that logged it brings it itself, though its run has ended.
    wait_for(lambda: not user.waiting, what="the spool to be sent")
    process.communicate("end\n")
    assert process.returncode == 0
    check_run(server, run_id)


def test_training__the_server_hangs__goes_on_and_sync_brings_what_is_left(
    tmp_path: Path, make_server: Callable[..., LiveServer]
) -> None:
    server = make_server()
    user = PluginUser(tmp_path, server.url)
    process = user.script(TRAINING, SEAFLOOR_EXIT_WAIT_S="1")
    assert process.stdin is not None
    run_id = answers(process)
    assert server.process is not None
    server.process.send_signal(signal.SIGSTOP)
    try:
        print("go on", file=process.stdin, flush=True)
        check_pace(process, labels_s=7.0)
        _, err = process.communicate("end\n", timeout=120)
        assert process.returncode == 0
        assert err.count("seafloor sync") == 1
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert user.sync() == ["sent"]
    check_run(server, run_id)


def test_training__the_disk_of_the_client_is_full__loses_nothing(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        user = PluginUser(tmp_path, shared_server.url, home=disk.path / "home")
        process = user.script(TRAINING)
        run_id = answers(process)
        disk.fill()
        assert process.stdin is not None
        print("go on", file=process.stdin, flush=True)
        answers(process)
        _, err = process.communicate("end\n", timeout=120)
        assert process.returncode == 0
        assert err.count("cannot be written") == 1
        check_run(shared_server, run_id)


def test_training__the_disk_of_the_server_is_full__goes_on_and_all_arrives_when_it_is_not(
    tmp_path: Path, make_server: Callable[..., LiveServer]
) -> None:
    with small_disk(tmp_path / "disk", size_bytes=48 << 20) as disk:
        server = make_server("disk/data")
        user = PluginUser(tmp_path, server.url)
        process = user.script(TRAINING)
        run_id = answers(process)
        disk.fill()
        assert process.stdin is not None
        print("go on", file=process.stdin, flush=True)
        answers(process)
        disk.free()
        wait_for(lambda: not user.waiting, what="the spool to be sent")
        process.communicate("end\n")
        assert process.returncode == 0
        check_run(server, run_id)
        server.stop()


TOLD_TO_WAIT = (
    TELL
    + """
client = mlflow.MlflowClient()
for step in range(3):
    client.log_metric(sys.argv[1], "loss", step, step=step)
client.log_param(sys.argv[1], "lr", 0.1)
client.set_tag(sys.argv[1], "t", "v")
tell("went on")
"""
)


@pytest.mark.parametrize("status", [429, 504])
def test_log__what_stands_before_the_server_is_busy__goes_on_and_sync_brings_it(
    tmp_path: Path, shared_server: LiveServer, status: int
) -> None:
    run_id = shared_server.post("/api/v1/runs", {"experiment": "plugin"})["id"]
    with ScriptedServer().running() as busy:
        busy.answer = lambda _asked: Answer(status, b"<html>Not now</html>")
        user = PluginUser(tmp_path, busy.url)
        process = user.script(TOLD_TO_WAIT, run_id, SEAFLOOR_EXIT_WAIT_S="0")
        out, err = process.communicate(timeout=120)
    assert (process.returncode, "went on" in out) == (0, True), err
    assert PluginUser(tmp_path, shared_server.url).sync() == ["sent"]
    assert steps(shared_server, run_id) == [0, 1, 2]
    run = shared_server.get(f"/api/v1/runs/{run_id}")
    assert (run["params"], run["tags"]["t"]) == ({"lr": "0.1"}, "v")


TOGETHER = (
    TELL
    + """
import multiprocessing, threading
client = mlflow.MlflowClient()
runs = [client.create_run("0").info.run_id for _ in range(4)]

def work(number):
    for step in range(300):
        client.log_metric(runs[number % 4], f"thread-{number}", step, step=step)
        client.log_metric(sys.argv[1], f"thread-{number}", step, step=step)

def forked(number):
    for step in range(300):
        mlflow.log_metric(f"child-{number}", step, step=step, run_id=runs[0])

def waiting(number):
    operations = client.log_metric(runs[1], f"later-{number}", 1.0, synchronous=False)
    operations.wait()

threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
context = multiprocessing.get_context("fork")
client.log_metric(runs[0], "before", 1)
children = [context.Process(target=forked, args=(number,)) for number in range(3)]
for worker in children + threads:
    worker.start()
for worker in threads + children:
    worker.join()
assert all(child.exitcode == 0 for child in children)
for number in range(5):
    waiting(number)
for run in runs:
    client.set_terminated(run)
tell(runs)
"""
)


def test_log__by_threads_and_forked_children_to_several_runs__all_arrive(
    user: PluginUser, shared_server: LiveServer
) -> None:
    other = shared_server.post("/api/v1/runs", {"experiment": "plugin"})["id"]
    process = user.script(TOGETHER, other)
    runs = answers(process)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    for number in range(8):
        for run in (runs[number % 4], other):
            assert steps(shared_server, run, f"thread-{number}") == list(range(300))
    for number in range(3):
        assert steps(shared_server, runs[0], f"child-{number}") == list(range(300))
    for number in range(5):
        assert steps(shared_server, runs[1], f"later-{number}") == [0]
    assert shared_server.get(f"/api/v1/runs/{other}")["state"] == "running"
    assert not user.waiting


WORKERS = (
    TELL
    + """
import multiprocessing, os
context = multiprocessing.get_context("fork")

def to_the_parents(number):
    mlflow.log_metric("loss", number, step=number, run_id=run.info.run_id)

def cut_off(number):
    to_the_parents(number)
    os._exit(0)

def to_its_own(queue):
    run = mlflow.MlflowClient().create_run("0").info.run_id
    mlflow.log_metric("loss", 1, run_id=run)
    queue.put(run)

queue = context.SimpleQueue()
child = context.Process(target=to_its_own, args=(queue,))
child.start()
tell(queue.get())
child.join()
tell([str(path) for path in __import__("pathlib").Path(os.environ["SEAFLOOR_HOME"]).rglob("*.wal")])
with mlflow.start_run() as run:
    with context.Pool(3) as pool:
        pool.map(to_the_parents, range(100), chunksize=1)
    child = context.Process(target=cut_off, args=(100,))
    child.start()
    child.join()
tell(run.info.run_id)
"""
)


def test_log__by_forked_workers_alone__is_there_when_the_run_has_ended(
    user: PluginUser, shared_server: LiveServer
) -> None:
    process = user.script(WORKERS)
    own = answers(process)
    assert (answers(process), steps(shared_server, own)) == ([], [0])
    run = answers(process)
    _, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    assert steps(shared_server, run) == list(range(101))
    assert shared_server.get(f"/api/v1/runs/{run}")["state"] == "succeeded"
    assert not user.waiting


def test_import__of_mlflow__loads_nothing_of_the_plugin_but_its_entry(user: PluginUser) -> None:
    done = user.script(
        "import mlflow.tracking, sys\n"
        "found = [name for name in sys.modules if name.startswith('seafloor')]\n"
        "print('@' + __import__('json').dumps(found))",
        MLFLOW_TRACKING_URI="http://127.0.0.1:1",
    )
    assert sorted(answers(done)) == [
        "seafloor",
        "seafloor.mlflow_plugin",
        "seafloor.mlflow_plugin.entry",
    ]
    done.communicate()
