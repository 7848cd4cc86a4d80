"""Tracking against a real server: what ``log_…`` returned for is on the server once, always."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from client_process import EXIT_WAIT_S, Client
from live_server import LiveServer, wait_for
from seafloor.sdk.wal import WalReader
from seafloor.testing.small_disk import small_disk

COUNTING = """
import sys, time
import seafloor
run = seafloor.start_run("counting", experiment="e2e", params={"lr": 0.1})
print(run.id, flush=True)
for step in range(int(sys.argv[1])):
    seafloor.log_metrics({"loss": step * 0.5, "twice": step * 2}, step=step)
    print(step, flush=True)
    time.sleep(float(sys.argv[2]))
seafloor.end_run()
"""


@pytest.fixture
def user(tmp_path: Path, shared_server: LiveServer) -> Client:
    return Client(tmp_path / "home", shared_server.url)


def series(server: LiveServer, run_id: str, key: str) -> list[list[Any]]:
    points: list[list[Any]] = []
    cursor = ""
    while True:
        more = f"&cursor={cursor}" if cursor else ""
        page = server.get(f"/api/v1/runs/{run_id}/metrics/series?key={key}&limit=5000{more}")
        points += page["points"]
        cursor = page["next"]
        if not cursor:
            return points


def steps(server: LiveServer, run_id: str, key: str = "loss") -> list[int]:
    return [point[0] for point in series(server, run_id, key)]


def test_log__a_whole_run__is_all_there_and_nothing_waits(
    user: Client, shared_server: LiveServer
) -> None:
    done = user.run_script(COUNTING, "300", "0")
    assert (done.returncode, done.stderr) == (0, "")
    run_id = done.stdout.split()[0]
    run = shared_server.get(f"/api/v1/runs/{run_id}")
    assert (run["state"], run["origin"]) == ("succeeded", "tracked")
    assert (run["name"], run["experiment"]["name"]) == ("counting", "e2e")
    assert run["params"] == {"lr": "0.1"}
    assert steps(shared_server, run_id) == list(range(300))
    assert [point[2] for point in series(shared_server, run_id, "twice")][:3] == [0.0, 2.0, 4.0]
    assert not list(user.home.glob("spool/*"))


ACKNOWLEDGING = """
import os, sys
import seafloor
run = seafloor.start_run("killed")
print(run.id, flush=True)
acknowledged = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
step = 0
while True:
    seafloor.log_metrics({"loss": step * 0.5}, step=step)
    os.pwrite(acknowledged, b"%d" % step, 0)
    step += 1
"""


def test_log__the_process_is_killed__sync_brings_every_record_once(
    user: Client, shared_server: LiveServer, tmp_path: Path
) -> None:
    said = tmp_path / "acknowledged"
    process = user.script(ACKNOWLEDGING, str(said))
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    path = f"/api/v1/runs/{run_id}/metrics"
    # Long enough for some of it to have been sent by the process itself.
    wait_for(lambda: shared_server.request("GET", path)[1].get("items"), what="the first points")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    acknowledged = int(said.read_bytes())
    (report,) = user.json("sync")["items"]
    assert report["state"] == "sent"
    assert report["records_lost"] == 0
    found = steps(shared_server, run_id)
    assert found == list(range(len(found)))
    assert len(found) in (acknowledged + 1, acknowledged + 2)
    assert shared_server.get(f"/api/v1/runs/{run_id}")["state"] == "failed"
    events = shared_server.get(f"/api/v1/runs/{run_id}/events")["items"]
    assert "without saying how" in events[-1]["message"]
    assert not user.waiting


def test_log__killed_and_its_note_is_lost__sync_continues_the_numbers(
    make_server: Callable[..., LiveServer], tmp_path: Path
) -> None:
    server = make_server()
    user = Client(tmp_path / "home", server.url)
    process = user.script(ACKNOWLEDGING, str(tmp_path / "acknowledged"))
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    path = f"/api/v1/runs/{run_id}/metrics"
    wait_for(lambda: server.request("GET", path)[1].get("items"), what="the first points")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (waiting,) = user.waiting
    (sent_by_itself,) = _writers_of(server, run_id)
    assert sent_by_itself[0] == waiting.stem
    waiting.with_suffix(".sent").unlink(missing_ok=True)  # all of it is sent again
    with waiting.open("rb") as file:
        last = max(found.number for found in WalReader(file).records())
    (report,) = user.json("sync")["items"]
    assert report["state"] == "sent"
    assert _writers_of(server, run_id) == [(waiting.stem, last)]
    found = steps(server, run_id)
    assert found == list(range(len(found)))
    assert len(found) == last - 1  # the first record is no point
    assert server.get(path)["items"]["loss"]["points"] == len(found)


def _writers_of(server: LiveServer, run_id: str) -> list[tuple[str, int]]:
    """Who sent points of a run, and the number of each one's last batch, as the server has it."""
    with closing(sqlite3.connect(server.data / "seafloor.db")) as database:
        return database.execute(
            "SELECT writer, sequence FROM metric_writer WHERE workload_id = ?", (run_id,)
        ).fetchall()


