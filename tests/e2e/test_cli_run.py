"""``seafloor run`` and what comes after it, against a real server."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from client_process import Client
from live_server import LiveServer, wait_for


@pytest.fixture
def user(tmp_path: Path, shared_server: LiveServer) -> Client:
    return Client(tmp_path / "home", shared_server.url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that is no repository, with a script."""
    folder = tmp_path / "my project"
    folder.mkdir()
    (folder / "train.py").write_text(
        "import sys\n"
        "print('args', sys.argv[1:])\n"
        "print('on stderr', file=sys.stderr)\n"
        "print('no newline', end='')\n"
        "sys.exit(int(sys.argv[1]))\n"
    )
    return folder


@pytest.mark.parametrize("code", [0, 3])
def test_run__a_command__prints_its_log_and_exits_as_it_does(
    user: Client, folder: Path, code: int
) -> None:
    done = user.cli("run", "--", sys.executable, "train.py", str(code), "--flag", cwd=folder)
    assert done.returncode == code
    assert done.stdout == f"args ['{code}', '--flag']\nno newline\n"
    assert "on stderr" in done.stderr
    run = user.json("runs", "show", "@last")["run"]
    assert run["experiment"]["name"] == "my project"
    assert run["url"] in done.stderr
    assert run["code"]["folder"].startswith("my")


def test_run__the_same_folder_twice__is_sent_once(
    user: Client, folder: Path, shared_server: LiveServer
) -> None:
    runs = [
        user.json("run", "--detach", "--", sys.executable, "train.py", "0", *extra, cwd=folder)
        for extra in ([], ["x"])
    ]
    digests = {run["code"]["sha256"] for run in runs}
    assert len(digests) == 1
    for run in runs:
        shared_server.wait_state(run["id"], "succeeded")


def test_run__options__reach_the_run(user: Client, folder: Path) -> None:
    done = user.cli(
        *("run", "--name", "first try", "--experiment", "options", "-e", "A=b=c"),
        *("--param", "lr=0.1", "--timeout", "5m", "--json", "--"),
        *("sh", "-c", 'test "$A" = b=c && test -f train.py'),
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    run = json.loads(done.stdout)
    assert (run["name"], run["experiment"]["name"]) == ("first try", "options")
    assert (run["state"], run["params"]) == ("succeeded", {"lr": "0.1"})


def test_run__retries__follows_every_attempt(user: Client, folder: Path) -> None:
    script = "test -f ../tried && echo second || { echo first; touch ../tried; exit 3; }"
    done = user.cli("run", "--retries", "1", "--", "sh", "-c", script, cwd=folder)
    assert user.json("runs", "show", "@last")["run"]["attempt"] == 2
    assert done.stdout.splitlines()[0] == "first"
    assert len(done.stdout.splitlines()) == 2


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["sh", "-c", "kill -9 $$"], 137),
        (["no-such-command-anywhere"], None),
    ],
)
def test_run__no_exit_code_of_its_own__is_documented(
    user: Client, folder: Path, command: list[str], code: int | None
) -> None:
    done = user.cli("run", "--", *command, cwd=folder)
    assert done.returncode == code if code is not None else done.returncode in (120, 126, 127)
    assert "failed" in done.stderr


def test_run__the_timeout_ends_it__exits_with_124(user: Client, folder: Path) -> None:
    done = user.cli("run", "--timeout", "1", "--", "sleep", "60", cwd=folder)
    assert done.returncode == 124, done.stderr


