"""A folder that did not change since its last snapshot is not read again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from git_world import Repository, git
from seafloor.code import snapshot_memory
from seafloor.code.snapshot import take_snapshot
from seafloor.code.snapshot_memory import SnapshotMemory
from seafloor.domain.code import SnapshotCode
from seafloor.domain.ids import Sha256


class Remembering:
    """Takes snapshots as a client does that remembers, of a server that keeps what it is sent."""

    def __init__(self, root: Path) -> None:
        self.memory = SnapshotMemory(root / "memory")
        self.archive = root / "s.tar.zst"
        self.kept: set[Sha256] = set()
        self.said: list[str] = []

    def take(self, folder: Path) -> tuple[SnapshotCode, bool]:
        """Take one; say too whether the folder was read."""
        self.archive.unlink(missing_ok=True)
        source = take_snapshot(
            folder,
            self.archive,
            warn=self.said.append,
            memory=self.memory,
            is_kept=lambda digest, _size_bytes: digest in self.kept,
        )
        was_read = self.archive.exists()
        self.kept.add(source.sha256)
        return source, was_read


@pytest.fixture
def remembering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remembering:
    monkeypatch.setattr(snapshot_memory, "SETTLED_NS", -60_000_000_000)  # as if made a minute ago
    return Remembering(tmp_path)


def test_take_snapshot__nothing_changed__is_known_without_reading(
    repository: Repository, remembering: Remembering
) -> None:
    token = "ghp_" + "a1B2" * 9
    repository.commit({"config.py": f"TOKEN = '{token}'\n"})
    first, was_read = remembering.take(repository.path)
    said = list(remembering.said)

    again = remembering.take(repository.path)

    assert was_read
    assert again == (first, False)
    assert remembering.said == said * 2  # what is wrong with it is still wrong


def test_take_snapshot__server_does_not_have_it_any_more__is_read_again(
    repository: Repository, remembering: Remembering
) -> None:
    first, _ = remembering.take(repository.path)
    remembering.kept.clear()

    assert remembering.take(repository.path) == (first, True)


@pytest.mark.parametrize("change", ["content", "mode", "name", "new", "gone", "link", "same size"])
def test_take_snapshot__anything_changed__is_read_again(
    repository: Repository, remembering: Remembering, change: str
) -> None:
    (repository.path / "link").symlink_to("a")
    repository.commit({"a.py": "1"})
    first, _ = remembering.take(repository.path)
    file = repository.path / "a.py"
    times = file.stat()
    match change:
        case "content":
            file.write_text("longer")
        case "mode":
            file.chmod(0o755)
        case "name":
            file.rename(repository.path / "b.py")
        case "new":
            repository.write({"new.py": ""})
        case "gone":
            file.unlink()
        case "link":
            (repository.path / "link").unlink()
            (repository.path / "link").symlink_to("b")
        case _:  # and the time of change put back, as some tools do
            file.write_text("2")
            os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))

    source, was_read = remembering.take(repository.path)

    assert was_read
    assert source.sha256 != first.sha256


def test_take_snapshot__committed_since__is_the_same_snapshot_of_another_commit(
    repository: Repository, remembering: Remembering
) -> None:
    repository.write({"a.py": "1"})
    first, _ = remembering.take(repository.path)
    git(repository.path, "add", "a.py")
    git(repository.path, "commit", "--quiet", "-m", "a")

    source, was_read = remembering.take(repository.path)

    assert not was_read
    assert source.sha256 == first.sha256
    assert (source.git_commit, source.git_dirty) == (repository.head, False)
    assert (first.git_commit, first.git_dirty) != (source.git_commit, source.git_dirty)


def test_take_snapshot__file_that_changed_just_now__is_not_remembered(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A busy machine may take longer than the two seconds from the writing to the taking.
    monkeypatch.setattr(snapshot_memory, "SETTLED_NS", 3600_000_000_000)
    remembering = Remembering(tmp_path)
    repository.write({"a.py": "1"})

    remembering.take(repository.path)

    assert remembering.take(repository.path)[1]


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]"])
def test_take_snapshot__memory_is_damaged__is_read_again(
    repository: Repository, remembering: Remembering, tmp_path: Path, damage: bytes
) -> None:
    first, _ = remembering.take(repository.path)
    for file in (tmp_path / "memory").iterdir():
        file.write_bytes(damage)

    assert remembering.take(repository.path) == (first, True)
