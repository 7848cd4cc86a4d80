"""The local launcher: the public suite, and what only processes of this machine can show."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from agent_world import is_alive, wait_until
from git_world import Repository
from seafloor.code.file_archive import open_file
from seafloor.code.git import resolve_git
from seafloor.domain.code import CodeSource
from seafloor.domain.environments import environment_digest
from seafloor.domain.errors import Conflict, NotFound, PodRejected, StoreFull
from seafloor.domain.specs import ExperimentSpec, TaskSpec
from seafloor.environments.build import EnvironmentCache
from seafloor.environments.interpreters import platform_tag
from seafloor.launch.local.agents import Agents
from seafloor.launch.local.code_mounts import CodeMounts
from seafloor.launch.local.launcher import LocalLauncher
from seafloor.launch.protocol import (
    EnvironmentLockRef,
    Launcher,
    TaskEnded,
    TaskKey,
    TaskLaunch,
    TaskLost,
    TaskPreparing,
)
from seafloor.testing.launcher_suite import (
    OUT,
    SECRET,
    LauncherSuite,
    LauncherWorld,
    Refusing,
    ended,
    launch_of,
    run_to_end,
    task_key,
    until,
)
from seafloor.testing.small_disk import small_disk
from seafloor.testing.task_receiver import Delivery, Reply, TaskReceiver

INHERITED = {
    "PATH": os.environ["PATH"],
    "HOME": "/home/someone",
    "LC_TIME": "C",
    "LANG": "C.UTF-8",
    SECRET: "must not be seen",
    "AWS_SECRET_ACCESS_KEY": "must not be seen",
    "SEAFLOOR_SERVER__TOKEN": "must not be seen",
}


@dataclass
class LocalWorld(LauncherWorld):
    """A folder."""

    root: Path = field(kw_only=True)

    @property
    def work_dir(self) -> Path:
        return self.root / "work"

    def open(self, *, mounts: bool = False) -> LocalLauncher:
        return LocalLauncher(
            work_dir=self.work_dir,
            cache_dir=self.root / "cache",
            server_file=self.root / "server.json",
            fetch_snapshot=self.fetch_snapshot,
            open_remote=open_file,
            environments=EnvironmentCache(self.root / "environments"),
            code_mounts=CodeMounts(wanted=mounts),
            inherited=INHERITED,
        )

    def attempt(self, key: TaskKey) -> Path:
        return self.work_dir / key.workload_id / str(key.attempt)

    def agent(self, key: TaskKey) -> dict[str, int]:
        return json.loads((self.attempt(key) / "tasks" / key.task / "agent.json").read_text())

    def kill_agent(self, key: TaskKey) -> None:
        pid = self.agent(key)["pid"]
        os.kill(pid, signal.SIGKILL)
        # Its lock and not its id: a thread in the middle of a sync holds the lock a little longer.
        folder = self.attempt(key) / "tasks" / key.task
        wait_until(lambda: not Agents().lives(folder), what="the agent's death")


@pytest.fixture
def launcher_world(tmp_path: Path) -> Iterator[LocalWorld]:
    for name in ("world", "world/work", "snapshots"):
        (tmp_path / name).mkdir()
    receiver = TaskReceiver(tmp_path / "world" / "server.json")
    receiver.start()
    yield LocalWorld(receiver, tmp_path / "snapshots", root=tmp_path / "world")
    receiver.stop()


class TestLocalLauncher(LauncherSuite):
    """The contract."""


@pytest.fixture
async def local(launcher_world: LocalWorld) -> AsyncIterator[LocalLauncher]:
    made = launcher_world.open()
    yield made
    await made.close()


async def printed(world: LocalWorld, launcher: Launcher, command: str | list[str]) -> str:
    """Run a command; return what it printed."""
    await run_to_end(launcher, launch_of(command))
    return world.received(task_key()).printed(OUT).decode()


async def test_start__git__command_starts_above_the_repository(
    local: LocalLauncher,
    launcher_world: LocalWorld,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\nname = Test\nemail = test@example.com\n")
    repository = Repository.create(tmp_path / "training-job")
    commit = repository.commit({"train.py": "import os; print(os.getcwd())"})
    code = await asyncio.to_thread(resolve_git, str(repository.path), ref="main")
    launch = launch_of("python training-job/train.py", code=code)
    prepared = await local.prepare(launch, progress=lambda _: None)
    assert prepared.receipt is not None
    assert prepared.receipt.commit == commit
    await local.start(launch)
    assert (await ended(local, launch.key)).ending.exit_code == 0
    where = launcher_world.received(launch.key).printed(OUT).decode()
    assert where == f"{launcher_world.attempt(launch.key) / 'code'}\n"


async def test_start__no_code__command_starts_apart_from_what_is_the_agents(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    folder = launcher_world.attempt(task_key()) / "code"
    assert await printed(launcher_world, local, "pwd") == f"{folder}\n"


async def test_start__environment__its_python_comes_first(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    digest = environment_digest(python=python, platform=platform_tag(), lock="")
    launch = launch_of(
        ["python", "-c", "import os, sys; print(sys.prefix, os.environ['VIRTUAL_ENV'])"]
    )
    reference = EnvironmentLockRef("empty@1", python, "", digest)
    launch = type(launch)(**{f: getattr(launch, f) for f in launch.__struct_fields__} | {
        "environment": reference})  # fmt: skip
    with pytest.raises(PodRejected, match="empty@1"):
        await local.start(launch)
    first = await local.prepare(launch, progress=lambda _: None)
    again = await local.prepare(launch, progress=lambda _: None)
    assert (first.environment_cached, again.environment_cached) == (False, True)
    await local.start(launch)
    assert (await ended(local, launch.key)).ending.exit_code == 0
    folder = launcher_world.root / "environments" / digest
    assert launcher_world.received(launch.key).printed(OUT).decode() == f"{folder} {folder}\n"


async def test_start__variables__few_of_the_servers_and_none_of_its_secrets(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    shown = await printed(launcher_world, local, "env")
    variables = dict(line.split("=", 1) for line in shown.splitlines())
    assert "must not be seen" not in shown
    assert variables["HOME"] == "/home/someone"
    assert variables["LC_TIME"] == "C"
    assert variables["PATH"].split(os.pathsep)[0] == str(Path(sys.executable).parent)
    assert variables["SEAFLOOR_OUTPUT_DIR"] == str(launcher_world.attempt(task_key()) / "output")
    allowed = {"PWD", "OLDPWD", "SHLVL", "_", "PATH", "VIRTUAL_ENV", "PYTHONUNBUFFERED"}
    assert {
        name
        for name in variables
        if name not in allowed and name not in INHERITED and not name.startswith("SEAFLOOR_")
    } == set()


async def test_start__folder_with_the_token__readable_by_its_owner_only(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    await run_to_end(local, launch_of("true"))
    attempt = launcher_world.attempt(task_key())
    assert attempt.stat().st_mode & 0o077 == 0
    assert (attempt / "tasks" / "main").stat().st_mode & 0o077 == 0
    assert (attempt / "tasks" / "main" / "task.json").stat().st_mode & 0o077 == 0


async def test_start__warm__command_begins_within_a_second(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    await run_to_end(local, launch_of("true", task_key(1)))
    loop = asyncio.get_running_loop()
    took_s: list[float] = []
    beside_s: list[float] = []
    for number in range(2, 7):
        begun_s = loop.time()
        await (await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")).wait()
        beside_s.append(loop.time() - begun_s)
        launch = launch_of(["date", "+%s%N"], task_key(number))
        await local.prepare(launch, progress=lambda _: None)
        begun_s = loop.time()
        await local.start(launch)
        took_s.append(loop.time() - begun_s)
        await ended(local, launch.key)
    # Usually 0.05: the machine may be busy, but not with each of them, or with all it starts.
    assert min(took_s) < max(1.0, 10 * min(beside_s)), (took_s, beside_s)


async def test_agents__ended__leave_no_zombies(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    for number in range(3):
        await run_to_end(local, launch_of("true", task_key(number)))
    pids = [launcher_world.agent(task_key(number))["pid"] for number in range(3)]

    async def gone() -> bool:
        await local.tasks()
        return not any(Path(f"/proc/{pid}").exists() for pid in pids)

    async with asyncio.timeout(60):
        while not await gone():
            await asyncio.sleep(0.02)


STARTER = """
import asyncio, os, signal, sys
from pathlib import Path
from seafloor.code.file_archive import open_file
from seafloor.environments.build import EnvironmentCache
from seafloor.launch.local.agents import Agents
from seafloor.launch.local.code_mounts import CodeMounts
from seafloor.launch.local.launcher import LocalLauncher
from seafloor.testing.launcher_suite import launch_of