def test_log__the_server_is_killed_and_comes_back__nothing_is_missing(
    tmp_path: Path, make_server: Callable[..., LiveServer]
) -> None:
    server = make_server()
    user = Client(tmp_path / "home", server.url)
    process = user.script(COUNTING, "400", "0.01")
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    wait_for(lambda: server.request("GET", f"/api/v1/runs/{run_id}")[0] == 200)
    server.kill()
    for _ in range(50):
        process.stdout.readline()
    server.start()
    _, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    assert steps(server, run_id) == list(range(400))
    assert server.get(f"/api/v1/runs/{run_id}")["state"] == "succeeded"
    assert not user.waiting


OFFLINE = """
import math, pathlib, sys
import seafloor
folder = pathlib.Path(sys.argv[1])
with seafloor.start_run("offline", tags={"where": "train ✓"}) as run:
    print(run.id)
    for value in (1.0, math.nan, math.inf, -math.inf):
        seafloor.log_metric("odd", value)
    seafloor.log_param("seed", 7)
    (folder / "model.bin").write_bytes(b"as it was")
    seafloor.log_artifact(folder / "model.bin", "models")
    (folder / "model.bin").write_bytes(b"changed later")
    seafloor.log_artifacts(folder, "all")
"""


def test_log__no_server_at_all__ends_quickly_and_sync_brings_it(
    tmp_path: Path, make_server: Callable[..., LiveServer]
) -> None:
    user = Client(tmp_path / "home")
    folder = tmp_path / "files"
    folder.mkdir()
    begun = time.monotonic()
    done = user.run_script(OFFLINE, str(folder))
    assert done.returncode == 0
    assert (
        time.monotonic() - begun < EXIT_WAIT_S / 2
    )  # where there is no server, none is waited for
    assert "seafloor sync" in done.stderr
    run_id = done.stdout.strip()
    assert user.cli("sync").returncode == 5

    server = make_server()
    there = Client(user.home, server.url)
    (report,) = there.json("sync")["items"]
    assert (report["state"], report["points"], report["files"]) == ("sent", 4, 2)
    run = server.get(f"/api/v1/runs/{run_id}")
    assert run["state"] == "succeeded"
    assert run["params"] == {"seed": "7"}
    assert run["tags"]["where"] == "train ✓"
    assert [(point[0], point[2]) for point in series(server, run_id, "odd")] == [
        (0, 1.0),
        (1, "NaN"),
        (2, "Infinity"),
        (3, "-Infinity"),
    ]
    status, content = server.request("GET", f"/api/v1/runs/{run_id}/artifacts/models/model.bin")
    assert (status, content) == (200, b"as it was")
    status, content = server.request("GET", f"/api/v1/runs/{run_id}/artifacts/all/model.bin")
    assert (status, content) == (200, b"changed later")
    assert there.json("sync") == {"items": []}
    assert not list(user.home.glob("spool/*"))


