"""Runs that are strange, go wrong, or do harm: kept whole, told plainly, judged by themselves."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from client_process import Client
from live_server import LiveServer, wait_for
from untouched import assert_no_traceback

PYTHON = sys.executable
_MEMORY_BYTES_MAX = 200 << 20


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("odd") / "data").start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def _no_traceback(odd: LiveServer) -> Iterator[None]:  # pyright: ignore[reportUnusedFunction]
    yield
    assert_no_traceback(odd)


def ended(server: LiveServer, command: str | list[str], **spec: Any) -> dict[str, Any]:
    """Launch a command and wait for its end."""
    run = server.launch(command, **spec)
    return server.wait_state(run["id"], "succeeded", "failed", "lost")


def messages(server: LiveServer, run: dict[str, Any], kind: str | None = None) -> list[str]:
    """What a run's timeline says."""
    items = server.get(f"/api/v1/runs/{run['id']}/events")["items"]
    return [event["message"] for event in items if kind in (None, event["kind"])]


def texts(server: LiveServer, run: dict[str, Any], stream: str = "out") -> list[str]:
    return [line["text"] for line in server.log_lines(run["id"], stream=stream)]


@pytest.mark.parametrize(
    ("command", "exit_code", "words"),
    [
        (["no-such-program"], 127, '"no-such-program" on the PATH'),
        (["./no/script.sh"], 127, "./no/script.sh"),
        (["/etc"], 126, "/etc"),
        ("no-such-program", 127, "no such program"),
    ],
)
def test_run__command_that_cannot_start__fails_and_says_why(
    odd: LiveServer, command: str | list[str], exit_code: int, words: str
) -> None:
    run = ended(odd, command)
    assert run["state"] == "failed"
    assert run["ending"]["exit_code"] == exit_code
    assert words in run["ending"]["reason"]
    assert words in messages(odd, run)[-1]


def test_run__command_that_may_not_be_executed__fails_and_says_how_to_mend_it(
    odd: LiveServer, tmp_path: Path
) -> None:
    script = tmp_path / "train.sh"
    script.write_text("#!/bin/sh\n")
    run = ended(odd, [str(script)])
    assert run["ending"]["exit_code"] == 126
    assert "chmod +x" in run["ending"]["reason"]


def test_run__command_as_list__no_shell_reads_it(odd: LiveServer) -> None:
    run = ended(odd, ["printf", "%s|", "a b", "$HOME", "*", ";", ""])
    assert texts(odd, run) == ["a b|$HOME|*|;||"]


def test_run__timeline__has_what_a_user_wants_to_read(odd: LiveServer) -> None:
    said = messages(odd, ended(odd, "true"))
    assert said[:2] == [
        "Submitted with the Python it is given.",
        "Preparing code and environment.",
    ]
    assert said[2].startswith("Prepared in ")
    assert said[3:] == ["Started.", "The command ended with exit code 0."]


def test_run__timeout__fails_and_says_so(odd: LiveServer) -> None:
    run = ended(odd, "sleep 60", timeout="1s")
    assert run["state"] == "failed"
    assert run["ending"]["timed_out"]
    assert "timeout of 1 s" in run["ending"]["reason"]


def test_run__over_its_memory__fails_and_says_so(odd: LiveServer) -> None:
    code = "import time; held = b'x' * (600 << 20); time.sleep(60)"
    run = ended(odd, [PYTHON, "-c", code], resources={"memory": "200Mi"})
    assert run["state"] == "failed"
    assert run["ending"]["memory_exceeded"]
    assert "memory" in run["ending"]["reason"]
    assert "209,715,200 bytes" in run["ending"]["reason"]


def test_run__retries__every_attempt_is_kept(odd: LiveServer, tmp_path: Path) -> None:
    count = tmp_path / "count"
    command = f"echo x >> {count}; echo try $(wc -l < {count}); test $(wc -l < {count}) = 3"
    run = odd.launch(command, retries=3)
    found = odd.wait_state(run["id"], "succeeded")
    assert found["attempt"] == 3
    attempts = odd.get(f"/api/v1/runs/{run['id']}/attempts")["items"]
    assert [attempt["state"] for attempt in attempts] == ["failed", "failed", "succeeded"]
    for number in (1, 2, 3):
        (line,) = odd.log_lines(run["id"], attempt=number)
        assert line["text"] == f"try {number}"