def test_run__a_repository__is_pinned_to_its_commit(
    user: Client, tmp_path: Path, folder: Path
) -> None:
    def git(*arguments: str) -> str:
        name = ["-c", "user.name=T", "-c", "user.email=t@example.com"]
        done = subprocess.run(
            ["git", "-C", str(folder), *name, *arguments],
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    git("init", "-q", "-b", "main")
    git("add", ".")
    git("commit", "-q", "-m", "x")
    commit = git("rev-parse", "HEAD")
    spec = tmp_path / "train.yaml"
    spec.write_text(
        "experiment:\n  name: pinned\n"
        f'  code: {{sync_mode: git, url: "./{folder.name}", ref: main}}\n'
        f'  command: [{sys.executable}, "{folder.name}/train.py", "0"]\n'
    )
    plan = user.json("plan", "-f", str(spec))
    assert plan["code"]["commit"] == commit
    done = user.cli("run", "-f", str(spec), "--json", cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["code"]["commit"] == commit
    done = user.cli("run", "-f", str(spec), "--ref", "nothing")
    assert done.returncode == 6
    assert "nothing" in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["run"], 2, "seafloor run -- python train.py"),
        (["run", "-f", "none.yaml"], 3, "none.yaml"),
        (["run", "--env", "no-such-env", "--", "true"], 3, "no-such-env"),
        (["run", "--timeout", "soon", "--", "true"], 2, "soon"),
        (["run", "--git", "/no/such/repository", "--", "true"], 6, "/no/such/repository"),
        (["runs", "show", "00000000000000000000000000000000"], 3, ""),
        (["runs", "list", "--filter", "metrics.loss <"], 2, ""),
        (["runs", "list", "--experiment", "never heard of"], 3, "never heard of"),
        (["logs", "no such run"], 3, "no such run"),
        (["env", "show", "nothing"], 3, "nothing"),
        (["runs", "list", "--limt", "3"], 2, "--limit"),
    ],
)
def test_any_command__a_mistake__is_one_line_with_its_exit_code(
    user: Client, folder: Path, arguments: list[str], code: int, said: str
) -> None:
    done = user.cli(*arguments, cwd=folder)
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert done.stdout == ""


def test_run__the_address_is_dead__is_said_and_no_server_is_started(
    tmp_path: Path, folder: Path
) -> None:
    user = Client(tmp_path / "home", "http://127.0.0.1:9")
    done = user.cli("run", "--", "true", cwd=folder)
    assert done.returncode == 5
    assert "http://127.0.0.1:9" in done.stderr
    assert not (user.home / "data").exists()


def test_run__no_server_and_no_address__starts_one_and_says_so(
    tmp_path: Path, folder: Path
) -> None:
    user = Client(tmp_path / "home")
    try:
        done = user.cli("run", "--", sys.executable, "train.py", "0", cwd=folder)
        assert done.returncode == 0, done.stderr
        assert "one was started at http://127.0.0.1:" in done.stderr
        assert user.json("runs", "show", "@last")["run"]["state"] == "succeeded"
    finally:
        user.cli("down")


def test_logs__pages_tails_streams_raw__show_what_was_printed(user: Client, folder: Path) -> None:
    script = "import sys\nfor n in range(1, 2501):\n    print(f'line {n}', flush=n == 2500)\n"
    user.cli("run", "--no-follow", "--", sys.executable, "-c", script, cwd=folder)
    lines = [f"line {number}" for number in range(1, 2501)]
    assert user.cli("logs", "@last").stdout.splitlines() == lines
    assert user.cli("logs", "@last", "-f").stdout.splitlines() == lines
    assert user.cli("logs", "@last", "--raw").stdout.splitlines() == lines
    assert user.cli("logs", "@last", "--tail", "2").stdout.splitlines() == lines[-2:]
    assert user.cli("logs", "@last", "--from", "2499").stdout.splitlines() == lines[-2:]
    assert user.cli("logs", "@last", "--stream", "err").stdout == ""
    documents = user.cli("logs", "@last", "--tail", "3", "--json").stdout.splitlines()
    assert [json.loads(line)["number"] for line in documents] == [2498, 2499, 2500]
    pipe = f"{sys.executable} -m seafloor.cli logs @last | head -1"
    head = subprocess.run(
        ["sh", "-c", pipe], env=user.environment, capture_output=True, text=True, check=True
    )
    assert (head.stdout, head.stderr) == ("line 1\n", "")


def test_logs__last_lines_of_one_stream__are_as_many_when_followed(
    user: Client, folder: Path
) -> None:
    script = "for n in 1 2 3; do echo right $n; done; seq 100 >&2"
    user.cli("run", "--", "sh", "-c", script, cwd=folder)
    for follow in ((), ("-f",)):
        shown = user.cli("logs", "@last", *follow, "--stream", "out", "--tail", "2")
        assert shown.stdout.splitlines() == ["right 2", "right 3"]


def test_logs__of_a_tracked_run__says_that_there_is_none(user: Client) -> None:
    user.run_script("import seafloor\nwith seafloor.start_run('tracked only'):\n    pass")
    done = user.cli("logs", "-f", "tracked only")
    assert (done.returncode, done.stdout) == (0, "")
    assert "did not start this run" in done.stderr