@pytest.mark.parametrize(
    ("ending", "state", "code", "reason"),
    [
        ("pass", "succeeded", 0, ""),
        ("raise ValueError('no data')", "failed", 1, "ValueError: no data"),
        ("sys.exit(3)", "failed", 3, "exited with 3"),
        ("sys.exit(0)", "succeeded", 0, ""),
        ("raise KeyboardInterrupt", "stopped", -2, "keyboard"),
    ],
)
def test_with__left_by__is_the_state(
    user: Client, shared_server: LiveServer, ending: str, state: str, code: int, reason: str
) -> None:
    done = user.run_script(
        f"import seafloor, sys\nwith seafloor.start_run() as r:\n print(r.id)\n {ending}"
    )
    assert done.returncode == code
    run_id = done.stdout.strip()
    assert shared_server.get(f"/api/v1/runs/{run_id}")["state"] == state
    events = shared_server.get(f"/api/v1/runs/{run_id}/events")["items"]
    assert reason in events[-1]["message"]


@pytest.mark.parametrize(("ending", "state"), [("", "succeeded"), ("1 / 0", "failed")])
def test_exit__without_end_run__is_ended_as_the_script_was(
    user: Client, shared_server: LiveServer, ending: str, state: str
) -> None:
    done = user.run_script(f"import seafloor\nprint(seafloor.start_run().id, flush=True)\n{ending}")
    assert shared_server.get(f"/api/v1/runs/{done.stdout.strip()}")["state"] == state


FORKING = """
import multiprocessing, threading
import seafloor

def work(number):
    for step in range(200):
        seafloor.log_metric(f"child-{number}", step, step=step)

if __name__ == "__main__":
    with seafloor.start_run() as run:
        print(run.id, flush=True)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=work, args=(number,)) for number in range(3)]
        threads = [threading.Thread(target=work, args=(number,)) for number in range(3, 6)]
        for worker in children + threads:
            worker.start()
        for worker in children + threads:
            worker.join()
        assert all(child.exitcode == 0 for child in children)
"""


FORKED_AT_ONCE = """
import os
import seafloor
with seafloor.start_run() as run:
    print(run.id, flush=True)
    for number in range(5):
        child = os.fork()
        if child == 0:
            seafloor.log_metric("loss", number, step=number)
            flushed = run.flush(60)
            os._exit(0 if flushed else 9)
        assert os.waitpid(child, 0)[1] == 0, number
"""


def test_log__forked_while_the_sender_starts__the_child_can_send(
    user: Client, shared_server: LiveServer
) -> None:
    done = user.run_script(FORKED_AT_ONCE)
    assert (done.returncode, done.stderr) == (0, "")
    assert steps(shared_server, done.stdout.strip()) == list(range(5))


IMPORTED_LATE = """
import sys
from pathlib import Path
from seafloor.sdk import sender

load, loaded = sender._load_network, []

def load_and_look():
    load()
    loaded.extend(sys.modules)

sender._load_network = load_and_look
import seafloor

Path("file").write_text("x")
with seafloor.start_run(params={"lr": 0.1}) as run:
    run.log_metric("loss", 1.0, step=1)
    run.log_artifact("file")
    assert run.flush(60)
assert loaded
print(sorted(set(sys.modules) - {*loaded}))
"""


def test_send__after_the_sender_has_started__imports_nothing_more(user: Client) -> None:
    """A child that is forked meanwhile would have half of it for ever."""
    done = user.run_script(IMPORTED_LATE)
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "[]\n")


def test_log__from_threads_and_forked_children__all_arrives(
    user: Client, shared_server: LiveServer
) -> None:
    done = user.run_script(FORKING)
    assert (done.returncode, done.stderr) == (0, "")
    run_id = done.stdout.strip()
    for number in range(6):
        assert steps(shared_server, run_id, f"child-{number}") == list(range(200)), number
    assert not user.waiting


JOINING = """
import sys
import seafloor
with seafloor.start_run(run_id=sys.argv[1]):
    for step in range(100):
        seafloor.log_metric(sys.argv[2], step, step=step)
"""


