"""The image: as server, as what fetches code, and as the agent of a task.

It is built here as ``deploy/Dockerfile`` says; every container has a user that nobody knows of, no
capability, and a root file system that cannot be written to.
"""

from __future__ import annotations

import json
import os
import random
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name
from tests.services._debian_image import IMAGE as DEBIAN
from tests.services._podman import Podman
from tests.services._seafloor_image import ROOT, seafloor_image
from tests.services._service import Missing, free_port

from agent_world import AgentTask, wait_until
from git_world import Repository, git
from missing import skip_missing
from seafloor.testing.task_receiver import TaskReceiver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

TOKEN = "a-token-of-the-test"

_LOOK = """
import os, pathlib, importlib.util
for name in ("tools", "build", "wheel", "package", "root/.cache", "etc/pip.conf", "run/secrets"):
    if os.path.exists(f"/{name}"):
        print(f"/{name} is left")
for folder in ("data", "code", "var/lib/apt/lists", "var/cache/apt"):
    for path in pathlib.Path("/", folder).rglob("*"):
        if path.is_file():
            print(f"{path} is left")
for path in pathlib.Path("/opt/seafloor").rglob("*"):
    if path.suffix == ".py" and not os.path.exists(importlib.util.cache_from_source(path)):
        print(f"{path} has no bytecode")
    if not path.is_symlink() and path.stat().st_mode & 0o022:
        print(f"{path} can be written to")
"""


@dataclass(frozen=True)
class Image:
    """The image, and a user for this test.

    Args:
        podman: What runs it.
        name: Of the image.
        user: An id that no list of users has.
    """

    podman: Podman
    name: str
    user: int

    def options(self, *more: str) -> list[str]:
        """What every container of the tests gets."""
        return [
            f"--user={self.user}:{self.user}",
            "--read-only",
            "--read-only-tmpfs=false",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            *more,
        ]

    def once(self, *command: str, options: tuple[str, ...] = (), image: str = "") -> str:
        """Run a container to its end; give what it printed."""
        done = self.podman.run("run", "--rm", *self.options(*options), image or self.name, *command)
        return done.stdout


@pytest.fixture(scope="module")
def built() -> tuple[Podman, str]:
    try:
        return seafloor_image()
    except Missing as error:
        skip_missing("the image of Seafloor", error)


@pytest.fixture
def image(built: tuple[Podman, str]) -> Image:
    podman, name = built
    user = random.SystemRandom().randint(100_000, 900_000)
    print(f"user {user}")
    return Image(podman, name, user)


@pytest.fixture
def open_folder(tmp_path: Path) -> Path:
    """A folder that any user may write to and whose parents any user may enter."""
    folder = tmp_path / "open"
    folder.mkdir()
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == os.geteuid() and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def receiver(open_folder: Path) -> Iterator[TaskReceiver]:
    made = TaskReceiver(open_folder / "server.json")
    made.start()
    yield made
    made.stop()


class Server:
    """A container of the image that is a server with a volume."""

    def __init__(self, image: Image, volume: str, name: str) -> None:
        self._image, self._volume, self._name = image, volume, name
        self._port = free_port()

    def start(self) -> None:
        """Start it and wait until it is well."""
        self._image.podman.run(
            "run",
            "--detach",
            "--replace",
            f"--name={self._name}",
            *self._image.options(
                "--network=host", "--tmpfs=/tmp", f"--volume={self._volume}:/data"
            ),
            f"--env=SEAFLOOR_SERVER__PORT={self._port}",
            f"--env=SEAFLOOR_SERVER__TOKEN={TOKEN}",
            f"--env=SEAFLOOR_TOKEN={TOKEN}",
            self._image.name,
        )
        wait_until(self._answers, timeout_s=120, what="the server in its container")

    def _answers(self) -> bool:
        state = self._image.podman.run("inspect", "--format={{.State.Running}}", self._name).stdout
        assert state.strip() == "true", self._image.podman.run("logs", self._name).stdout[-3000:]
        try:
            return self.get("/health")["status"] == "ok"
        except (ConnectionError, urllib.error.URLError):
            return False

    def get(self, path: str) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}{path}", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def command(self, *command: str) -> str:
        """Run a command in it."""
        return self._image.podman.run("exec", "--workdir=/tmp/code", self._name, *command).stdout

    def shell(self, script: str) -> str:
        return self._image.podman.run("exec", self._name, "sh", "-ec", script).stdout

    def stop(self) -> int:
        """Tell it to stop; give its exit code."""
        self._image.podman.run("stop", "--time=60", self._name)
        shown = self._image.podman.run("inspect", "--format={{.State.ExitCode}}", self._name)
        return int(shown.stdout)


