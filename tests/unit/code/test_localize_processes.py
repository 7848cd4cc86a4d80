"""Several processes at once, and processes that die: the folder is whole or it is not there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest

from git_world import Repository, git, tree_of
from seafloor.code.archive import ArchiveRequest, resolve_archive
from seafloor.code.file_archive import open_file
from seafloor.code.git import resolve_git
from seafloor.code.localize import Means, localize
from seafloor.code.receipts import read_receipt
from seafloor.code.snapshot import take_snapshot
from seafloor.domain.code import ArchiveCode, LocalizedCode, Receipt, SnapshotCode
from seafloor.domain.ids import Sha256

_SCRIPT = Path(__file__).with_name("localizing_process.py")
BESIDE = {"current", ".receipt.json", ".localize.folder", ".localize.lock"}

_KILLS = int(os.environ.get("SEAFLOOR_KILLS", "56")) // 8
"""How many of the places that a process passes are tried in each of the eight tests that kill one,
chosen at random, besides the first and the last."""


@dataclass(frozen=True)
class World:
    """Two versions of the code, and where they are localised."""

    old: LocalizedCode
    new: LocalizedCode
    new_tree: dict[bytes, tuple[str, bytes]]
    archives: Path
    root: Path
    shared: bool = False

    def start(self, source: LocalizedCode, name: str, kill_at: int = 0) -> subprocess.Popen[bytes]:
        archive = self.archives / (source.sha256 if isinstance(source, SnapshotCode) else "none")
        order = {
            "source": msgspec.to_builtins(source),
            "code_dir": str(self.root / name / "code"),
            "cache_dir": str(self.root / name / "cache"),
            "archive": str(archive),
            "kill_at": kill_at,
            "shared": self.shared,
        }
        return subprocess.Popen(
            [sys.executable, str(_SCRIPT), msgspec.json.encode(order).decode()],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, source: LocalizedCode, name: str, kill_at: int = 0) -> tuple[int, int]:
        """Localise in a process: how it ended, and how many places it passed."""
        with self.start(source, name, kill_at) as process:
            _, said = process.communicate(timeout=120)
        return process.returncode, int(said) if process.returncode == 0 else 0

    def localize_here(self, source: LocalizedCode, name: str) -> Receipt:
        def fetch(sha256: Sha256, path: Path) -> None:
            path.write_bytes((self.archives / sha256).read_bytes())

        user = self.root / name if self.shared else None
        means = Means(self.root / name / "cache", fetch, open_file, shared_by=user)
        return localize(source, code_dir=self.root / name / "code", means=means)


@pytest.fixture(params=["git", "git, shared", "snapshot", "archive"])
def world(request: pytest.FixtureRequest, repository: Repository, tmp_path: Path) -> World:
    archives = tmp_path / "archives"
    archives.mkdir()

    def source_of() -> LocalizedCode:
        if request.param.startswith("git"):
            return resolve_git(repository.url, None)
        if request.param == "archive":
            return _pack(repository, archives)
        source = take_snapshot(repository.path, archives / "new")
        (archives / "new").rename(archives / source.sha256)
        return source

    old = source_of()
    repository.write({f"package/module_{number}.py": "x" * number for number in range(40)})
    repository.commit({"train.py": "the new version", "weights.bin": os.urandom(200_000)})
    shared = request.param.endswith("shared")
    return World(old, source_of(), tree_of(repository.path), archives, tmp_path, shared)


def _pack(repository: Repository, archives: Path) -> ArchiveCode:
    """Keep a commit as an archive of its own, as `git archive` makes them."""
    path = archives / f"{repository.head}.tar.gz"
    git(repository.path, "archive", f"--output={path}", "HEAD")
    request = ArchiveRequest(path.as_uri(), name="digits")
    return resolve_archive(request, open_file)


def _check_cache(cache: Path) -> None:
    """What is kept is sound, and nothing half has the name of something whole."""
    for bare in cache.glob("git/*.git"):
        git(bare, "fsck", "--full", "--strict", "--no-dangling")
    for kept in (*cache.glob("archives/*"), *cache.glob("snapshots/*")):
        if kept.suffix not in {".lock", ".name"}:
            assert kept.name.split(".")[0] == sha256(kept.read_bytes()).hexdigest()
    for record in cache.glob("trees/*/tree.json"):
        git(record.with_name("tree"), "fsck", "--full", "--strict", "--no-dangling")
        assert git(record.with_name("tree"), "status", "--porcelain") == ""


def _places(count: int) -> list[int]:
    seed = random.SystemRandom().getrandbits(32)
    print(f"seed {seed}")  # shown when the test fails
    chosen = random.Random(seed).sample(range(1, count + 1), min(_KILLS, count))
    return sorted({1, count, *chosen})


@pytest.mark.slow
def test_localize__killed_anywhere__the_next_one_gives_a_whole_folder(world: World) -> None:
    ended, count = world.run(world.new, "counted")
    assert ended == 0

    for place in _places(count):
        name = f"killed{place}"
        ended, _ = world.run(world.new, name, kill_at=place)
        code = world.root / name / "code"
        assert ended == -signal.SIGKILL
        if read_receipt(code, world.new) is not None:
            assert tree_of(code / world.new.folder) == world.new_tree, f"killed at {place}"

        world.localize_here(world.new, name)

        _check_cache(world.root / name / "cache")
        assert tree_of(code / world.new.folder) == world.new_tree, f"killed at {place}"
        assert (code / "current").readlink() == Path(world.new.folder)
        assert {path.name for path in code.iterdir()} == {world.new.folder, *BESIDE}


@pytest.mark.slow
def test_localize__killed_while_replacing__never_has_a_receipt_for_another_folder(
    world: World,
) -> None:
    world.localize_here(world.old, "counted")
    old_tree = tree_of(world.root / "counted/code" / world.old.folder)
    _, count = world.run(world.new, "counted")

    for place in _places(count):
        name = f"killed{place}"
        world.localize_here(world.old, name)
        ended, _ = world.run(world.new, name, kill_at=place)
        code = world.root / name / "code"
        assert ended == -signal.SIGKILL
        for source, tree in ((world.old, old_tree), (world.new, world.new_tree)):
            if read_receipt(code, source) is not None:
                assert tree_of(code / source.folder) == tree, f"killed at {place}"

        world.localize_here(world.new, name)

        _check_cache(world.root / name / "cache")
        assert tree_of(code / world.new.folder) == world.new_tree, f"killed at {place}"
        assert (code / "current").readlink() == Path(world.new.folder)
        assert {path.name for path in code.iterdir()} == {world.new.folder, *BESIDE}


def test_localize__eight_processes_with_one_cache__fetch_once_and_all_are_whole(
    world: World,
) -> None:
    cache = world.root / "shared" / "cache"
    cache.mkdir(parents=True)
    for number in range(8):
        (world.root / f"p{number}").mkdir()
        (world.root / f"p{number}/cache").symlink_to(cache)

    processes = [world.start(world.new, f"p{number}") for number in range(8)]
    receipts: list[Receipt] = []
    for process in processes:
        with process:
            said, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
        receipts.append(msgspec.json.decode(said, type=Receipt))

    assert [receipt.cached for receipt in receipts].count(False) == 1
    for number in range(8):
        assert tree_of(world.root / f"p{number}/code" / world.new.folder) == world.new_tree


def test_localize__processes_into_one_folder__take_turns(world: World) -> None:
    sources = [world.new, world.old, world.new, world.new]

    processes = [world.start(source, "same") for source in sources]
    for process in processes:
        with process:
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()

    world.localize_here(world.new, "same")
    code = world.root / "same/code"
    assert tree_of(code / world.new.folder) == world.new_tree
    assert {path.name for path in code.iterdir()} == {world.new.folder, *BESIDE}


def test_localize__fetches_of_many_commits_at_once__share_one_cache(
    repository: Repository, tmp_path: Path
) -> None:
    sources = [resolve_git(repository.url, None)]
    for number in range(5):
        repository.commit({"number": str(number)})
        sources.append(resolve_git(repository.url, None))
    world = World(sources[0], sources[0], {}, tmp_path, tmp_path)
    cache = tmp_path / "shared"
    cache.mkdir()
    processes: list[subprocess.Popen[bytes]] = []
    for number, source in enumerate(sources):
        (tmp_path / f"p{number}").mkdir()
        (tmp_path / f"p{number}/cache").symlink_to(cache)
        processes.append(world.start(source, f"p{number}"))

    for process in processes:
        with process:
            _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()

    for number, source in enumerate(sources):
        made = tmp_path / f"p{number}/code/digits"
        assert git(made, "rev-parse", "HEAD") == getattr(source, "commit", None)
        assert git(made, "status", "--porcelain") == ""
