"""Media against a real server: what ``log_…`` returned for is on the server once, always."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from client_process import Client
from live_server import LiveServer, wait_for

EVERYTHING = """
import sys
import seafloor

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"numpy", "PIL", "pandas"}:
            raise ImportError(name)

sys.meta_path.insert(0, Blocked())  # as in the light installation
with seafloor.start_run("media") as run:
    print(run.id)
    for step in range(3):
        seafloor.log_histogram("weights/dense 1", [0.1 * step, 0.2, float("nan")], step)
    seafloor.log_histogram("given", edges=[0, 1, 2], counts=[3, 4])
    seafloor.log_image("samples", [b"GIF89a\\x03\\0\\2\\0", b"GIF89a\\x04\\0\\2\\0"], step=7)
    seafloor.log_image("samples", sys.argv[1], step=8)
    seafloor.log_table("predictions", {"label": [1, 2], "text": ["a", "b"]})
    seafloor.log_table("predictions", [{"label": 3, "text": None}])
    seafloor.log_text("notes", "short")
    seafloor.log_text("notes", "long " * 10_000)
    seafloor.log_audio("speech", [0.0, 0.5] * 400, sample_rate=8000)
    seafloor.log_metric("samples", 1.0)
assert not {"numpy", "PIL", "pandas"} & set(sys.modules)
"""


@pytest.fixture
def user(tmp_path: Path, shared_server: LiveServer) -> Client:
    return Client(tmp_path / "home", shared_server.url)


def records(server: LiveServer, run_id: str, key: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = server.get(f"/api/v1/runs/{run_id}/media?key={key}&limit=500{cursor}")
        found += page["items"]
        if page["next"] is None:
            return found
        cursor = f"&cursor={page['next']}"


def blob(server: LiveServer, run_id: str, record: dict[str, Any]) -> bytes:
    name = f"{record['blob']['sha256']}.{record['blob']['format']}"
    with urlopen(f"{server.url}/api/v1/runs/{run_id}/media/blobs/{name}") as answer:
        content = answer.read()
    assert hashlib.sha256(content).hexdigest() == record["blob"]["sha256"]
    assert len(content) == record["blob"]["size_bytes"]
    return content


def test_log__every_kind_in_the_light_installation__is_all_there_and_nothing_waits(
    user: Client, shared_server: LiveServer, tmp_path: Path
) -> None:
    svg = tmp_path / "drawing.svg"
    svg.write_text("<svg>" + " " * 3_000_000 + "</svg>")  # too large for a record of the file
    done = user.run_script(EVERYTHING, str(svg))
    assert (done.returncode, done.stderr) == (0, "")
    run_id = done.stdout.split()[0]
    keys = shared_server.get(f"/api/v1/runs/{run_id}/media/keys")["items"]
    assert [(one["key"], one["kind"], one["records"]) for one in keys] == [
        ("given", "histogram", 1),
        ("notes", "text", 2),
        ("predictions", "table", 2),
        ("samples", "image", 3),
        ("speech", "audio", 1),
        ("weights/dense 1", "histogram", 3),
    ]
    weights = records(shared_server, run_id, "weights/dense%201")
    assert [(one["step"], one["content"]["odd"]) for one in weights] == [(0, 1), (1, 1), (2, 1)]
    (given,) = records(shared_server, run_id, "given")
    assert given["content"]["edges"] == [0.0, 1.0, 2.0]
    first, second, drawing = records(shared_server, run_id, "samples")
    assert [(one["step"], one["place"]) for one in (first, second, drawing)] == [
        (7, 0),
        (7, 1),
        (8, 0),
    ]
    assert first["content"] == {"kind": "image", "width": 3, "height": 2}
    assert blob(shared_server, run_id, second) == b"GIF89a\x04\0\2\0"
    assert blob(shared_server, run_id, drawing) == svg.read_bytes()
    tables = records(shared_server, run_id, "predictions")
    assert [one["step"] for one in tables] == [0, 1]
    assert json.loads(blob(shared_server, run_id, tables[1]))["data"] == [[3, None]]
    short, long = records(shared_server, run_id, "notes")
    assert short["content"]["text"] == "short"
    assert blob(shared_server, run_id, long) == b"long " * 10_000
    (speech,) = records(shared_server, run_id, "speech")
    assert speech["content"]["duration_ms"] == 100
    assert not list(user.home.glob("spool/*"))


ACKNOWLEDGING = """
import os, sys, time
import seafloor
run = seafloor.start_run("killed")
print(run.id, flush=True)
acknowledged = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
step = 0
while True:
    seafloor.log_text("small", f"text {step}", step=step)
    seafloor.log_text("large", f"{step:07d}" * (300_000 if step % 10 == 0 else 2_000), step=step)
    os.pwrite(acknowledged, b"%d" % step, 0)
    step += 1
    time.sleep(0.01)
