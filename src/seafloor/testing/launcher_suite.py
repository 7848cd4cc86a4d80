"""What every launcher must do. Subclass ``LauncherSuite`` and give a ``launcher_world``.

Tasks are real, and so is what they deliver: a ``TaskReceiver`` stands for the server.
"""

from __future__ import annotations

import asyncio
import io
import tarfile
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from seafloor.code.snapshot import take_snapshot
from seafloor.domain.code import CodeSource, SnapshotCode
from seafloor.domain.errors import Conflict, InvalidValue, NotFound, SourceError
from seafloor.domain.ids import Sha256, WorkloadId, workload_id_from_parts
from seafloor.launch.protocol import (
    Launcher,
    TaskAbsent,
    TaskAlive,
    TaskEnded,
    TaskKey,
    TaskLaunch,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)
from seafloor.testing.task_receiver import Delivery, Received, Reply, TaskReceiver

WAIT_S = 60.0
SECRET = "SEAFLOOR_TEST_SECRET"  # noqa: S105  # the name of one
OUT, ERR = 0, 1


def task_key(number: int = 1, *, attempt: int = 1) -> TaskKey:
    """A key; equal numbers give equal keys."""
    bits = {"time_ms": 1_750_000_000_000 + number, "random_bits": number}
    return TaskKey(WorkloadId(workload_id_from_parts(**bits)), attempt)


def launch_of(
    command: str | list[str],
    key: TaskKey | None = None,
    *,
    code: CodeSource | None = None,
    env: Mapping[str, str] | None = None,
    grace_s: float = 5.0,
) -> TaskLaunch:
    """A launch of a command, without limits."""
    key = key or task_key()
    return TaskLaunch(
        key=key,
        api_path=f"/api/v1/runs/{key.workload_id}",
        command=command,
        code=code,
        environment=None,
        env=dict(env or {}),
        grace_s=grace_s,
    )


@dataclass
class LauncherWorld(ABC):
    """A place where tasks run, and a server for them.

    Args:
        receiver: Takes what tasks deliver.
        snapshots: Where ``fetch_snapshot`` finds archives.
    """

    receiver: TaskReceiver
    snapshots: Path
    said: list[str] = field(default_factory=list[str])

    @abstractmethod
    def open(self) -> Launcher:
        """Make a launcher on the state there is; called again, it is that of a restarted server.

        The server's own variables must have SECRET among them.
        """

    @abstractmethod
    def kill_agent(self, key: TaskKey) -> None:
        """Make a task's agent disappear without a word; return when it has."""

    def fetch_snapshot(self, sha256: Sha256, target: Path) -> None:
        """What the launcher is given."""
        source = self.snapshots / sha256
        if not source.exists():
            raise NotFound("There is no such snapshot.")
        target.write_bytes(source.read_bytes())

    def snapshot(self, folder: Path, *, subfolder: str = "") -> SnapshotCode:
        """Keep a folder as a snapshot."""
        archive = self.snapshots / "new"
        code = take_snapshot(folder / subfolder, archive)
        archive.rename(self.snapshots / code.sha256)
        return code

    def received(self, key: TaskKey) -> Received:
        """What arrived for a run."""
        return self.receiver.run(key.workload_id)


class Refusing:
    """A server that has no room for deliveries with some bytes in them.

    Args:
        marker: The bytes.
        verb: What is delivered so: the same digits may stand in the times of other reports.
    """

    def __init__(self, marker: bytes, *, verb: Literal["logs", "end"]) -> None:
        self._marker = marker
        self._verb = verb
        self.seen = False

    def __call__(self, delivery: Delivery) -> Reply | None:
        """Refuse for now."""
        if not delivery.path.endswith(f"/{self._verb}") or self._marker not in delivery.body:
            return None
        self.seen = True
        return 503, {"code": "store_unavailable", "message": "Later."}