def _peak_bytes(process_id: int) -> int:
    """The most memory that a process had since it began."""
    status = Path(f"/proc/{process_id}/status").read_text()
    (size_kib,) = re.findall(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(size_kib) << 10


def test_run__prints_100_mb_in_one_line__readable_in_bounded_memory(
    odd: LiveServer, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    code = (
        "import os, sys, time\n"
        "print('first', flush=True)\n"
        "for _ in range(1600): sys.stdout.write('x' * 65536)\n"
        "print()\n"
        "print('last', flush=True)\n"
        "while not os.path.exists(sys.argv[1]): time.sleep(0.02)\n"
    )
    run = odd.launch([PYTHON, "-c", code, str(gate)])
    assert odd.process is not None
    server = psutil.Process(odd.process.pid)
    agent_file = odd.data / "work" / run["id"] / "1" / "tasks" / "main" / "agent.json"
    peak = {"server": 0, "agent": 0}

    def look() -> dict[str, Any] | None:
        peak["server"] = max(peak["server"], server.memory_info().rss)
        found = odd.get(f"/api/v1/runs/{run['id']}")
        page = odd.get(f"/api/v1/runs/{run['id']}/logs?from_line=1&limit=1000")
        assert len(json.dumps(page)) < 64 << 20
        last = odd.get(f"/api/v1/runs/{run['id']}/logs?from_line=-1")["lines"]
        if not gate.exists() and [line["text"] for line in last] == ["last"]:
            # The agent has had all of it, and lives as long as the command.
            peak["agent"] = _peak_bytes(json.loads(agent_file.read_bytes())["pid"])
            gate.touch()
        return found if found["state"] in ("succeeded", "failed") else None

    found = wait_for(look, timeout_s=250, what="the run to end")
    assert found["state"] == "succeeded"
    assert peak["server"] < _MEMORY_BYTES_MAX
    assert 0 < peak["agent"] < _MEMORY_BYTES_MAX / 2
    status, raw = odd.request("GET", f"/api/v1/runs/{run['id']}/logs/raw")
    assert status == 200
    assert raw == b"first\n" + b"x" * (1600 * 65536) + b"\nlast\n"
    last = odd.get(f"/api/v1/runs/{run['id']}/logs?from_line=-1")["lines"]
    assert [line["text"] for line in last] == ["last"]


def test_run__prints_binary__pages_stay_readable_and_bytes_are_kept(odd: LiveServer) -> None:
    code = (
        "import sys\n"
        "out = sys.stdout.buffer\n"
        "out.write(bytes(range(256)) * 64)\n"
        "out.write('größe 数据 🌊\\n'.encode())\n"
    )
    run = ended(odd, [PYTHON, "-c", code])
    assert run["state"] == "succeeded"
    printed = bytes(range(256)) * 64 + "größe 数据 🌊\n".encode()
    assert odd.request("GET", f"/api/v1/runs/{run['id']}/logs/raw")[1] == printed
    assert texts(odd, run)[-1].endswith("größe 数据 🌊")


def test_metrics__not_numbers_and_steps_that_go_back__are_kept(
    odd: LiveServer, tmp_path: Path
) -> None:
    client = Client(tmp_path / "home", odd.url)
    done = client.run_script(
        "import seafloor\n"
        "run = seafloor.start_run(experiment='odd numbers')\n"
        "for step, value in [(0, 1.5), (1, float('nan')), (2, float('inf')), (3, -float('inf')),\n"
        "                    (1, -0.0), (0, 5e-324)]:\n"
        "    run.log_metrics({'odd': value}, step=step)\n"
        "print(run.id)\n"
        "run.end()\n"
    )
    assert done.returncode == 0, done.stderr
    run_id = done.stdout.split()[-1]
    for value in ("NaN", "Infinity", "-Infinity"):
        body = f'{{"run_id":"{run_id}","key":"api","value":"{value}","timestamp":5,"step":1}}'
        status, answer = odd.request(
            "POST",
            "/api/2.0/mlflow/runs/log-metric",
            body.encode(),
            headers={"Content-Type": "application/json"},
        )
        assert status == 200, (value, answer)
    series = odd.get(f"/api/v1/runs/{run_id}/metrics/series?key=odd")["points"]
    assert len(series) == 6
    shown = sorted((step, str(value)) for step, _, value in series)
    assert shown == sorted(
        [(0, "1.5"), (1, "NaN"), (2, "Infinity"), (3, "-Infinity"), (1, "-0.0"), (0, "5e-324")]
    )
    api = odd.get(f"/api/v1/runs/{run_id}/metrics/series?key=api")["points"]
    assert sorted(str(value) for _, _, value in api) == ["-Infinity", "Infinity", "NaN"]
    history = odd.get(f"/api/2.0/mlflow/metrics/get-history?run_id={run_id}&metric_key=api")[
        "metrics"
    ]
    assert len(history) == 3
    for arguments in (("metrics", run_id), ("metrics", run_id, "--plot")):
        done = client.cli(*arguments)
        assert done.returncode == 0, done
        assert "odd" in done.stdout + done.stderr
    points = client.cli("metrics", run_id, "odd", "--points").stdout
    assert "NaN" in points
    assert "-Infinity" in points


_WRITES_EVENTS = """
import os, sys
from tensorboardX import SummaryWriter
folder = os.environ["SEAFLOOR_EVENTS_DIR"]
writer = SummaryWriter(folder)
for step in range(20):
    writer.add_scalar("loss", float("nan") if step == 3 else float(step), step)
writer.close()
(name,) = os.listdir(folder)
with open(os.path.join(folder, name), "ab") as file:
    file.write({tail})
sys.exit({code})
"""


@pytest.mark.parametrize("code", [0, 3])
@pytest.mark.parametrize("tail", [b"\x18\0\0\0\0\0\0\0half", b"\xff" * 64], ids=["half", "noise"])
def test_run__events_file_with_a_damaged_tail__own_verdict_warning_and_bytes_kept(
    odd: LiveServer, tail: bytes, code: int
) -> None:
    run = ended(odd, [PYTHON, "-c", _WRITES_EVENTS.format(tail=tail, code=code)])
    assert run["ending"]["exit_code"] == code, texts(odd, run, "err")
    assert run["state"] == ("succeeded" if code == 0 else "failed")
    (file,) = odd.get(f"/api/v1/runs/{run['id']}/event-files")["items"]
    assert any(file["path"] in said for said in messages(odd, run, "warning"))
    series = odd.get(f"/api/v1/runs/{run['id']}/metrics/series?key=loss")["points"]
    assert len(series) == 20
    assert [str(value) for step, _, value in series if step == 3] == ["NaN"]
    status, raw = odd.request("GET", f"/api/v1/runs/{run['id']}/event-files/1/{file['path']}")
    assert status == 200
    assert raw.endswith(tail)


def test_run__unicode_everywhere__is_kept_as_written(odd: LiveServer, tmp_path: Path) -> None:
    folder = tmp_path / "größe 数据 🌊"
    folder.mkdir()
    (folder / "тест.py").write_text(
        "import os, pathlib\n"
        "print('größe 数据 🌊')\n"
        "out = pathlib.Path(os.environ['SEAFLOOR_OUTPUT_DIR'])\n"
        "(out / 'mödell 数').mkdir()\n"
        "(out / 'mödell 数' / '重み 🌊.bin').write_bytes(b'w')\n"
    )
    client = Client(tmp_path / "home", odd.url)
    done = client.cli(
        *("run", "--name", "läuft 🌊", "--param", "größe=数", "--experiment", "Versuch ñ"),
        *("-e", "WORT=größe", "--", PYTHON, "тест.py", "数"),
        cwd=folder,
        PYTHONUTF8="1",
    )
    if done.returncode == 2 and "cannot be a key" in done.stderr:  # keys are MLflow's: ASCII
        done = client.cli(
            *("run", "--name", "läuft 🌊", "--param", "size=数", "--experiment", "Versuch ñ"),
            *("-e", "WORT=größe", "--", PYTHON, "тест.py", "数"),
            cwd=folder,
            PYTHONUTF8="1",
        )
    assert done.returncode == 0, done
    assert done.stdout == "größe 数据 🌊\n"
    run = client.json("runs", "show", "@last")["run"]
    assert run["name"] == "läuft 🌊"
    assert run["experiment"]["name"] == "Versuch ñ"
    assert "数" in run["params"].values()
    assert run["code"]["folder"] == folder.name
    listed = client.json("artifacts", "list", "@last", "--recursive")["items"]
    assert [file["path"] for file in listed] == ["mödell 数/重み 🌊.bin"]
    target = tmp_path / "fetched"
    assert client.cli("artifacts", "get", "@last", "--to", str(target)).returncode == 0
    assert (target / "mödell 数" / "重み 🌊.bin").read_bytes() == b"w"


@pytest.mark.parametrize("code", [0, 5])
@pytest.mark.parametrize(
    ("harm", "said"),
    [
        ('rm -rf "$SEAFLOOR_EVENTS_DIR"', None),
        ('rm -rf "$SEAFLOOR_OUTPUT_DIR"', None),
        ('rmdir "$SEAFLOOR_OUTPUT_DIR"; ln -s /etc "$SEAFLOOR_OUTPUT_DIR"', "output folder"),
        ('rmdir "$SEAFLOOR_EVENTS_DIR"; ln -s /etc "$SEAFLOOR_EVENTS_DIR"', None),
        ('ln -s /etc/passwd "$SEAFLOOR_OUTPUT_DIR/stolen"', "stolen"),
        ('ln -s /proc/self/mem "$SEAFLOOR_EVENTS_DIR/a.tfevents.1"', None),
        ('mkfifo "$SEAFLOOR_OUTPUT_DIR/pipe" "$SEAFLOOR_EVENTS_DIR/x.tfevents"', None),
        ('rm -rf "$SEAFLOOR_CODE_DIR" "$PWD"', None),
        ("touch \"$SEAFLOOR_OUTPUT_DIR/$(printf 'bad\\\\377name')\"", "bad"),
        ('echo x > "$SEAFLOOR_EVENTS_DIR/a.tfevents"', "a.tfevents"),
    ],
)
def test_run__harms_what_its_helpers_read__verdict_is_its_own_and_nothing_foreign_is_kept(
    odd: LiveServer, harm: str, said: str | None, code: int
) -> None:
    run = ended(odd, f"{harm}; echo done; exit {code}")
    assert run["ending"]["exit_code"] == code, texts(odd, run, "err")
    assert run["state"] == ("succeeded" if code == 0 else "failed")
    assert texts(odd, run) == ["done"]
    kept = odd.get(f"/api/v1/runs/{run['id']}/artifacts?recursive=true")["items"]
    assert kept == []
    if said is not None:
        assert any(said in line for line in messages(odd, run, "warning")), messages(odd, run)


def test_run__output_it_may_not_read__is_counted(odd: LiveServer) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything: run as another user to close a file to the agent")
    run = ended(odd, 'echo x > "$SEAFLOOR_OUTPUT_DIR/a"; chmod 0 "$SEAFLOOR_OUTPUT_DIR/a"')
    assert run["state"] == "succeeded"
    assert any("(a)" in line for line in messages(odd, run, "warning"))


def test_run__folder_without_files__runs(odd: LiveServer, tmp_path: Path) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    client = Client(tmp_path / "home", odd.url)
    done = client.cli("run", "--", "pwd", cwd=folder)
    assert done.returncode == 0, done
    assert done.stdout.endswith("/code/empty\n")


def test_environment__package_gone_since_it_was_locked__run_fails_before_its_start(
    odd: LiveServer, tmp_path: Path
) -> None:
    wheel = tmp_path / "gone-1.0-py3-none-any.whl"
    _write_wheel(wheel, "gone")
    made = odd.post(
        "/api/v1/environments", {"spec": {"name": "gone", "pip": [f"gone @ {wheel.as_uri()}"]}}
    )
    assert "gone" in made["environment"]["lock"]
    wheel.unlink()
    run = odd.launch("true", environment="gone")
    found = odd.wait_state(run["id"], "failed", "succeeded")
    assert found["state"] == "failed"
    assert "gone" in found["ending"]["reason"]
    assert not any((odd.data / "cache" / "environments").glob("????????????????????????????????*"))
    client = Client(tmp_path / "home", odd.url)
    done = client.cli("run", "--env", "gone", "-f", str(_spec(tmp_path)))
    assert done.returncode == 120, done
    assert "gone" in done.stderr


def _spec(folder: Path) -> Path:
    file = folder / "spec.yaml"
    file.write_text("experiment: {name: gone, command: 'true'}\n")
    return file


def _write_wheel(file: Path, name: str) -> None:
    import zipfile

    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
