"""Commands that close their own folders, as everybody but root can to himself."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from client_process import Client
from import_world import WITHOUT_RIGHTS
from live_server import wait_for

CLOSE = (
    'echo x > "$SEAFLOOR_OUTPUT_DIR/kept"; own=$(dirname "$SEAFLOOR_OUTPUT_DIR"); '
    'chmod 0 "$own/tasks/main" "$own/tasks" "$own/client" "$own" "$(dirname "$own")"; '
)


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A user without the rights of root, and his server."""
    root = tmp_path_factory.mktemp("closed")
    (root / "project").mkdir()
    user = Client(root / "home")
    up = [*WITHOUT_RIGHTS, sys.executable, "-m", "seafloor.cli", "up", "--detach", "--port", "0"]
    subprocess.run(up, env=user.environment, check=True, capture_output=True, cwd=root)
    yield user
    user.cli("down")


def run(user: Client, command: str) -> subprocess.CompletedProcess[str]:
    return user.cli("run", "--", "sh", "-c", command, cwd=user.home.parent / "project")


@pytest.mark.parametrize("code", [0, 5])
def test_run__closes_its_folders__verdict_and_output_are_kept_and_its_folder_goes(
    user: Client, code: int
) -> None:
    done = run(user, f"{CLOSE} echo done; exit {code}")
    assert (done.returncode, done.stdout) == (code, "done\n"), done
    shown = user.json("runs", "show", "@last")["run"]
    listed = user.json("artifacts", "list", shown["id"])["items"]
    assert [file["path"] for file in listed] == ["kept"]
    folder = user.home / "data" / "work" / shown["id"]
    wait_for(lambda: not folder.exists(), what="the folder to be removed")


def test_run__removes_its_folder__what_is_left_of_it_goes_too(user: Client) -> None:
    """Its code stayed for ever: without the folder of its task nobody looked at the attempt."""
    done = run(user, 'rm -rf "$(dirname "$SEAFLOOR_OUTPUT_DIR")/tasks"; echo done')
    # Its agent tells how it ended, unless the server sees first that the folder is gone.
    assert done.returncode in (0, 121), done
    shown = user.json("runs", "show", "@last")["run"]
    folder = user.home / "data" / "work" / shown["id"]
    wait_for(lambda: not folder.exists(), what="the folder to be removed")


def test_run__nobody_can_say_how_it_fares__the_others_go_on(user: Client) -> None:
    """One such run stopped the server: nothing was started, ended or stopped any more."""
    harm = (
        'cd "$(dirname "$SEAFLOOR_OUTPUT_DIR")/tasks/main"; mv agent.lock away; '
        "ln -s agent.lock agent.lock; "  # it leads nowhere, also for root
        'until [ -e "$0" ]; do sleep 0.1; done; mv -fT away agent.lock'
    )
    free = user.home.parent / "free"
    command = ("sh", "-c", harm, str(free))
    project = user.home.parent / "project"
    begun = user.cli("run", "--detach", "--", *command, cwd=project)
    assert begun.returncode == 0, begun
    harmful = user.json("runs", "show", "@last")["run"]["id"]
    log = user.home / "data" / "server.log"
    wait_for(lambda: "Looking at a task" in log.read_text(), what="the server to stumble")
    done = run(user, "echo well")
    assert (done.returncode, done.stdout) == (0, "well\n"), done
    free.touch()
    wait_for(lambda: state_of(user, harmful) == "succeeded", what="the run to end")


def state_of(user: Client, run_id: str) -> str:
    return str(json.loads(user.cli("--json", "runs", "show", run_id).stdout)["run"]["state"])