async def run_to_end(launcher: Launcher, launch: TaskLaunch) -> TaskEnded:
    """Prepare, start, and wait for the end."""
    await launcher.prepare(launch, progress=lambda _: None)
    await launcher.start(launch)
    return await ended(launcher, launch.key)


async def ended(launcher: Launcher, key: TaskKey) -> TaskEnded:
    """Wait until a task has ended."""
    observed = await observed_as(launcher, key, TaskEnded)
    assert isinstance(observed, TaskEnded)
    return observed


async def observed_as(
    launcher: Launcher, key: TaskKey, kind: type[TaskObservation]
) -> TaskObservation:
    """Wait until a task is seen as something."""
    deadline_s = time.monotonic() + WAIT_S
    while True:
        observed = await launcher.observe(key)
        if isinstance(observed, kind):
            return observed
        assert isinstance(observed, TaskAlive | TaskPreparing), observed
        assert time.monotonic() < deadline_s, f"waited {WAIT_S} s for {kind}"
        await asyncio.sleep(0.02)


async def until(look: Callable[[], object], what: str) -> None:
    """Wait until something is so."""
    deadline_s = time.monotonic() + WAIT_S
    while not look():
        assert time.monotonic() < deadline_s, f"waited {WAIT_S} s for {what}"
        await asyncio.sleep(0.02)