"""


def check_all(server: LiveServer, run_id: str, steps_min: int) -> None:
    """Every step up to one is there once, with the bytes that were logged."""
    small = records(server, run_id, "small")
    large = records(server, run_id, "large")
    assert [one["step"] for one in small] == list(range(len(small)))
    assert [one["step"] for one in large] == list(range(len(large)))
    assert len(small) - len(large) in (0, 1)
    assert len(large) >= steps_min
    assert [one["content"]["text"] for one in small] == [f"text {n}" for n in range(len(small))]
    for record in (*large[:: max(1, len(large) // 20)], large[-1]):
        assert blob(server, run_id, record)[:7] == b"%07d" % record["step"]


def test_log__the_process_is_killed__sync_brings_every_record_once(
    user: Client, shared_server: LiveServer, tmp_path: Path
) -> None:
    said = tmp_path / "acknowledged"
    process = user.script(ACKNOWLEDGING, str(said))
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    path = f"/api/v1/runs/{run_id}/media/keys"
    # Long enough for some of it to have been sent by the process itself.
    wait_for(lambda: shared_server.request("GET", path)[1].get("items"), what="the first records")
    wait_for(lambda: int(said.read_bytes() or b"0") > 30, what="some more")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    (report,) = user.json("sync")["items"]
    assert (report["state"], report["records_lost"]) == ("sent", 0)
    check_all(shared_server, run_id, int(said.read_bytes()) + 1)
    assert not user.waiting


SLOWLY = """
import sys, time
import seafloor
with seafloor.start_run("slowly") as run:
    print(run.id, flush=True)
    for step in range(60):
        seafloor.log_text("small", f"text {step}", step=step)
        seafloor.log_text("large", f"{step:07d}" * (300_000 if step % 10 == 0 else 2_000), step)
        print(step, flush=True)
        time.sleep(0.02)
"""


def test_log__the_server_is_killed_and_comes_back__nothing_is_missing(
    tmp_path: Path, make_server: Callable[..., LiveServer]
) -> None:
    server = make_server()
    user = Client(tmp_path / "home", server.url)
    process = user.script(SLOWLY)
    assert process.stdout is not None
    run_id = process.stdout.readline().strip()
    wait_for(lambda: server.request("GET", f"/api/v1/runs/{run_id}")[0] == 200)
    server.kill()
    for _ in range(20):
        process.stdout.readline()
    server.start()
    _, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, "")
    check_all(server, run_id, 60)
    assert not user.waiting


FULL = """
import resource, sys
import seafloor
run = seafloor.start_run()
print(run.id, flush=True)
seafloor.log_text("small", "text 0", step=0)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
for step in range(1, 200):
    seafloor.log_text("small", f"text {step}", step=step)
seafloor.log_text("large", "0000000" * 300_000, step=0)
seafloor.log_text("largest", "0000000" * 1_000_000, step=0)
seafloor.end_run()
"""


def test_log__the_disk_takes_nothing__all_that_memory_holds_arrives_and_the_rest_is_counted(
    user: Client, shared_server: LiveServer
) -> None:
    done = user.run_script(FULL)
    assert done.returncode == 0
    run_id = done.stdout.strip()
    found = records(shared_server, run_id, "small")
    assert [one["content"]["text"] for one in found] == [f"text {n}" for n in range(200)]
    assert len(records(shared_server, run_id, "large")) == 1
    assert records(shared_server, run_id, "largest") == []
    tags = shared_server.get(f"/api/v1/runs/{run_id}")["tags"]
    assert [value for key, value in tags.items() if "records_lost" in key] == ["1"]


REFUSED = """
import seafloor
from seafloor.domain.media import Blob, MediaRecord, Text
from seafloor.sdk.wal import LoggedMedia
run = seafloor.start_run("refused")
print(run.id, flush=True)
seafloor.log_text("good", "before")
wrong = MediaRecord("bad", 0, 0, Text(), Blob("0" * 64, "txt", 5))
gone = MediaRecord("gone", 0, 0, Text(), Blob("1" * 64, "txt", 5))
with run._lock:  # as whoever appends must: the sender closes and opens files
    run._append(LoggedMedia(wrong, b"bytes", None))
    run._append(LoggedMedia(gone, None, "no such file"))
seafloor.log_text("good", "after")
seafloor.end_run()
"""


def test_log__one_record_is_refused__the_others_go_and_it_is_said(
    user: Client, shared_server: LiveServer
) -> None:
    done = user.run_script(REFUSED)
    run_id = done.stdout.strip()
    assert "the server refused media text bad at step 0" in done.stderr
    assert "the server refused media text gone at step 0" in done.stderr
    keys = shared_server.get(f"/api/v1/runs/{run_id}/media/keys")["items"]
    assert [(one["key"], one["records"]) for one in keys] == [("good", 2)]


def test_page__its_example__does_what_it_says(user: Client, shared_server: LiveServer) -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "log-media.md"
    first, second = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    done = user.run_script(first)
    assert (done.returncode, done.stderr) == (0, "")
    run_id = done.stdout.strip()
    read = user.run_script(f"run_id = {run_id!r}\n{second}")
    assert read.returncode == 0, read.stderr
    assert "weights histogram 5 0 4" in read.stdout.splitlines()
    assert '0 2 b\'{"columns":["label","score"],"data":[["cat",0.9],["dog",0.4]]}\'' in read.stdout
