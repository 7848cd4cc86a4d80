"""Runs that look at one tree of the cache: each sees its own changes, and the tree none."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from git_world import Repository, git, tree_of
from seafloor.code.file_archive import open_file
from seafloor.code.git import resolve_git
from seafloor.domain.code import GitCode
from seafloor.domain.ids import Sha256
from seafloor.domain.specs import ExperimentSpec, TaskSpec
from seafloor.environments.build import EnvironmentCache
from seafloor.launch.local.code_mounts import CodeMounts
from seafloor.launch.local.launcher import LocalLauncher
from seafloor.launch.protocol import TaskEnded, TaskKey
from seafloor.testing.launcher_suite import (
    OUT,
    ended,
    launch_of,
    run_to_end,
    task_key,
)
from seafloor.testing.task_receiver import TaskReceiver

ATTACK = """
cd /code/digits && git status --porcelain && git log -1 --format=%H && pwd -P
echo overwritten > train.py && printf more >> package/module.py && chmod 000 run.sh
mv package moved && rm -r data && mkdir data && touch data/new && ln -f train.py linked
truncate -s 0 big.bin && git commit --quiet --all --message mine && git gc --quiet
ls /code/.receipt.json && readlink /code/current && cat "$SEAFLOOR_CODE_DIR/digits/linked"
"""


@dataclass
class World:
    """A launcher whose commands look at shared trees."""

    launcher: LocalLauncher
    receiver: TaskReceiver
    root: Path
    code: GitCode

    async def run(self, command: str, number: int) -> tuple[TaskEnded, list[str]]:
        key = task_key(number)
        end = await run_to_end(self.launcher, launch_of(command, key, code=self.code))
        return end, self.printed(key)

    def printed(self, key: TaskKey) -> list[str]:
        return self.receiver.run(key.workload_id).printed(OUT).decode().splitlines()

    def folder(self, number: int) -> Path:
        key = task_key(number)
        return self.root / "work" / key.workload_id / str(key.attempt)

    @property
    def trees(self) -> list[Path]:
        return list((self.root / "cache/trees").glob("*/tree"))


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\nname = Test\nemail = test@example.com\n")
    made = Repository.create(tmp_path / "digits")
    made.commit({"train.py": "as committed", "package/module.py": "module", "run.sh": "run"})
    made.commit({"data/old": "old", "big.bin": bytes(100_000)})
    return made


def _no_snapshot(_sha256: Sha256, _path: Path) -> None:
    raise AssertionError


@pytest.fixture
def shared(repository: Repository, tmp_path: Path) -> Iterator[World]:
    root = tmp_path / "world"
    (root / "work").mkdir(parents=True)
    mounts = CodeMounts(wanted=True)
    if not mounts.share(root / "cache/trees", root / "work"):
        pytest.skip("this machine allows no layers; lifted where it does")
    receiver = TaskReceiver(root / "server.json")
    receiver.start()
    inherited = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    launcher = LocalLauncher(
        work_dir=root / "work",
        cache_dir=root / "cache",
        server_file=root / "server.json",
        fetch_snapshot=_no_snapshot,
        open_remote=open_file,
        environments=EnvironmentCache(root / "environments"),
        code_mounts=mounts,
        inherited={**inherited, "GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"]},
    )
    code = resolve_git(repository.url, "main")
    yield World(launcher, receiver, root, code)
    receiver.stop()


async def test_start__run_that_changes_its_code__changes_nothing_for_others(
    shared: World, repository: Repository
) -> None:
    committed = tree_of(repository.path)

    end, said = await shared.run(ATTACK, 1)
    assert end.ending.exit_code == 0, said
    assert said == [repository.head, "/code/digits", "/code/.receipt.json", "digits", "overwritten"]
    (tree,) = shared.trees
    assert tree_of(tree) == committed
    assert git(tree, "--no-optional-locks", "status", "--porcelain") == ""
    git(tree, "fsck", "--full", "--strict")

    end, said = await shared.run("cat digits/train.py; echo; ls digits/moved digits/data", 2)
    assert said == ["as committed", "digits/data:", "old"]
    assert shared.trees == [tree]


async def test_prepare__the_same_commit_again__writes_no_file_and_says_it_was_there(
    shared: World,
) -> None:
    first = await shared.launcher.prepare(
        launch_of("true", task_key(1), code=shared.code), progress=lambda _: None
    )
    (tree,) = shared.trees
    before = {path: path.lstat().st_ctime_ns for path in tree.rglob("*") if path.is_file()}

    second = await shared.launcher.prepare(
        launch_of("true", task_key(2), code=shared.code), progress=lambda _: None
    )

    assert first.receipt is not None
    assert second.receipt is not None
    assert (first.receipt.cached, second.receipt.cached) == (False, True)
    assert second.receipt.tree == first.receipt.tree
    for number in (1, 2):
        folder = shared.folder(number) / "code"
        assert tree_of(folder / "digits") == tree_of(tree)
        assert json.loads((folder / ".receipt.json").read_bytes())["folder"] == "digits"
    after = {path: path.lstat().st_ctime_ns for path in before}
    packs = {path for path in before if path.parent.name == "pack"}
    assert {path for path in before if before[path] != after[path]} <= packs


async def test_start__two_at_once__each_sees_its_own_changes(shared: World) -> None:
    wait = "echo {0} > digits/train.py; touch ../../../ready-{0}; " + (
        "until [ -e ../../../ready-{1} ]; do sleep 0.02; done; cat digits/train.py"
    )

    (one, said_one), (two, said_two) = await asyncio.gather(
        shared.run(wait.format("one", "two"), 1), shared.run(wait.format("two", "one"), 2)
    )

    assert (one.ending.exit_code, two.ending.exit_code) == (0, 0)
    assert (said_one, said_two) == (["one"], ["two"])
    assert len(shared.trees) == 1


async def test_start__tasks_of_one_run__each_sees_its_own_changes(shared: World) -> None:
    ready = shared.root / "ready-"
    command = (
        f'cd /code/digits; echo $RANK > train.py; touch "{ready}$RANK"; '
        f'until [ -e "{ready}0" ] && [ -e "{ready}1" ]; do sleep 0.02; done; cat train.py'
    )
    tasks = {"worker": TaskSpec(replicas=2, command=command)}
    launch = launch_of("", code=shared.code)
    launch = msgspec.structs.replace(launch, spec=ExperimentSpec(name="gang", tasks=tasks))
    await shared.launcher.prepare(launch, progress=lambda _: None)
    await shared.launcher.start(launch)
    keys = [msgspec.structs.replace(launch.key, task=f"worker-{rank}") for rank in (0, 1)]
    for rank, key in enumerate(keys):
        assert (await ended(shared.launcher, key)).ending.exit_code == 0
        received = shared.receiver.run(key.workload_id)
        assert received.printed(OUT, key.task).decode() == f"{rank}\n"
    (tree,) = shared.trees
    for key in keys:
        await shared.launcher.release(key)
    assert not shared.folder(1).exists()
    assert (tree / "train.py").read_text() == "as committed"


async def test_release__run_that_changed_its_code__leaves_the_tree_and_nothing_else(
    shared: World,
) -> None:
    await shared.run(ATTACK, 1)
    (tree,) = shared.trees

    await shared.launcher.release(task_key(1))

    assert not shared.folder(1).exists()
    assert (tree / "train.py").read_text() == "as committed"


async def test_start__no_layer_can_be_had_after_all__runs_with_a_copy(shared: World) -> None:
    command = "echo mine > digits/train.py; cat digits/data/old"
    launch = launch_of(command, task_key(1), code=shared.code)
    await shared.launcher.prepare(launch, progress=lambda _: None)
    (tree,) = shared.trees
    # What is in the way of the layer: a file where its folder should be.
    layers = shared.folder(1) / "layers" / launch.key.task
    (layers / "upper").mkdir(parents=True)
    (layers / "work").symlink_to("upper")

    await shared.launcher.start(launch)
    end = await ended(shared.launcher, launch.key)

    assert end.ending.exit_code == 0
    assert shared.printed(launch.key) == ["old"]
    assert (tree / "train.py").read_text() == "as committed"
    own = shared.folder(1) / "code/digits"
    assert not own.is_symlink()
    assert (own / "train.py").read_text() == "mine\n"


async def test_prepare__cache_was_deleted_meanwhile__fetches_anew(shared: World) -> None:
    launch = launch_of("cat digits/train.py", task_key(1), code=shared.code)
    await shared.launcher.prepare(launch, progress=lambda _: None)
    shutil.rmtree(shared.root / "cache")

    end = await run_to_end(shared.launcher, launch)

    assert end.ending.exit_code == 0
    assert shared.printed(launch.key) == ["as committed"]


async def test_prepare__layers_are_no_longer_wanted__makes_a_folder_of_its_own(
    shared: World,
) -> None:
    launch = launch_of("true", task_key(1), code=shared.code)
    await shared.launcher.prepare(launch, progress=lambda _: None)
    folder = shared.folder(1) / "code/digits"
    assert folder.is_symlink()

    shared.launcher._code_mounts = CodeMounts(wanted=False)  # pyright: ignore[reportPrivateUsage]  # as after a restart with other settings
    await shared.launcher.prepare(launch, progress=lambda _: None)

    assert not folder.is_symlink()
    assert (folder / "train.py").read_text() == "as committed"