async def main(root):
    launcher = LocalLauncher(
        work_dir=root / "work", cache_dir=root / "cache", server_file=root / "server.json",
        fetch_snapshot=lambda *_: None, open_remote=open_file,
        environments=EnvironmentCache(root / "environments"),
    )
    launch = launch_of("echo begun; while [ ! -e go ]; do sleep 0.05; done; echo done")
    await launcher.prepare(launch, progress=lambda _: None)
    await launcher.start(launch)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_server__killed_right_after_start__task_goes_on_and_is_found(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    started = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(STARTER), str(launcher_world.root)],
        check=False,
    )
    assert started.returncode == -signal.SIGKILL
    assert await local.tasks() == (task_key(),)
    (launcher_world.attempt(task_key()) / "code" / "go").touch()
    assert (await ended(local, task_key())).delivered
    assert launcher_world.received(task_key()).printed(OUT) == b"begun\ndone\n"


async def test_salvage__children_of_the_command_still_live__ended(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    launch = launch_of("sleep 600 & echo $!; wait")
    await local.prepare(launch, progress=lambda _: None)
    await local.start(launch)
    received = launcher_world.received(launch.key)
    await asyncio.to_thread(wait_until, lambda: received.printed(OUT), what="the child's id")
    child = int(received.printed(OUT))
    launcher_world.kill_agent(launch.key)
    assert is_alive(child)
    await local.salvage(launch.key)
    await asyncio.to_thread(wait_until, lambda: not is_alive(child), what="the child's death")


async def test_observe__machine_was_restarted__lost_and_said_so(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    launch = launch_of("echo x; exec sleep 600")
    await local.prepare(launch, progress=lambda _: None)
    await local.start(launch)
    await asyncio.to_thread(
        wait_until, lambda: launcher_world.received(launch.key).records(), what="the line"
    )
    launcher_world.kill_agent(launch.key)
    file = launcher_world.attempt(launch.key) / "tasks" / "main" / "agent.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "boot_id": "another"}))
    observed = await local.observe(launch.key)
    assert isinstance(observed, TaskLost)
    assert "restarted" in observed.reason
    file.write_bytes(b"")  # as a crash of the machine leaves a file that was not synced
    again = await local.observe(launch.key)
    assert isinstance(again, TaskLost)
    await local.salvage(launch.key)


async def test_keep__ended_and_undelivered__folder_stays_and_is_named_no_more(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    refusing = Refusing(b'"exit_code": 0', verb="end")
    launcher_world.receiver.trouble = refusing
    launch = launch_of("echo x > $SEAFLOOR_OUTPUT_DIR/model.pt")
    await local.prepare(launch, progress=lambda _: None)
    await local.start(launch)
    await until(lambda: refusing.seen, "the report")
    launcher_world.kill_agent(launch.key)
    observed = await local.observe(launch.key)
    assert isinstance(observed, TaskEnded)
    assert (observed.delivered, observed.left) == (False, True)
    words = await local.keep(launch.key)
    (model,) = launcher_world.work_dir.rglob("model.pt")
    assert words == f"; it is kept in {model.parents[1]}"
    assert await local.tasks() == ()
    await local.forget(task_key(2).workload_id)
    assert model.is_file()
    await local.forget(launch.key.workload_id)
    assert list(launcher_world.work_dir.iterdir()) == []


async def test_forget__of_a_task_that_is_not_kept__its_folder_says_that_it_may_go(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    launch = launch_of("true")
    await local.prepare(launch, progress=lambda _: None)
    assert not await local.is_forgotten(launch.key)
    await local.forget(task_key(2).workload_id)
    assert not await local.is_forgotten(launch.key)
    await local.forget(launch.key.workload_id)
    assert await local.is_forgotten(launch.key)
    assert local.whereabouts(launch.key) == str(launcher_world.attempt(launch.key))
    await local.release(launch.key)
    await local.forget(launch.key.workload_id)
    assert not await local.is_forgotten(launch.key)
    assert list(launcher_world.work_dir.iterdir()) == []


async def lost_with_code(local: LocalLauncher, world: LocalWorld, launch: TaskLaunch) -> None:
    """Have a task lost whose command wrote beside its code."""
    await local.prepare(launch, progress=lambda _: None)
    await local.start(launch)
    await asyncio.to_thread(
        wait_until, lambda: world.received(launch.key).records(), what="the line"
    )
    world.kill_agent(launch.key)
    await local.salvage(launch.key)


@pytest.mark.parametrize("shared", [True, False])
async def test_keep__with_code__what_can_be_delivered_stays_and_the_caches_are_free(
    launcher_world: LocalWorld, tmp_path: Path, *, shared: bool
) -> None:
    local = launcher_world.open(mounts=shared)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "train.py").write_text("print()")
    launch = launch_of(
        "touch $SEAFLOOR_CODE_DIR/beside; echo x > $SEAFLOOR_OUTPUT_DIR/model.pt; "
        "echo x; exec sleep 600",
        code=launcher_world.snapshot(tmp_path / "own"),
    )
    root = launcher_world.attempt(launch.key)
    await lost_with_code(local, launcher_world, launch)
    assert (root / "uses").is_dir()
    await local.keep(launch.key)
    assert {path.name for path in root.iterdir()} & {"code", "uses", "stage"} == set()
    assert (root / "output" / "model.pt").is_file()
    assert (root / "tasks" / "main" / "log.spool").is_file()
    trees = launcher_world.root / "cache" / "trees"
    in_use = [link for link in trees.glob("*/users/*") if link.exists()]
    assert in_use == []
    await local.keep(launch.key)  # may be repeated
    await local.close()


async def test_release__links_and_closed_folders__removed_and_nothing_outside(
    local: LocalLauncher, launcher_world: LocalWorld, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "tasks" / "main").mkdir(parents=True)
    (outside / "precious").write_text("x")
    await run_to_end(
        local,
        launch_of(
            f"ln -s {outside} output/link; mkdir -p closed/deep; touch closed/deep/file; "
            "chmod 0 closed/deep; chmod 500 closed"
        ),
    )
    await local.release(task_key())
    assert (outside / "precious").read_text() == "x"
    assert list(launcher_world.work_dir.iterdir()) == []
    workload = launcher_world.work_dir / task_key(2).workload_id
    workload.mkdir()
    (workload / "1").symlink_to(outside)
    await local.release(task_key(2))
    assert (outside / "tasks" / "main").is_dir()
    assert list(launcher_world.work_dir.iterdir()) == []


async def test_tasks__foreign_things_in_the_working_folder__passed_over(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    for name in ("x/1/tasks/main", f"{task_key().workload_id}/one/tasks/main", "lost+found"):
        (launcher_world.work_dir / name).mkdir(parents=True)
    (launcher_world.work_dir / "file").touch()
    assert await local.tasks() == ()


async def test_start__disk_full__says_so_and_may_be_repeated(
    launcher_world: LocalWorld, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "world" / "small", size_bytes=1 << 20) as disk:
        launcher_world.root = disk.path
        (disk.path / "server.json").symlink_to(tmp_path / "world" / "server.json")
        launcher = launcher_world.open()
        disk.fill()
        with pytest.raises(StoreFull):
            await run_to_end(launcher, launch_of("true"))
        disk.free()
        assert (await run_to_end(launcher, launch_of("true"))).ending.exit_code == 0
        await launcher.close()


class Gate:
    """A server that has not let a run's tasks in yet."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        self.is_open = False

    def __call__(self, delivery: Delivery) -> Reply | None:
        if delivery.method != "GET":
            return None
        self.asked.add(delivery.path.split("/")[-2])
        return None if self.is_open else (200, {"state": "waiting"})


def gang_of(command: str, *, code: CodeSource | None = None) -> tuple[TaskLaunch, list[TaskKey]]:
    """A launch of two tasks, and their keys."""
    launch = launch_of("", code=code)
    spec = ExperimentSpec(name="gang", tasks={"worker": TaskSpec(replicas=2, command=command)})
    launch = msgspec.structs.replace(launch, spec=spec)
    keys = [msgspec.structs.replace(launch.key, task=f"worker-{index}") for index in (0, 1)]
    return launch, keys


async def test_start__several_tasks__each_has_its_own_code_and_begins_when_all_were_let_in(
    local: LocalLauncher, launcher_world: LocalWorld, tmp_path: Path
) -> None:
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "name").write_text("nobody")
    code = launcher_world.snapshot(tmp_path / "job")
    launch, keys = gang_of(
        "echo $SEAFLOOR_TASK | tee name > $SEAFLOOR_OUTPUT_DIR/who; cat name; "
        "echo > $SEAFLOOR_EVENTS_DIR/x.tfevents.1",
        code=code,
    )
    launcher_world.receiver.trouble = gate = Gate()
    said: list[str] = []
    prepared = await local.prepare(launch, progress=said.append)
    assert prepared.receipt is not None
    assert prepared.receipt.sha256 == code.sha256
    assert len(set(said)) == len(said), "what is done again from the cache is not said again"
    await local.start(launch)
    await until(lambda: len(gate.asked) == 2, "both to ask")
    assert [await local.observe(key) for key in keys] == [
        TaskPreparing("The command is about to be started.")
    ] * 2
    # A server that is away lets nobody in, and one that was started anew starts nobody again.
    launcher_world.receiver.stop()
    again = launcher_world.open()
    await again.start(launch)
    launcher_world.receiver.start()
    gate.is_open = True
    received = launcher_world.received(launch.key)
    for key in keys:
        await ended(again, key)
        assert received.printed(OUT, key.task).decode() == f"{key.task}\n"
    assert received.artifacts == {f"{key.task}/who": f"{key.task}\n".encode() for key in keys}
    assert set(received.events) == {f"{key.task}/x.tfevents.1" for key in keys}
    assert len(received.starts) == len(received.ends) == 2
    for start in received.starts:
        assert start["receipts"]["job"]["sha256"] == code.sha256
    assert set(await again.tasks()) == set(keys)
    await asyncio.gather(*(again.release(key) for key in keys))
    assert await again.tasks() == ()
    assert not launcher_world.attempt(launch.key).exists()
    await again.close()


async def test_stop__task_that_waits_for_others__ends_without_its_command(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    launch, keys = gang_of("echo ran")
    launcher_world.receiver.trouble = gate = Gate()
    await local.prepare(launch, progress=lambda _: None)
    await local.start(launch)
    await until(lambda: len(gate.asked) == 2, "both to ask")
    for key in keys:
        await local.stop(key)
    for key in keys:
        observed = await ended(local, key)
        assert observed.ending.reason == "Stopped before its command was started."
    received = launcher_world.received(launch.key)
    assert received.starts == []
    assert [received.printed(OUT, key.task) for key in keys] == [b"", b""]


async def test_release__one_of_several__leaves_the_others(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    launch, (first, second) = gang_of("[ $RANK = 0 ] || exec sleep 600")
    await local.prepare(launch, progress=lambda _: None)
    await local.start(launch)
    await ended(local, first)
    await local.release(first)
    assert await local.tasks() == (second,)
    with pytest.raises(Conflict):
        await local.release(second)
    await local.stop(second)
    await ended(local, second)
    await local.release(second)
    assert not launcher_world.attempt(launch.key).exists()


async def test_start__roles_with_environments__each_has_its_own(
    local: LocalLauncher, launcher_world: LocalWorld
) -> None:
    python = ".".join(map(str, sys.version_info[:3]))
    digest = environment_digest(python=python, platform=platform_tag(), lock="")
    command = 'echo "$VIRTUAL_ENV"'
    tasks = {
        "plain": TaskSpec(command=command),
        "special": TaskSpec(command=command, environment="empty@1"),
    }
    plain = launch_of("")
    launch = msgspec.structs.replace(plain, spec=ExperimentSpec(name="gang", tasks=tasks))
    with pytest.raises(NotFound, match="empty@1"):
        await local.prepare(launch, progress=lambda _: None)
    known = {"empty@1": EnvironmentLockRef("empty@1", python, "", digest)}
    launch = msgspec.structs.replace(launch, role_environments=known)
    with pytest.raises(PodRejected, match="empty@1"):
        await local.start(launch)
    first = await local.prepare(launch, progress=lambda _: None)
    again = await local.prepare(launch, progress=lambda _: None)
    assert (first.environment_cached, again.environment_cached) == (False, True)
    await local.start(launch)
    received = launcher_world.received(launch.key)
    for task, folder in (
        ("plain-0", sys.prefix),
        ("special-0", str(launcher_world.root / "environments" / digest)),
    ):
        await ended(local, msgspec.structs.replace(launch.key, task=task))
        assert received.printed(OUT, task).decode() == f"{folder}\n"
