"""``/code`` for one command, and for nobody else."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent_world import AgentTask, wait_until
from seafloor.agent import code_mount
from seafloor.agent.records import OUT
from seafloor.launch.local.code_mounts import CodeMounts, shared_mount

STRANGER = 65534
"""Who has no rights here; tests run as root where they can."""


@pytest.fixture
def mounted(agent_task: AgentTask) -> dict[str, str]:
    """What a launcher writes into ``task.json``."""
    if not CodeMounts(wanted=True).work():
        pytest.skip("this machine allows no mount namespaces; lifted where it does")
    source, stage = agent_task.folder / "code", agent_task.folder / "stage"
    (source / "digits").mkdir(parents=True)
    (source / "digits/train.py").write_text("print('trained')\n")
    stage.mkdir()
    return {"source": str(source), "stage": str(stage)}


def test_exec__with_code_at_code__sees_it_and_its_own_folder(
    agent_task: AgentTask, mounted: dict[str, str]
) -> None:
    said = "cat /code/digits/train.py; pwd; ls -d /etc /proc/self; echo kept > /code/new"

    ending = agent_task.run(said, code_mount=mounted)["ending"]

    assert ending["exit_code"] == 0
    assert agent_task.received.printed(OUT).decode().splitlines() == [
        "print('trained')",
        str(agent_task.folder / "work"),
        "/etc",
        "/proc/self",
    ]
    assert Path(mounted["source"], "new").read_text() == "kept\n"
    assert not Path("/code/digits").exists()
    assert list(Path(mounted["stage"]).iterdir()) == []


def test_exec__with_code_at_code__is_stopped_like_any_other(
    agent_task: AgentTask, mounted: dict[str, str]
) -> None:
    started = agent_task.start("echo at /code; cd /code; sleep 600 & wait", code_mount=mounted)
    wait_until(lambda: b"at /code" in agent_task.printed_on_disk(), what="its line")

    agent_task.stop()

    assert started.wait(60) == 0
    assert agent_task.end["ending"]["signal"] == "SIGTERM"


def test_exec__agent_killed__command_at_code_dies_with_it(
    agent_task: AgentTask, mounted: dict[str, str]
) -> None:
    started = agent_task.start("echo $$ > /code/pid; sleep 600", code_mount=mounted)
    file = Path(mounted["source"], "pid")
    wait_until(lambda: file.exists() and file.read_text().strip(), what="its process")

    os.kill(started.pid, signal.SIGKILL)
    started.wait(60)

    wait_until(lambda: not Path("/proc", file.read_text().strip()).exists(), what="its end")


def test_exec__code_that_cannot_be_put_there__runs_without_and_says_so(
    agent_task: AgentTask, mounted: dict[str, str]
) -> None:
    wrong = {**mounted, "source": f"{mounted['source']}/missing"}

    ending = agent_task.run("echo ran", code_mount=wrong)["ending"]

    assert ending["exit_code"] == 0
    (said,) = agent_task.received.said()
    assert said == ("/code cannot be had here (No such file or directory): use $SEAFLOOR_CODE_DIR.")


@pytest.mark.parametrize(("inside", "works"), [((), True), (("venv",), False)])
def test_enter__where_the_machine_has_such_a_folder__hides_nothing_of_it(
    tmp_path: Path, mounted: dict[str, str], inside: tuple[str, ...], works: bool
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    for name in inside:
        (own / name).touch()
    script = (
        "import os, sys; from seafloor.agent import code_mount\n"
        "code_mount.CODE = sys.argv[3]\n"
        "wanted = {'source': sys.argv[1], 'stage': sys.argv[2]}\n"
        "code_mount.CodeMount(wanted).enter()\n"
        "print(*os.listdir(sys.argv[3]))\n"
    )
    argv = [sys.executable, "-c", script, mounted["source"], mounted["stage"], str(own)]

    ended = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert ended.stdout == ("digits\n" if works else "")
    assert works or "Directory not empty" in ended.stderr
    assert {path.name for path in own.iterdir()} == set(inside)


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else; lifted for root")
def test_enter__by_an_ordinary_user__needs_no_right_and_gives_none() -> None:
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    folder = Path(f"/tmp/seafloor-code-mount-{os.getpid()}")
    folder.mkdir()
    try:
        program = folder / "code_mount.py"
        shutil.copy(code_mount.__file__, program)
        for name in ("source", "stage"):
            (folder / name).mkdir()
        (folder / "source/train.py").write_text("trained")
        os.chown(folder / "source", STRANGER, STRANGER)
        script = (
            "import os, sys; sys.path.insert(0, sys.argv[1])\n"
            "from code_mount import CodeMount\n"
            "wanted = {name: f'{sys.argv[1]}/{name}' for name in ('source', 'stage')}\n"
            "CodeMount(wanted).enter()\n"
            "os.execvp('sh', ['sh', '-c', sys.argv[2]])\n"
        )
        said = "cat /code/train.py; id -u; grep CapEff /proc/self/status; touch /code/new; ls /root"
        ended = subprocess.run(
            [python, "-I", "-c", script, str(folder), said],
            user=STRANGER,
            group=STRANGER,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        if "Operation not permitted" in ended.stderr and not ended.stdout:
            pytest.skip("this machine allows no user namespaces; lifted where it does")
        assert ended.stdout.split() == ["trained65534", "CapEff:", "0" * 16], ended
        assert "Permission denied" in ended.stderr
        assert (folder / "source/new").stat().st_uid == STRANGER
    finally:
        shutil.rmtree(folder)


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else; lifted for root")
def test_enter__shared_tree_by_an_ordinary_user__writes_into_a_layer_of_its_own() -> None:
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    folder = Path(f"/tmp/seafloor-code-layer-{os.getpid()}")
    (folder / "tree/old").mkdir(parents=True)
    try:
        program = folder / "code_mount.py"
        shutil.copy(code_mount.__file__, program)
        for name in ("file", "other"):
            (folder / "tree/old" / name).write_text("as it was")
        wanted = shared_mount(folder / "own", folder / "tree", "digits")
        for path in (folder, *folder.rglob("*")):
            os.chown(path, STRANGER, STRANGER)
        ended = subprocess.run(
            [python, "-I", str(program), json.dumps(wanted)],
            user=STRANGER,
            group=STRANGER,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=False,
        )
        if "Operation not permitted" in ended.stderr:
            pytest.skip("this machine allows no layers to users; lifted where it does")
        assert ended.returncode == 0, ended.stderr
        assert (folder / "tree/old/file").read_text() == "as it was"
        assert {path.name for path in (folder / "own/upper").iterdir()} == {"old"}
        assert list((folder / "own/view/digits").iterdir()) == []
    finally:
        shutil.rmtree(folder)