def test_metrics__of_a_run_without__says_so(user: Client) -> None:
    """As a plot, which the README asks for, it was nothing at all."""
    user.run_script("import seafloor\nwith seafloor.start_run('no numbers'):\n    pass")
    for shown in ((), ("--plot",), ("--points",)):
        done = user.cli("metrics", "no numbers", *shown)
        assert (done.returncode, done.stdout) == (0, "")
        assert "This run has no metrics." in done.stderr


def test_runs__list_show_compare_stop_retry_rm__do_what_they_say(
    user: Client, folder: Path, shared_server: LiveServer
) -> None:
    how = ["run", "--detach"]
    first, second = (
        user.json(*how, "--name", name, "--param", f"lr={lr}", "--", *command, cwd=folder)
        for name, lr, command in (
            ("alpha run", 1, [sys.executable, "train.py", "0"]),
            ("beta run", 2, ["sleep", "300"]),
        )
    )
    shared_server.wait_state(first["id"], "succeeded")
    shared_server.wait_state(second["id"], "running")
    listed = user.json("runs", "list", "--experiment", "my project", "--filter", "params.lr = '2'")
    assert second["id"] in [run["id"] for run in listed["items"]]
    assert first["id"] not in [run["id"] for run in listed["items"]]
    assert user.json("runs", "show", first["id"][-8:])["run"]["id"] == first["id"]
    assert user.json("runs", "show", first["id"][:30])["run"]["id"] == first["id"]
    compared = user.cli("runs", "compare", first["id"], second["id"])
    assert "params.lr" in compared.stdout
    stopped = user.json("runs", "stop", second["id"])["items"]
    assert stopped[0]["id"] == second["id"]
    shared_server.wait_state(second["id"], "stopped")
    without = user.cli("artifacts", "get", second["id"])
    assert (without.returncode, without.stderr) == (3, "error: The run has no files.\n")
    done = user.cli("runs", "retry", first["id"], "--follow")
    assert done.returncode == 0
    assert "args ['0']" in done.stdout
    assert user.json("runs", "show", first["id"])["run"]["attempt"] == 2
    assert user.cli("logs", first["id"], "--attempt", "1").stdout.startswith("args ['0']")
    assert user.cli("runs", "rm", second["id"]).returncode == 0
    there = ("runs", "list", "--experiment", "my project", "--filter", "params.lr = '2'")
    assert second["id"] not in [run["id"] for run in user.json(*there)["items"]]
    assert second["id"] in [run["id"] for run in user.json(*there, "--deleted")["items"]]
    assert user.cli("runs", "restore", second["id"]).returncode == 0
    done = user.cli("runs", "rm", "--purge", second["id"])
    assert done.returncode != 0  # nobody there to be asked
    assert user.cli("runs", "rm", "--purge", "--yes", second["id"]).returncode == 0
    assert user.cli("runs", "show", second["id"]).returncode == 3