@pytest.fixture
def server(image: Image) -> Iterator[Server]:
    name = f"seafloor-test-{image.user}"
    try:
        yield Server(image, name, name)
    finally:
        image.podman.run("rm", "--force", "--time=0", name, check=False)
        image.podman.run("volume", "rm", "--force", name, check=False)


def test_server__a_random_user_and_a_read_only_root__runs_a_run_and_keeps_it(
    server: Server,
) -> None:
    server.start()
    server.shell("mkdir /tmp/code && echo 'print(6 * 7)' > /tmp/code/train.py")
    printed = server.command("seafloor", "run", "--experiment=digits", "--", "python", "train.py")
    assert "42" in printed.splitlines()
    # As an administrator asks in a server's pod, with what the server itself has.
    said = server.shell("env -u SEAFLOOR_TOKEN seafloor doctor")
    assert re.search(r"^ok +reachable ", said, re.MULTILINE), said
    assert server.stop() == 0

    server.start()  # another container on the same volume
    (run,) = server.get("/api/v1/runs")["items"]
    assert run["state"] == "succeeded"


def test_localize__a_repository_in_a_volume__is_checked_out_with_its_receipt(
    image: Image, open_folder: Path
) -> None:
    repository = Repository.create(open_folder / "digits")
    commit = repository.commit({"train.py": "print(1)\n", "sub/data.txt": "x\n"})
    git(repository.path, "tag", "v1")
    for path in (repository.path, *repository.path.rglob("*")):
        os.chown(path, image.user, image.user)  # git reads no repository of another user
    code = open_folder / "code"
    code.mkdir()
    code.chmod(0o777)

    printed = image.once(
        "localize",
        "git+file:///repositories/digits@v1",
        "--to=/code",
        "--cache=/code/.cache",
        "--json",
        options=(
            "--network=none",
            f"--volume={open_folder}:/repositories:ro",
            f"--volume={code}:/code",
        ),
    )

    assert json.loads(printed)["receipt"]["commit"] == commit
    assert (code / "digits/train.py").read_text() == "print(1)\n"
    assert (code / "digits").stat().st_uid == image.user
    assert json.loads((code / ".receipt.json").read_text())["commit"] == commit


def test_agent__put_into_a_volume_by_the_image__runs_a_task_in_another_image(
    image: Image, open_folder: Path, receiver: TaskReceiver
) -> None:
    task = AgentTask(open_folder / "attempt", Path(), receiver, open_folder / "server.json")
    for folder in (task.folder, *task.folder.rglob("*")):
        folder.chmod(0o777)
    task.write(["python3", "-c", "print(6 * 7)"], env={"PATH": "/usr/bin:/bin"})
    mount = f"--volume={open_folder}:{open_folder}"
    pyz = image.once(
        "-c",
        "import sys, pathlib; from seafloor.agent.bundle import build_agent; "
        "print(build_agent(pathlib.Path(sys.argv[1])))",
        str(open_folder / "agent"),
        options=("--network=none", mount, "--entrypoint=python"),
    ).strip()

    image.once(
        *("python3", "-I", "-S", pyz, "exec", "--task-dir", str(task.task_dir)),
        options=("--network=host", "--tmpfs=/tmp", mount),
        image=DEBIAN,
    )

    assert task.end["ending"]["exit_code"] == 0
    assert task.received.printed(0) == b"42\n"


def test_image__of_these_sources__holds_no_traces_of_the_build_and_all_bytecode(
    image: Image,
) -> None:
    found = image.once(
        "-c", _LOOK, options=("--network=none", "--entrypoint=/opt/seafloor/bin/python")
    )
    assert found.splitlines() == []


def test_image__its_packages__are_those_of_the_lock_file(image: Image) -> None:
    list_all = (
        "import importlib.metadata, json; "
        "print(json.dumps([(one.name, one.version) for one in importlib.metadata.distributions()]))"
    )
    python = "--entrypoint=/opt/seafloor/bin/python"
    listed = json.loads(image.once("-c", list_all, options=("--network=none", python)))
    found = {canonicalize_name(name): version for name, version in listed}
    assert found.pop(canonicalize_name("seafloor"))
    lock = (ROOT / "deploy/requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)==(\S+)", lock, re.MULTILINE)
    assert found == {canonicalize_name(name): version for name, version in pins}


def test_image__its_configuration__names_a_user_by_number_and_the_source(image: Image) -> None:
    (shown,) = json.loads(image.podman.run("image", "inspect", image.name).stdout)
    config = shown["Config"]
    assert config["Entrypoint"] == ["seafloor"]
    assert config["User"].partition(":")[0].isdecimal()
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    variables = " ".join(config["Env"])
    assert "TOKEN" not in variables
    assert "http" not in variables