def test_log__two_processes_and_one_run__do_not_collide(
    user: Client, shared_server: LiveServer
) -> None:
    run_id = f"{time.time_ns() // 1_000_000:012x}7abc8{os.urandom(7).hex()}0"
    both = [user.script(JOINING, run_id, name) for name in ("a", "b")]
    for process in both:
        _, err = process.communicate(timeout=200)
        assert (process.returncode, err) == (0, "")
    assert steps(shared_server, run_id, "a") == list(range(100))
    assert steps(shared_server, run_id, "b") == list(range(100))
    assert shared_server.get(f"/api/v1/runs/{run_id}")["state"] == "succeeded"


def test_start_run__a_run_that_ended__goes_on(user: Client, shared_server: LiveServer) -> None:
    done = user.run_script(COUNTING, "3", "0")
    run_id = done.stdout.split()[0]
    code = (
        "import seafloor, sys\n"
        "with seafloor.start_run(run_id=sys.argv[1]) as run:\n"
        "    seafloor.log_metric('more', 1)\n"
        "    run.flush()\n"
        "    print(seafloor.Client().runs.get(run.id).state)\n"
    )
    again = user.run_script(code, run_id)
    assert again.stdout.strip() == "running"
    run = shared_server.get(f"/api/v1/runs/{run_id}")
    assert (run["state"], run["name"]) == ("succeeded", "counting")
    assert set(run["metrics"]) == {"loss", "twice", "more"}


def test_start_run__in_a_launched_task__is_the_launched_run(
    user: Client, shared_server: LiveServer
) -> None:
    code = (
        "import seafloor\n"
        "with seafloor.start_run('another name', params={'lr': 1}) as run:\n"
        "    seafloor.log_metric('loss', 0.5, step=3)\n"
        "raise SystemExit(7)\n"
    )
    launched = shared_server.launch(["python", "-c", code], env={"SEAFLOOR_HOME": str(user.home)})
    run = shared_server.wait_state(launched["id"], "succeeded", "failed")
    assert (run["state"], run["ending"]["exit_code"]) == ("failed", 7)
    assert run["name"] == launched["name"]
    assert run["params"] == {"lr": "1"}
    assert steps(shared_server, run["id"]) == [3]
    assert not user.waiting


def damage(path: Path, *, at: float) -> None:
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 0xFF
    path.write_bytes(content)