def test_metrics_and_artifacts__of_a_run__come_back_as_they_were(
    user: Client, folder: Path, tmp_path: Path
) -> None:
    code = (
        "import math, os, pathlib, seafloor\n"
        "with seafloor.start_run():\n"
        "    for step in range(1000):\n"
        "        seafloor.log_metrics({'loss': 1 / (step + 1)}, step=step)\n"
        "    seafloor.log_metric('loss', math.nan, step=1000)\n"
        "    pathlib.Path('model').mkdir()\n"
        "    pathlib.Path('model', 'w.bin').write_bytes(bytes(range(256)) * 1000)\n"
        "    seafloor.log_artifacts('model', 'model')\n"
    )
    done = user.cli("run", "--", sys.executable, "-c", code, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert user.json("metrics", "@last")["items"]["loss"]["points"] == 1001
    assert user.json("metrics", "@last", "loss", "--points")["items"]["loss"][0][2] == 1.0
    plot = user.cli("metrics", "@last", "--plot", "loss")
    assert "loss" in plot.stdout
    assert "\x1b" not in plot.stdout
    assert re.search("[\u2801-\u28ff]", plot.stdout)
    assert "not drawn, as NaN: 1 point." in plot.stderr
    assert user.cli("metrics", "@last", "los").returncode == 3
    listed = user.json("artifacts", "list", "@last", "model")
    assert [entry["path"] for entry in listed["items"]] == ["model/w.bin"]
    done = user.cli("artifacts", "get", "@last", "model", "--to", str(tmp_path / "got"))
    assert done.stdout.strip() == str(tmp_path / "got" / "model" / "w.bin")
    assert (tmp_path / "got/model/w.bin").read_bytes() == bytes(range(256)) * 1000
    os.mkfifo(tmp_path / "got" / "pipe")
    (tmp_path / "got" / "nowhere").symlink_to("gone")
    (tmp_path / "got" / "around").symlink_to(tmp_path)
    done = user.cli("artifacts", "put", "@last", str(tmp_path / "got"), "again")
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["again/model/w.bin"]
    left_out = [line for line in done.stderr.splitlines() if line.startswith("Left out")]
    assert [Path(line.split('"')[1]).name for line in left_out] == ["around", "nowhere", "pipe"]
    (tmp_path / "empty").mkdir()
    assert "has no files" in user.cli("artifacts", "put", "@last", str(tmp_path / "empty")).stderr
    one = user.json("artifacts", "get", "@last", "again/model/w.bin", "--to", str(tmp_path / "x"))
    assert one["items"][0]["file"] == str(tmp_path / "x" / "w.bin")
    assert user.cli("artifacts", "get", "@last", "nothing").returncode == 3
    several = tmp_path / "several"
    (several / "w.bin" / "in the way").mkdir(parents=True)
    for path in ("a", "w.bin/in the way/b"):
        (several / path).write_text(path)
    done = user.cli("artifacts", "put", "@last", str(several), "again/model")
    assert done.returncode == 4
    assert set(done.stdout.split()) <= {"again/model/a", "1", "B"}
    assert done.stdout.split()[0] == "again/model/a"
    said, error = done.stderr.splitlines()
    assert said.startswith('"again/model/w.bin/in the way/b" failed: ')
    assert "cannot be kept" in said
    assert error.startswith("error: 1 of 2 files failed, there: 1.")


def test_artifacts__of_which_some_cannot_be_moved__the_others_are_and_a_repeat_goes_on(
    user: Client, shared_server: LiveServer, tmp_path: Path
) -> None:
    run = shared_server.post("/api/v1/runs", {"experiment": "some fail"})["id"]
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    for number in range(40):
        (source / f"f{number:02}").write_text(f"content {number}")
    (source / os.fsdecode(b"b\xe4d")).write_text("no text")
    done = user.cli("artifacts", "put", run, str(source), "all")
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 40
    said, error = done.stderr.splitlines()
    assert said.startswith('"all/b')
    assert "cannot be kept as" in said
    assert error.startswith("error: 1 of 41 files failed, there: 40.")

    (source / os.fsdecode(b"b\xe4d")).rename(source / "good")
    (source / "f07").write_text("another 7")
    before = user.json("artifacts", "list", run, "all", "--recursive")["items"]
    done = user.cli("artifacts", "put", run, str(source), "all")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 41
    after = user.json("artifacts", "list", run, "all", "--recursive")["items"]
    assert [file["path"] for file in after if file not in before] == ["all/f07", "all/good"]

    for number in range(30):  # more than are named
        (target / "all" / f"f{number:02}").mkdir(parents=True)
    done = user.cli("artifacts", "get", run, "--to", str(target))
    assert done.returncode == 2
    assert len(done.stdout.splitlines()) == 11
    *said, more, error = done.stderr.splitlines()
    assert len(said) == 20
    assert all(line.startswith('"all/f') and "cannot be written" in line for line in said)
    assert more == "10 more failed."
    assert error.startswith("error: 30 of 41 files failed, there: 11.")

    for number in range(30):
        (target / "all" / f"f{number:02}").rmdir()
    (target / "all" / "f39").write_text("CONTENT 39")
    there = {file.name: file.stat().st_ino for file in (target / "all").iterdir()}
    done = user.cli("artifacts", "get", run, "--to", str(target))
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 41
    assert (target / "all" / "f39").read_text() == "content 39"
    assert (target / "all" / "f07").read_text() == "another 7"
    now = {file.name: file.stat().st_ino for file in (target / "all").iterdir()}
    assert {name for name in there if there[name] != now[name]} == {"f39"}
    # What the server has lost is sent again, though it is listed.
    (lost,) = shared_server.data.rglob(f"{run}/artifacts/all/f11")
    lost.unlink()
    assert user.cli("artifacts", "put", run, str(source), "all").returncode == 0
    assert shared_server.get(f"/api/v1/runs/{run}/artifacts/all/f11") == b"content 11"


COMMAND = ("-m", "seafloor.cli")

# Waits two minutes where the command waits two seconds for a second Ctrl-C: on a busy machine these
# may be over before the test has seen that it may press it.
PATIENT = """
import sys, threading
from seafloor.cli import following
from seafloor.cli.main import main

class Patient(threading.Event):
    def wait(self, timeout=None):
        return super().wait(120.0 if timeout == 2.0 else timeout)

following.threading.Event = Patient
sys.exit(main())
"""


class Terminal:
    """A command on a terminal of its own."""

    def __init__(
        self, user: Client, *arguments: str, cwd: Path, program: tuple[str, str] = COMMAND
    ) -> None:
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            command = [sys.executable, *program, *arguments]
            env = {**user.environment, "TERM": "xterm-256color"}
            os.execve(sys.executable, command, env)  # noqa: S606
        self.seen = ""
        os.set_blocking(self._fd, False)

    def wait_for(self, text: str) -> None:
        wait_for(lambda: text in self._read(), what=f"{text!r} on the terminal")

    def wait(self) -> int:
        def ended() -> list[int]:
            self._read()
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            return [status] if pid else []

        (status,) = wait_for(ended, what="the command to end")
        self._read()
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)

    def interrupt(self) -> None:
        os.write(self._fd, b"\x03")

    def _read(self) -> str:
        try:
            while piece := os.read(self._fd, 65536):
                self.seen += piece.decode("utf-8", "replace")
        except (BlockingIOError, OSError):
            pass
        return self.seen