class LauncherSuite:
    """The contract of ``launch.protocol``.

    A subclass gives a fixture ``launcher_world`` with a fresh ``LauncherWorld``.
    """

    @pytest.fixture
    async def launcher(self, launcher_world: LauncherWorld) -> AsyncIterator[Launcher]:
        """A launcher, closed after the test with nothing of it left."""
        made = launcher_world.open()
        yield made
        for key in await made.tasks():
            if isinstance(await made.observe(key), TaskAlive):
                await made.stop(key)
                await until_gone(made, key)
            await made.release(key)
        await made.close()
        assert await made.tasks() == ()

    async def test_observe__never_prepared__absent(self, launcher: Launcher) -> None:
        assert await launcher.observe(task_key()) == TaskAbsent()
        assert await launcher.tasks() == ()

    async def test_prepare__no_code_no_environment__nothing_to_prove(
        self, launcher: Launcher
    ) -> None:
        prepared = await launcher.prepare(launch_of("true"), progress=lambda _: None)
        assert prepared.receipt is None
        assert prepared.environment_cached is None
        assert await launcher.observe(task_key()) == TaskAbsent()
        assert await launcher.tasks() == (task_key(),)

    async def test_start__command__runs_and_is_delivered(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        observed = await run_to_end(launcher, launch_of("echo out; echo err >&2; exit 3"))
        assert observed.ending.exit_code == 3
        assert observed.delivered
        received = launcher_world.received(task_key())
        assert received.printed(OUT) == b"out\n"
        assert received.printed(ERR) == b"err\n"
        assert len(received.starts) == len(received.ends) == 1
        assert received.ends[0]["ending"]["exit_code"] == 3

    async def test_start__arguments__no_shell_reads_them(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        await run_to_end(launcher, launch_of(["echo", "$HOME", "a  b", "*", "ü"]))
        assert launcher_world.received(task_key()).printed(OUT) == "$HOME a  b * ü\n".encode()

    async def test_start__program_does_not_exist__ended_with_127_and_a_reason(
        self, launcher: Launcher
    ) -> None:
        observed = await run_to_end(launcher, launch_of(["no-such-program"]))
        assert observed.ending.exit_code == 127
        assert "no-such-program" in observed.ending.reason

    async def test_start__again__left_alone(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        launch = launch_of("echo once; while [ ! -e $SEAFLOOR_OUTPUT_DIR/x ]; do touch "
                           "$SEAFLOOR_OUTPUT_DIR/x; done")  # fmt: skip
        await launcher.prepare(launch, progress=lambda _: None)
        await asyncio.gather(*(launcher.start(launch) for _ in range(5)))
        await ended(launcher, launch.key)
        await launcher.start(launch)
        assert isinstance(await launcher.observe(launch.key), TaskEnded)
        assert launcher_world.received(task_key()).printed(OUT) == b"once\n"

    async def test_observe__while_it_runs__alive_also_to_a_restarted_server(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        launch = launch_of("echo ready; exec sleep 600")
        await launcher.prepare(launch, progress=lambda _: None)
        await launcher.start(launch)
        assert await launcher.observe(launch.key) == TaskAlive()
        await launcher.close()
        again = launcher_world.open()
        assert await again.tasks() == (launch.key,)
        assert await again.observe(launch.key) == TaskAlive()
        await again.start(launch)
        received = launcher_world.received(launch.key)
        await until(lambda: received.printed(OUT) == b"ready\n", "the line")
        await again.stop(launch.key)
        observed = await ended(again, launch.key)
        assert observed.ending.signal == "SIGTERM"
        assert received.printed(OUT) == b"ready\n"
        await again.close()

    async def test_stop__ignored_sigterm__killed_after_the_grace(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        launch = launch_of("trap '' TERM; echo ready; while :; do sleep 0.1; done", grace_s=0.5)
        await launcher.prepare(launch, progress=lambda _: None)
        await launcher.start(launch)
        # A shell that did not get to its trap yet would end by the first signal.
        received = launcher_world.received(launch.key)
        await until(lambda: received.printed(OUT) == b"ready\n", "the trap")
        begun_s = time.monotonic()
        await launcher.stop(launch.key)
        assert time.monotonic() - begun_s < 5.0
        await launcher.stop(launch.key)
        observed = await ended(launcher, launch.key)
        assert observed.ending.signal == "SIGKILL"
        assert observed.ending.reason.startswith("Stopped")

    async def test_stop__unknown_task__nothing(self, launcher: Launcher) -> None:
        await launcher.stop(task_key(99))
        assert await launcher.observe(task_key(99)) == TaskAbsent()

    async def test_start__events_and_outputs__delivered(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        await run_to_end(
            launcher,
            launch_of(
                "echo model > $SEAFLOOR_OUTPUT_DIR/m.bin; "
                "echo event > $SEAFLOOR_EVENTS_DIR/x.tfevents.1"
            ),
        )
        received = launcher_world.received(task_key())
        assert received.artifacts == {"m.bin": b"model\n"}
        assert received.events == {"x.tfevents.1": bytearray(b"event\n")}

    async def test_start__variables__those_of_the_launch_and_no_secret_of_the_server(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        await run_to_end(launcher, launch_of("env", env={"MINE": "Ünïcödé $HOME", "EMPTY": ""}))
        shown = launcher_world.received(task_key()).printed(OUT).decode()
        variables = dict(line.split("=", 1) for line in shown.splitlines())
        assert variables["MINE"] == "Ünïcödé $HOME"
        assert variables["EMPTY"] == ""
        assert variables["SEAFLOOR_CODE_DIR"]
        assert SECRET not in variables

    async def test_start__no_environment__there_is_a_python(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        await run_to_end(launcher, launch_of(["python", "-c", "print('hello')"]))
        assert launcher_world.received(task_key()).printed(OUT) == b"hello\n"

    async def test_prepare__snapshot__localised_and_command_starts_in_its_folder(
        self, launcher: Launcher, launcher_world: LauncherWorld, tmp_path: Path
    ) -> None:
        folder = tmp_path / "Täglich"
        (folder / "deep").mkdir(parents=True)
        (folder / "deep" / "train.py").write_text("print('trained')")
        code = launcher_world.snapshot(folder, subfolder="deep")
        launch = launch_of(["python", "train.py"], code=code)
        said: list[str] = []
        prepared = await launcher.prepare(launch, progress=said.append)
        assert prepared.receipt is not None
        assert prepared.receipt.sha256 == code.sha256
        assert prepared.duration_s > 0
        assert said
        again = await launcher.prepare(launch, progress=said.append)
        assert again.receipt == prepared.receipt
        await launcher.start(launch)
        assert (await ended(launcher, launch.key)).ending.exit_code == 0
        assert launcher_world.received(launch.key).printed(OUT) == b"trained\n"

    async def test_prepare__code_cannot_be_had__error_and_nothing_started(
        self, launcher: Launcher
    ) -> None:
        missing = SnapshotCode(sha256=Sha256("0" * 64), size_bytes=1, folder="gone")
        with pytest.raises((SourceError, NotFound)):
            await launcher.prepare(launch_of("true", code=missing), progress=lambda _: None)
        assert await launcher.observe(task_key()) == TaskAbsent()

    async def test_prepare__archive_that_escapes__refused(
        self, launcher: Launcher, launcher_world: LauncherWorld, tmp_path: Path
    ) -> None:
        code = _archive_with(launcher_world, "../escaped")
        with pytest.raises((SourceError, InvalidValue)):
            await launcher.prepare(launch_of("true", code=code), progress=lambda _: None)
        assert not list(tmp_path.rglob("escaped"))  # noqa: ASYNC240  # a test may block

    async def test_prepare__cancelled__may_be_repeated(
        self, launcher: Launcher, launcher_world: LauncherWorld, tmp_path: Path
    ) -> None:
        folder = tmp_path / "code"
        folder.mkdir()
        for number in range(300):
            (folder / f"file{number}").write_text(str(number))
        launch = launch_of("ls | wc -l", code=launcher_world.snapshot(folder))
        for delay_s in (0.0, 0.005, 0.02):
            task = asyncio.create_task(launcher.prepare(launch, progress=lambda _: None))
            await asyncio.sleep(delay_s)  # the moment is the point
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        await run_to_end(launcher, launch)
        assert launcher_world.received(launch.key).printed(OUT).strip() == b"300"

    async def test_killed_agent__lost_with_what_is_known__and_salvaged(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        launch = launch_of("echo one; echo two >&2; exec sleep 600")
        await launcher.prepare(launch, progress=lambda _: None)
        await launcher.start(launch)
        received = launcher_world.received(launch.key)
        await until(lambda: len(received.records()) == 2, "the lines")
        launcher_world.kill_agent(launch.key)
        observed = await launcher.observe(launch.key)
        assert isinstance(observed, TaskLost)
        assert observed.lines == 2
        # What the agent did not live to hear of counts as undelivered.
        assert observed.undelivered_bytes in (0, len(received.logs["main"]))
        assert observed.reason
        await asyncio.gather(launcher.salvage(launch.key), launcher.salvage(launch.key))
        assert len(received.said()) == 1
        assert received.ends == []
        assert isinstance(await launcher.observe(launch.key), TaskLost)
        await launcher.start(launch)
        assert isinstance(await launcher.observe(launch.key), TaskLost)

    async def test_killed_agent__log_was_not_taken__undelivered_is_counted_then_salvaged(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        refusing = Refusing(b"1000", verb="logs")
        launcher_world.receiver.trouble = refusing
        launch = launch_of("seq 1 1000; exec sleep 600")
        await launcher.prepare(launch, progress=lambda _: None)
        await launcher.start(launch)
        await until(lambda: refusing.seen, "the last line")
        launcher_world.kill_agent(launch.key)
        observed = await launcher.observe(launch.key)
        assert isinstance(observed, TaskLost)
        assert observed.lines == 1000
        assert observed.undelivered_bytes > 28 * 1000
        launcher_world.receiver.trouble = lambda _: None
        await launcher.salvage(launch.key)
        wanted = b"".join(b"%d\n" % number for number in range(1, 1001))
        assert launcher_world.received(launch.key).printed(OUT) == wanted

    async def test_salvage__ended_but_undelivered__delivered_with_its_ending(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        refusing = Refusing(b'"exit_code": 4', verb="end")
        launcher_world.receiver.trouble = refusing
        launch = launch_of("echo x; exit 4")
        await launcher.prepare(launch, progress=lambda _: None)
        await launcher.start(launch)
        await until(lambda: refusing.seen, "the report")
        launcher_world.kill_agent(launch.key)
        observed = await launcher.observe(launch.key)
        assert isinstance(observed, TaskEnded)
        assert not observed.delivered
        launcher_world.receiver.trouble = lambda _: None
        await launcher.salvage(launch.key)
        again = await launcher.observe(launch.key)
        assert isinstance(again, TaskEnded)
        assert again.delivered
        (end,) = launcher_world.received(launch.key).ends
        assert end["ending"]["exit_code"] == 4

    async def test_salvage__unknown_or_living__left_alone(self, launcher: Launcher) -> None:
        await launcher.salvage(task_key(99))
        launch = launch_of("exec sleep 600")
        await launcher.prepare(launch, progress=lambda _: None)
        await launcher.start(launch)
        await launcher.salvage(launch.key)
        assert await launcher.observe(launch.key) == TaskAlive()

    async def test_release__ended_task__gone_and_repeatable(self, launcher: Launcher) -> None:
        await run_to_end(launcher, launch_of("echo x > $SEAFLOOR_OUTPUT_DIR/x; mkdir y"))
        await launcher.release(task_key())
        await launcher.release(task_key())
        assert await launcher.tasks() == ()
        assert await launcher.observe(task_key()) == TaskAbsent()

    async def test_release__living_task__refused(self, launcher: Launcher) -> None:
        launch = launch_of("exec sleep 600")
        await launcher.prepare(launch, progress=lambda _: None)
        await launcher.start(launch)
        with pytest.raises(Conflict):
            await launcher.release(launch.key)
        assert await launcher.observe(launch.key) == TaskAlive()

    async def test_release__one_attempt__others_stay(self, launcher: Launcher) -> None:
        first, second = task_key(attempt=1), task_key(attempt=2)
        for key in (first, second):
            await run_to_end(launcher, launch_of("true", key))
        await launcher.release(first)
        assert await launcher.tasks() == (second,)
        assert isinstance(await launcher.observe(second), TaskEnded)

    async def test_start__ten_at_once__each_delivers_its_own(
        self, launcher: Launcher, launcher_world: LauncherWorld
    ) -> None:
        launches = [launch_of(f"echo run {n}", task_key(n)) for n in range(10)]
        endings = await asyncio.gather(*(run_to_end(launcher, launch) for launch in launches))
        assert all(observed.delivered for observed in endings)
        for number, launch in enumerate(launches):
            printed = launcher_world.received(launch.key).printed(OUT)
            assert printed == f"run {number}\n".encode()

    @pytest.mark.parametrize(
        "key",
        [
            TaskKey(WorkloadId("../../etc"), 1),
            TaskKey(task_key().workload_id, 0),
            TaskKey(task_key().workload_id, 1, "../main"),
            TaskKey(task_key().workload_id, 1, ""),
        ],
    )
    async def test_any__key_that_is_none__refused(self, launcher: Launcher, key: TaskKey) -> None:
        for call in (launcher.observe, launcher.stop, launcher.salvage, launcher.release):
            with pytest.raises(InvalidValue):
                await call(key)


async def until_gone(launcher: Launcher, key: TaskKey) -> None:
    """Wait until no agent has a task any more."""
    deadline_s = time.monotonic() + WAIT_S
    while isinstance(await launcher.observe(key), TaskAlive):
        assert time.monotonic() < deadline_s, f"waited {WAIT_S} s for the end of {key}"
        await asyncio.sleep(0.02)


def _archive_with(world: LauncherWorld, name: str) -> SnapshotCode:
    """A snapshot whose one file has a name that no snapshot may have."""
    import hashlib

    import zstandard

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 1
        tar.addfile(info, io.BytesIO(b"x"))
    content = zstandard.compress(buffer.getvalue())
    sha256 = Sha256(hashlib.sha256(content).hexdigest())
    (world.snapshots / sha256).write_bytes(content)
    return SnapshotCode(sha256=sha256, size_bytes=len(content), folder="bad")
