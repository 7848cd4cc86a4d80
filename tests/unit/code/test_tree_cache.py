"""Trees that many look at: made once, never changed, never removed from under anybody."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from seafloor.code import tree_cache
from seafloor.code.tree_cache import Tree, TreeCache
from seafloor.domain.code import Receipt
from seafloor.domain.errors import SourceError

KEY = "a" * 64
OTHER = "b" * 64


@dataclass
class World:
    """A cache, and how often something was made for it."""

    folder: Path
    size_bytes_max: int = 1 << 30
    made: list[str] = field(default_factory=list[str])
    said: list[str] = field(default_factory=list[str])

    def get(self, key: str = KEY, *, user: str = "run-1", size_bytes: int = 10) -> Tree:
        def make(folder: Path) -> Receipt:
            self.made.append(key)
            (folder / "package").mkdir(parents=True)
            (folder / "package/train.py").write_text("train")
            (folder / "package/run.sh").write_text("run")
            (folder / "link").symlink_to("package")
            return Receipt(
                kind="git", url=key, files=2, size_bytes=size_bytes, cached=False, duration_s=1.0
            )

        cache = TreeCache(self.folder / "trees", self.said.append, self.size_bytes_max)
        return cache.get(key, make, user=self.user(user))

    def user(self, name: str) -> Path:
        folder = self.folder / "work" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def names(self) -> set[str]:
        kept = {path.name for path in (self.folder / "trees").iterdir()}
        return {name for name in kept if not name.endswith(".lock")}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_get__second_time__is_what_was_made_the_first(world: World) -> None:
    first, second = world.get(), world.get(user="run-2")

    assert first.made
    assert not second.made
    assert (second.path, second.receipt) == (first.path, first.receipt)
    assert world.made == [KEY]


def _append(tree: Path) -> None:
    with (tree / "package/train.py").open("a") as file:
        file.write("!")


def _same_size_and_time(tree: Path) -> None:
    path = tree / "package/train.py"
    before = path.stat()
    path.write_text("tRaIn")
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the clock of files has coarse ticks
        path.write_text("tRaIn")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(tree: Path) -> None:
    path = tree / "package/train.py"
    path.with_name("new").write_text("train")
    path.with_name("new").rename(path)


def _move(tree: Path) -> None:
    (tree / "package").rename(tree / "renamed")


def _point_elsewhere(tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").symlink_to("elsewhere")


CHANGES: dict[str, Callable[[Path], object]] = {
    "append": _append,
    "same size and time": _same_size_and_time,
    "replace": _replace,
    "mode": lambda tree: (tree / "package/run.sh").chmod(0o755),
    "mode of a folder": lambda tree: (tree / "package").chmod(0o700),
    "add": lambda tree: (tree / "more").touch(),
    "add a folder": lambda tree: (tree / "package/more").mkdir(),
    "remove": lambda tree: (tree / "package/run.sh").unlink(),
    "move": _move,
    "point elsewhere": _point_elsewhere,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_get__somebody_wrote_in_the_tree__is_made_anew(
    world: World, change: Callable[[Path], object]
) -> None:
    tree = world.get().path
    change(tree)

    again = world.get()

    assert again.made
    assert (again.path / "package/train.py").read_text() == "train"
    assert "written in" in world.said[0]
    assert not world.get().made


def test_get__another_link_to_a_pack__is_no_change(world: World, tmp_path: Path) -> None:
    packs = "package/.git/objects/pack"

    def make(folder: Path) -> Receipt:
        (folder / packs).mkdir(parents=True)
        (folder / packs / "pack-1.pack").write_text("objects")
        return Receipt(kind="git", url="u", files=1, size_bytes=1, cached=False, duration_s=1.0)

    cache = TreeCache(world.folder / "trees", world.said.append, world.size_bytes_max)
    tree = cache.get(KEY, make, user=tmp_path)
    os.link(tree.path / packs / "pack-1.pack", tmp_path / "another")

    assert not cache.get(KEY, make, user=tmp_path).made


def test_get__machine_was_restarted__is_made_anew(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.get()
    monkeypatch.setattr(tree_cache, "boot_id", lambda: "another boot")

    assert world.get().made


def test_get__record_cut_short__is_made_anew(world: World) -> None:
    tree = world.get().path
    (tree.parent / "tree.json").write_text('{"receipt":')

    assert world.get().made


def test_get__making_fails__leaves_nothing(world: World) -> None:
    def make(folder: Path) -> Receipt:
        folder.mkdir()
        raise SourceError("no such commit")

    cache = TreeCache(world.folder / "trees", world.said.append, world.size_bytes_max)
    with pytest.raises(SourceError):
        cache.get(KEY, make, user=world.user("run-1"))

    assert world.names == set()


def test_get__beyond_its_size__removes_what_was_used_longest_ago_and_is_not_in_use(
    world: World,
) -> None:
    world.size_bytes_max = 25
    keys = [digit * 64 for digit in "123"]
    for age, key in enumerate(keys):
        record = world.get(key, user=key[0]).path.parent / "tree.json"
        os.utime(record, (age, age))
    assert world.names == set(keys)  # all in use

    world.user("2").rmdir()
    world.get(OTHER)
    assert world.names == {keys[0], keys[2], OTHER}

    world.user("1").rmdir()
    world.user("3").rmdir()
    world.get("c" * 64)
    assert world.names == {OTHER, "c" * 64}


def test_get__tree_in_use_was_written_in__stays_until_nobody_uses_it(world: World) -> None:
    tree = world.get(user="run-1").path
    with (tree / "package/train.py").open("r+") as open_view:
        _append(tree)

        world.get(user="run-2")

        (aside,) = world.names - {KEY}
        assert (world.folder / "trees" / aside / "tree/package/train.py").exists()
        assert open_view.read() == "train!"
    world.user("run-1").rmdir()
    world.get(OTHER, user="run-3")
    assert world.names == {KEY, OTHER}


def test_get__leftovers_of_killed_processes__are_removed(world: World) -> None:
    for name in (f"partial-{KEY}-01234567", "removed-01234567"):
        (world.folder / "trees" / name / "tree").mkdir(parents=True)

    world.get()

    assert world.names == {KEY}


def test_get__many_at_once_with_no_room__each_has_a_whole_tree_until_it_is_done(
    world: World,
) -> None:
    world.size_bytes_max = 10
    failed: list[BaseException] = []

    def use(name: str) -> None:
        try:
            for round_ in range(8):
                key = f"{(round_ + len(name)) % 3:x}" * 64
                user = f"{name}-{round_}"
                tree = world.get(key, user=user)
                assert (tree.path / "package/train.py").read_text() == "train"
                assert tree.receipt.url == key
                world.user(user).rmdir()
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failed.append(error)

    users = [threading.Thread(target=use, args=("u" * length,)) for length in range(1, 7)]
    for thread in users:
        thread.start()
    for thread in users:
        thread.join()

    assert failed == []
    world.get(OTHER)
    assert OTHER in world.names
    assert not any(name.startswith(("partial-", "removed-")) for name in world.names)


def test_get__leftover_deeper_than_calls_may_nest__is_cleared(world: World) -> None:
    leftover = world.folder / "trees" / f"partial-{KEY}-0000"
    leftover.mkdir(parents=True)
    at = leftover
    for _ in range(1100):
        at = at / "d"
        at.mkdir()

    world.get()

    assert world.names == {KEY}