@pytest.fixture
def talking(folder: Path) -> list[str]:
    script = (
        "import time\nprint('begun', flush=True)\n"
        "while True:\n    time.sleep(0.05)\n    print('on', flush=True)\n"
    )
    (folder / "talk.py").write_text(script)
    return ["run", "--", sys.executable, "talk.py"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_run__ctrl_c__stops_following_and_says_how_to_go_on(
    user: Client, folder: Path, talking: list[str], shared_server: LiveServer
) -> None:
    terminal = Terminal(user, *talking, cwd=folder)
    terminal.wait_for("begun")
    terminal.interrupt()
    assert terminal.wait() == 130
    assert "\x1b[" in terminal.seen  # it is a terminal: there are colours
    found = re.search(r"seafloor logs -f (\w{8})", terminal.seen)
    assert found is not None
    run = user.json("runs", "show", found[1])["run"]
    assert run["state"] == "running"
    shared_server.post(f"/api/v1/runs/{run['id']}/stop")
    shared_server.wait_state(run["id"], "stopped")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_run__ctrl_c_twice__stops_the_run(user: Client, folder: Path, talking: list[str]) -> None:
    terminal = Terminal(user, *talking, cwd=folder, program=("-c", PATIENT))
    terminal.wait_for("begun")
    terminal.interrupt()
    terminal.wait_for("Not following any more")
    terminal.interrupt()
    assert terminal.wait() == 122
    assert user.json("runs", "show", "@last")["run"]["state"] == "stopped"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_runs_list__on_a_terminal__is_a_table_that_fits(user: Client, folder: Path) -> None:
    name = "a long name; " * 6 + "ends"
    ran = user.cli(
        "run", "--no-follow", "--experiment", name, "--name", name, "--", "true", cwd=folder
    )
    assert ran.returncode == 0, ran
    terminal = Terminal(user, "runs", "list", cwd=folder)
    assert terminal.wait() == 0
    assert "experiment" in terminal.seen
    plain = re.sub(r"\x1b\[[0-9;]*m", "", terminal.seen)
    assert max(len(line.rstrip("\r")) for line in plain.split("\n")) <= 80


def test_logs_follow__the_server_is_restarted__goes_on_at_the_next_line(
    tmp_path: Path, folder: Path, make_server: object
) -> None:
    server = make_server()  # type: ignore[operator]
    user = Client(tmp_path / "home", server.url)
    script = "import time\nfor n in range(60):\n    print(n, flush=True)\n    time.sleep(0.05)\n"
    run = server.launch([sys.executable, "-c", script])
    command = [sys.executable, "-m", "seafloor.cli", "logs", "-f", run["id"]]
    with subprocess.Popen(
        command, env=user.environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        seen = [process.stdout.readline() for _ in range(10)]
        server.kill()
        server.start()
        rest = process.stdout.read()  # communicate() would leave out what is buffered
    assert [int(line) for line in [*seen, *rest.splitlines()]] == list(range(60))
    assert process.returncode == 0
