"""Volumes at absolute paths for one command, and for nobody else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent_world import AgentTask
from seafloor.agent import code_mount
from seafloor.agent.records import OUT
from seafloor.launch.local.code_mounts import CodeMounts

STRANGER = 65534
"""Who has no rights here; tests run as root where they can."""

VARIABLE = "SEAFLOOR_VOLUME_TEAM_DATA"


@pytest.fixture
def mounted(agent_task: AgentTask) -> dict[str, str]:
    """What a launcher writes into ``task.json`` of code."""
    if not CodeMounts(wanted=True).work():
        pytest.skip("this machine allows no mount namespaces; lifted where it does")
    source, stage = agent_task.folder / "code", agent_task.folder / "stage"
    source.mkdir()
    (source / "train.py").write_text("print('trained')\n")
    stage.mkdir()
    return {"source": str(source), "stage": str(stage)}


def volume_of(agent_task: AgentTask, *, path: str, read_only: bool = False) -> dict[str, object]:
    """A volume with one file, as a launcher writes it into ``task.json``."""
    source = agent_task.folder / "volume"
    source.mkdir(exist_ok=True)
    (source / "data").write_text("kept\n")
    return {"source": str(source), "path": path, "read_only": read_only, "variable": VARIABLE}


@pytest.mark.parametrize("with_code", [False, True])
@pytest.mark.parametrize("read_only", [False, True])
def test_exec__with_a_volume__sees_it_at_its_path(
    agent_task: AgentTask,
    mounted: dict[str, str],
    tmp_path: Path,
    *,
    read_only: bool,
    with_code: bool,
) -> None:
    path = f"{tmp_path}/at/team"
    volume = volume_of(agent_task, path=path, read_only=read_only)
    said = f'cat "${VARIABLE}/data"; ls /code; echo ${VARIABLE}; echo new > {path}/new'

    ending = agent_task.run(
        said,
        code_mount=mounted if with_code else None,
        volumes=[volume],
        stage=mounted["stage"],
    )["ending"]

    code = ["train.py"] if with_code else []
    assert agent_task.received.printed(OUT).decode().splitlines() == ["kept", *code, path]
    assert (ending["exit_code"] == 0) is not read_only
    assert (agent_task.folder / "volume/new").exists() is not read_only
    assert list(Path(path).iterdir()) == []


def test_exec__volume_whose_path_is_taken__has_it_where_its_variable_says(
    agent_task: AgentTask, mounted: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/mine").touch()
    volume = volume_of(agent_task, path=f"{tmp_path}/taken", read_only=True)

    ending = agent_task.run(
        f'cat "${VARIABLE}/data"; ls /code',
        code_mount=mounted,
        volumes=[volume],
        stage=mounted["stage"],
    )["ending"]

    assert ending["exit_code"] == 0
    assert agent_task.received.printed(OUT).decode().split() == ["kept", "train.py"]
    (said,) = agent_task.received.said()
    assert said == (
        f"{tmp_path}/taken cannot be had here (Directory not empty): use "
        f"${VARIABLE}, where nothing keeps it from being written to."
    )


def test_problem__of_a_path__is_what_a_command_would_meet(
    mounted: dict[str, str], tmp_path: Path
) -> None:
    assert mounted
    assert CodeMounts(wanted=True).problem([f"{tmp_path}/free", f"{tmp_path}/other"]) == ""
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/mine").touch()
    assert "not empty" in CodeMounts(wanted=True).problem([f"{tmp_path}/taken"])
    assert CodeMounts(wanted=False).problem([f"{tmp_path}/free"])


@pytest.mark.skipif(os.getuid() != 0, reason="only root becomes somebody else; lifted for root")
def test_enter__by_an_ordinary_user__needs_no_right_and_gives_none() -> None:
    python = shutil.which("python3", path="/usr/bin") or sys.executable
    folder = Path(f"/tmp/seafloor-volumes-{os.getpid()}")
    folder.mkdir()
    try:
        shutil.copy(code_mount.__file__, folder / "code_mount.py")
        for name in ("stage", "volume"):
            (folder / name).mkdir()
        (folder / "volume/data").write_text("kept")
        os.chown(folder / "volume", STRANGER, STRANGER)
        script = (
            "import os, sys; sys.path.insert(0, sys.argv[1])\n"
            "from code_mount import CodeMount, VolumeMount\n"
            "at = sys.argv[1]\n"
            "volumes = [VolumeMount(at + '/volume', '/seafloor-volume-of-a-stranger'),\n"
            "  VolumeMount(at + '/volume', '/srv/seafloor-test/deep', read_only=True)]\n"
            "CodeMount({'stage': at + '/stage'}, volumes).enter()\n"
            "os.execvp('sh', ['sh', '-c', sys.argv[2]])\n"
        )
        said = (
            "cat /srv/seafloor-test/deep/data; grep CapEff /proc/self/status; "
            "touch /seafloor-volume-of-a-stranger/new; ls -d /etc /usr/bin; "
            "touch /srv/seafloor-test/deep/no; touch /srv/no; touch /no; ls /root"
        )
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
        told = ["keptCapEff:", "0" * 16, "/etc", "/usr/bin"]
        assert ended.stdout.split() == told, ended
        assert "Permission denied" in ended.stderr
        assert ended.stderr.count("Read-only file system") == 3
        assert (folder / "volume/new").stat().st_uid == STRANGER
        assert not Path("/srv/seafloor-test").exists()
    finally:
        shutil.rmtree(folder)