def test_sync__a_flipped_byte__costs_one_record_and_is_said(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    offline = Client(tmp_path / "home")
    run_id = offline.run_script(COUNTING, "200", "0").stdout.split()[0]
    (wal,) = offline.waiting
    damage(wal, at=0.5)
    there = Client(offline.home, shared_server.url)
    done = there.cli("sync")
    assert done.returncode == 1
    assert "lost: 1 record, damaged on the disk" in done.stderr
    found = steps(shared_server, run_id)
    assert len(found) == 199
    assert set(found) < set(range(200))
    run = shared_server.get(f"/api/v1/runs/{run_id}")
    assert run["state"] == "succeeded"
    assert [v for k, v in run["tags"].items() if k.startswith("seafloor.records_lost.")] == ["1"]
    assert not there.waiting


def test_sync__one_run_is_refused__the_others_go(tmp_path: Path, shared_server: LiveServer) -> None:
    offline = Client(tmp_path / "home")
    ids = [offline.run_script(COUNTING, "20", "0").stdout.split()[0] for _ in range(3)]
    # The middle one exists on the server, and was deleted there.
    body = {"id": ids[1], "experiment": "e2e"}
    shared_server.post("/api/v1/runs", body)
    shared_server.request("DELETE", f"/api/v1/runs/{ids[1]}")
    there = Client(offline.home, shared_server.url)
    reports = there.json("sync", code=1)["items"]
    assert [report["state"] for report in reports] == ["sent", "left", "sent"]
    assert "restore" in reports[1]["problem"]
    for run_id in (ids[0], ids[2]):
        assert steps(shared_server, run_id) == list(range(20))
    shared_server.post(f"/api/v1/runs/{ids[1]}/restore")
    assert there.json("sync")["items"][0]["state"] == "sent"
    assert steps(shared_server, ids[1]) == list(range(20))


def test_sync__a_param_that_has_another_value__is_refused_and_kept_aside(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    offline = Client(tmp_path / "home")
    run_id = offline.run_script(COUNTING, "5", "0").stdout.split()[0]
    body = {"id": run_id, "experiment": "e2e", "params": {"lr": "9"}}
    shared_server.post("/api/v1/runs", body)
    there = Client(offline.home, shared_server.url)
    (report,) = there.json("sync", code=1)["items"]
    assert report["state"] == "sent"
    assert [refusal["kind"] for refusal in report["refused"]] == ["param"]
    assert steps(shared_server, run_id) == list(range(5))
    (kept,) = (there.home / "refused").iterdir()
    assert kept.name == f"{run_id}.jsonl"
    assert "lr=0.1" in kept.read_text()


def test_sync__a_large_file_that_changed__is_refused_and_the_rest_goes(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    code = (
        "import pathlib, sys, seafloor\n"
        "from seafloor.sdk import logged_files\n"
        "logged_files.COPY_BYTES_MAX = 3\n"
        "with seafloor.start_run() as run:\n"
        "    print(run.id)\n"
        "    for name in ('same', 'changed'):\n"
        "        file = pathlib.Path(sys.argv[1], name)\n"
        "        file.write_text('large enough')\n"
        "        seafloor.log_artifact(file)\n"
        "    file.write_text('something else')\n"
    )
    offline = Client(tmp_path / "home")
    run_id = offline.run_script(code, str(tmp_path)).stdout.strip()
    there = Client(offline.home, shared_server.url)
    (report,) = there.json("sync", code=1)["items"]
    assert (report["files"], len(report["refused"])) == (1, 1)
    assert "changed after it was logged" in report["refused"][0]["reason"]
    items = shared_server.get(f"/api/v1/runs/{run_id}/artifacts")["items"]
    assert [(item["path"], item["sha256"]) for item in items] == [
        ("same", hashlib.sha256(b"large enough").hexdigest())
    ]


def test_sync__a_process_that_lives__is_left_to_send_itself(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    offline = Client(tmp_path / "home")
    process = offline.script(COUNTING, "100000", "0.01")
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    there = Client(offline.home, shared_server.url)
    (report,) = there.json("sync")["items"]
    assert (report["run_id"], report["state"], report["points"]) == (run_id, "live", 0)
    process.kill()
    process.communicate()
    (report,) = there.json("sync")["items"]
    assert report["state"] == "sent"


def test_log__the_spool_cannot_be_written__is_sent_from_memory_and_said_once(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    (tmp_path / "home").write_text("a file, where a folder should be")
    user = Client(tmp_path / "home", shared_server.url)
    done = user.run_script(COUNTING, "50", "0.02")
    assert done.returncode == 0
    assert done.stderr.count("cannot be written") == 1
    assert "sync" not in done.stderr
    run_id = done.stdout.split()[0]
    assert steps(shared_server, run_id) == list(range(50))
    assert shared_server.get(f"/api/v1/runs/{run_id}")["state"] == "succeeded"


UNENTERED = """
import encodings.idna, getpass, os, urllib.request
import urllib3
import seafloor
import seafloor.sdk.tracking
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
with seafloor.start_run() as run:
    for step in range(50):
        seafloor.log_metric("loss", step, step=step)
print(run.id)
"""


def test_log__the_home_may_not_be_entered__all_is_sent_and_nobody_says_otherwise(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0)
    try:
        done = Client(home, shared_server.url).run_script(UNENTERED)
    finally:
        home.chmod(0o700)
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert "cannot be written (Permission denied)" in done.stderr
    run_id = done.stdout.strip()
    assert steps(shared_server, run_id) == list(range(50))
    assert shared_server.get(f"/api/v1/runs/{run_id}")["state"] == "succeeded"


def test_log__the_spool_is_as_large_as_it_may_be__is_said_once_and_what_is_lost_is_counted(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    away = Client(tmp_path / "home", "http://127.0.0.1:9")
    code = "from seafloor.sdk import spool\nspool.PENDING_BYTES_MAX = 100_000\n" + UNMEASURED
    done = away.run_script(code, SEAFLOOR_SPOOL_MAX="200Ki", SEAFLOOR_EXIT_WAIT_S="1")
    assert done.returncode == 0
    assert done.stderr.count("the spool may hold 200 KiB") == 1
    run_id = done.stdout.strip()
    assert sum(file.stat().st_size for file in away.home.rglob("*.wal")) < 210_000
    there = Client(away.home, shared_server.url)
    report = there.json("sync", code=1)["items"][0]
    found = steps(shared_server, run_id)
    assert 0 < len(found) < 20_000
    assert report["points_dropped"] == 20_000 - len(found)
    assert f"{report['records_dropped']} records of run {run_id} are lost" in done.stderr
    run = shared_server.get(f"/api/v1/runs/{run_id}")
    assert run["state"] == "succeeded"
    assert str(report["records_dropped"]) in run["tags"].values()
    assert not there.waiting


UNMEASURED = """
import seafloor
run = seafloor.start_run()
print(run.id, flush=True)
while run._room._left_bytes is None:  # until the sender has looked
    pass
for step in range(20_000):
    seafloor.log_metric("loss", step, step=step)
seafloor.end_run()
"""


FULL = """
import resource, sys
import seafloor
run = seafloor.start_run()
print(run.id, flush=True)
seafloor.log_metric("loss", 0, step=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
for step in range(1, 12_000):
    seafloor.log_metric("loss", step, step=step)
if sys.argv[1] == "mended":
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
seafloor.end_run()
"""


@pytest.mark.parametrize("then", ["mended", "stays full"])
def test_log__the_disk_is_full_in_between__every_point_arrives(
    user: Client, shared_server: LiveServer, then: str
) -> None:
    # A limit on file sizes makes real writes fail, and come back short, as a full disk does.
    done = user.run_script(FULL, then)
    assert done.returncode == 0
    assert "sync" not in done.stderr
    run_id = done.stdout.strip()
    assert steps(shared_server, run_id) == list(range(12_000))
    assert shared_server.get(f"/api/v1/runs/{run_id}")["state"] == "succeeded"
    assert not user.waiting


INTERRUPTED = """
import io
import seafloor
from seafloor.sdk import spool

class Interrupted(io.FileIO):
    left = 0
    def write(self, content, /):
        written = super().write(content)
        Interrupted.left -= 1
        if Interrupted.left == 0:
            raise KeyboardInterrupt  # Ctrl-C during the call of the system
        return written

spool.FileIO = Interrupted
run = seafloor.start_run()
print(run.id, flush=True)
for number in range(20):
    Interrupted.left = 1
    try:
        seafloor.log_params({f"p{number}": "x" * 3000})
    except KeyboardInterrupt:
        pass
    seafloor.log_metric("loss", number, step=number)
assert run.flush(100)
seafloor.end_run()
"""


def test_log__interrupted_right_after_the_write__what_follows_is_all_there(
    user: Client, shared_server: LiveServer
) -> None:
    done = user.run_script(INTERRUPTED)
    assert (done.returncode, done.stderr) == (0, "")
    run_id = done.stdout.strip()
    run = shared_server.get(f"/api/v1/runs/{run_id}")
    assert (run["state"], len(run["params"])) == ("succeeded", 20)
    assert not [key for key in run["tags"] if "lost" in key]
    assert steps(shared_server, run_id) == list(range(20))
    assert not user.waiting


PREEMPTED = """
import io, os, signal, sys
import seafloor
from seafloor.sdk import spool

class Preempted(io.FileIO):
    moment = None
    def write(self, content, /):
        when, Preempted.moment = self.moment, None
        if when == "before":
            os.kill(os.getpid(), signal.SIGTERM)
        written = super().write(content)
        if when == "after":
            os.kill(os.getpid(), signal.SIGTERM)
        return written

def preempted(*_):
    seafloor.log_metric("handler", 1)
    seafloor.end_run("stopped", reason="preempted")
    sys.exit(0)

signal.signal(signal.SIGTERM, preempted)
spool.FileIO = Preempted
run = seafloor.start_run()
print(run.id, flush=True)
for step in range(10):
    seafloor.log_metric("loss", step, step=step)
Preempted.moment = sys.argv[1]
seafloor.log_metric("loss", 10, step=10)
"""


@pytest.mark.parametrize("moment", ["before", "after"])
def test_end_run__by_the_handler_of_a_signal_while_a_call_writes__is_brought(
    user: Client, shared_server: LiveServer, moment: str
) -> None:
    done = user.run_script(PREEMPTED, moment)
    assert (done.returncode, done.stderr) == (0, "")
    run_id = done.stdout.strip()
    assert shared_server.get(f"/api/v1/runs/{run_id}")["state"] == "stopped"
    assert steps(shared_server, run_id) == list(range(10 if moment == "before" else 11))
    assert steps(shared_server, run_id, "handler") == [0]
    assert not user.waiting


FILLING = """
import os, sys, time
import seafloor
run = seafloor.start_run()
print(run.id, flush=True)
seafloor.log_metric("loss", 0, step=0)
input()
for step in range(1, 12_000):
    seafloor.log_metric("loss", step, step=step)
seafloor.log_artifact(sys.argv[1])
seafloor.end_run()
"""


def test_log__a_disk_without_any_space_left__stops_nothing(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"x" * 100_000)
    with small_disk(tmp_path / "disk", size_bytes=1 << 20) as disk:
        user = Client(disk.path / "home", shared_server.url)
        process = user.script(FILLING, str(file))
        assert process.stdout is not None
        assert process.stdin is not None
        run_id = process.stdout.readline().strip()
        wait_for(lambda: list(user.home.glob("spool/*/*.sent")), what="the first note")
        disk.fill()
        _, err = process.communicate("go on\n", timeout=200)
        assert process.returncode == 0
        assert err.count("cannot be written") == 1
        assert "sync" not in err
        assert steps(shared_server, run_id) == list(range(12_000))
        assert shared_server.get(f"/api/v1/runs/{run_id}")["state"] == "succeeded"
        items = shared_server.get(f"/api/v1/runs/{run_id}/artifacts")["items"]
        assert [item["size_bytes"] for item in items] == [100_000]


LATE = """
import os, socket, sys, threading, time
from pathlib import Path
from seafloor.domain.metrics import Point
from seafloor.sdk.courier import SegmentDelivery
from seafloor.sdk.sender import Sender
from seafloor.sdk.settings import read_settings
from seafloor.sdk.spool import SpoolWriter
from seafloor.sdk.wal import Begin, Points
from seafloor.wire.runs import RunCreate

settings, run_id = read_settings(), sys.argv[1]
begin = Begin(RunCreate(id=run_id), False, False, False, os.getpid(), socket.gethostname())
writer, lock = SpoolWriter(settings.spool / run_id, begin), threading.RLock()
late = iter([1])
finish = SegmentDelivery.finish

def log(step):
    writer.append(Points([Point("loss", 0.5, step, time.time_ns() // 1_000_000)]))

def while_another_thread_logs(delivery, courier):
    finish(delivery, courier)
    with lock:
        for step in late:
            log(step)

SegmentDelivery.finish = while_another_thread_logs
log(0)
sender = Sender(writer, lock, settings, run_id)
sender.start()
assert sender.finish(wait_s=settings.exit_wait_s)
"""


def test_finish__another_thread_logs_at_the_last_moment__its_record_is_brought_too(
    user: Client, shared_server: LiveServer
) -> None:
    run_id = f"{time.time_ns() // 1_000_000:012x}7abc8{os.urandom(7).hex()}0"
    done = user.run_script(LATE, run_id)
    assert (done.returncode, done.stderr) == (0, "")
    assert steps(shared_server, run_id) == [0, 1]
    assert not user.waiting


def test_import__seafloor__loads_nothing_that_is_not_needed(user: Client) -> None:
    code = (
        "import sys\nbefore = set(sys.modules)\nimport seafloor\n"
        "heavy = {'msgspec', 'urllib3', 'rich', 'click', 'yaml', 'http', 'ssl', 'asyncio'}\n"
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    assert user.run_script(code).stdout.strip() == "[]"
