"""A cache is thrown away when it is damaged, and only then."""

from __future__ import annotations

import errno
import os
import re
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from tests.missing import need_git_lfs

from git_world import Repository, git, tree_of
from seafloor.code.file_archive import open_file
from seafloor.code.git import resolve_git
from seafloor.code.git_cache import GitCache
from seafloor.code.git_damage import damage_of
from seafloor.code.localize import Means, localize
from seafloor.domain.code import GitCode, Receipt
from seafloor.domain.errors import SourceError
from seafloor.domain.ids import Sha256

_REAL: str = shutil.which("git") or "git"


class Place:
    """A cache, and folders that are localised with it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.said: list[str] = []
        self.count = 0

    def localize(self, source: GitCode) -> Receipt:
        self.count += 1
        means = Means(self.root / "cache", _no_snapshot, open_file, self.said.append)
        return localize(source, code_dir=self.folder, means=means)

    @property
    def folder(self) -> Path:
        return self.root / f"code-{self.count}"

    def bare(self, source: GitCode) -> Path:
        return GitCache(self.root / "cache", source.url, print).folder


def _no_snapshot(digest: Sha256, _path: Path) -> None:
    raise AssertionError(digest)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def resolve(repository: Repository) -> GitCode:
    return resolve_git(repository.url, None)


def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, script: str) -> None:
    """Put something in git's place for one of its commands; ``$GIT`` is git itself."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "git"
    program.write_text(
        f'#!/bin/sh\nGIT={_REAL}\nfor word in "$@"; do\n'
        f'  if [ "$word" = {command} ]; then\n{script}\n  fi\ndone\nexec $GIT "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("command", "script", "message"),
    [
        ("checkout", "kill -9 $$", r"ended by signal 9 \(SIGKILL\)"),
        ("checkout", "echo 'fatal: Out of memory, malloc failed' >&2; exit 128", "short of memory"),
        ("ls-tree", "echo 'fatal: mmap failed: Cannot allocate memory' >&2; exit 128", "memory"),
        ("init", "echo 'fatal: open: Too many open files' >&2; exit 128", "open files"),
        ("checkout", "echo 'error: cannot open: Permission denied' >&2; exit 128", "denied"),
        ("checkout", '$GIT "$@"; : > train.py; exit 0', "train.py.* may not be able to hold"),
    ],
)
def test_localize__git_fails_and_nothing_is_damaged__keeps_the_cache(
    repository: Repository,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    script: str,
    message: str,
) -> None:
    source = resolve(repository)
    place.localize(source)
    inode = place.bare(source).stat().st_ino
    with monkeypatch.context() as patched:
        stand_in(tmp_path, patched, command, script)
        with pytest.raises(SourceError, match=message) as refused:
            place.localize(source)

    assert source.url in refused.value.message
    assert place.bare(source).stat().st_ino == inode
    assert not any("damaged" in said for said in place.said)
    assert place.localize(source).cached


def test_localize__fetch_runs_short_of_memory__keeps_the_cache(
    repository: Repository, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.localize(resolve(repository))
    repository.commit({"train.py": "second"})
    source = resolve(repository)
    with monkeypatch.context() as patched:
        words = "echo 'error: index-pack died of signal 9' >&2; exit 128"
        stand_in(tmp_path, patched, "fetch", words)
        with pytest.raises(SourceError, match="index-pack died of signal 9"):
            place.localize(source)

    assert not any("damaged" in said for said in place.said)
    assert not place.localize(source).cached


@pytest.mark.parametrize("name", ["HEAD", "config", "objects", "refs"])
@pytest.mark.parametrize("how", ["empty", "missing"])
def test_localize__new_commit_with_a_cache_that_is_no_repository__is_built_anew(
    repository: Repository, place: Place, name: str, how: str
) -> None:
    repository.commit({"train.py": "second"})
    place.localize(resolve(repository))
    repository.commit({"train.py": "third"})
    source = resolve(repository)
    path = place.bare(source) / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if how == "empty":
        path.touch()

    place.localize(source)

    assert tree_of(place.folder / "digits") == tree_of(repository.path)


def test_localize__damaged_cache_on_another_file_system__is_built_anew(
    repository: Repository, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = resolve(repository)
    place.localize(source)
    for pack in place.bare(source).glob("objects/pack/*.pack"):
        pack.chmod(0o644)
        pack.write_bytes(pack.read_bytes()[:-30])

    def no_links(*_arguments: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    assert not place.localize(source).cached
    assert tree_of(place.folder / "digits") == tree_of(repository.path)


def test_localize__sha256_cache_without_its_config__is_built_anew(
    tmp_path: Path, place: Place
) -> None:
    repository = Repository.create(tmp_path / "made", "--object-format=sha256")
    repository.commit({"train.py": "first"})
    place.localize(resolve(repository))
    repository.commit({"train.py": "second"})
    source = resolve(repository)
    (place.bare(source) / "config").write_bytes(b"")

    place.localize(source)

    assert tree_of(place.folder / "made") == tree_of(repository.path)


@pytest.mark.parametrize("kind", ["sha1", "sha256"])
def test_damage_of__a_sound_cache_of_many_packs__is_none(
    tmp_path: Path, place: Place, kind: str
) -> None:
    repository = Repository.create(tmp_path / "made", f"--object-format={kind}")
    for number in range(3):
        repository.commit({"a/b": str(number)})
        place.localize(resolve(repository))
    source = resolve(repository)
    assert damage_of(place.bare(source), source.commit) is None


@pytest.mark.parametrize(
    ("name", "kept_bytes", "found"),
    [
        ("*.pack", -1, "cut"),
        ("*.pack", 0, "cut"),
        ("*.idx", -1, "cut"),
        ("*.idx", 5, "cut"),
        ("*.pack", None, "missing"),
        ("*.idx", None, "commit .* is missing"),
    ],
)
def test_damage_of__file_cut_or_gone__is_named(
    repository: Repository, place: Place, name: str, kept_bytes: int | None, found: str
) -> None:
    source = resolve(repository)
    place.localize(source)
    (path,) = place.bare(source).glob(f"objects/pack/{name}")
    path.chmod(0o644)
    if kept_bytes is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:kept_bytes])

    said = damage_of(place.bare(source), source.commit)

    assert said is not None
    assert re.search(found, said)


def test_localize__cache_lost_one_of_its_packs__is_built_anew(
    repository: Repository, place: Place
) -> None:
    place.localize(resolve(repository))
    before = set(place.bare(resolve(repository)).glob("objects/pack/*"))
    repository.commit({"more.py": "x = 1"})
    source = resolve(repository)
    place.localize(source)
    for path in before:
        path.unlink()

    assert damage_of(place.bare(source), source.commit) == f"1 object of {source.commit} missing"
    assert not place.localize(source).cached
    assert tree_of(place.folder / "digits") == tree_of(repository.path)
    git(place.folder / "digits", "fsck", "--full")


@pytest.mark.parametrize("damage", [b"content-of-MODEL", b"cut", b""])
def test_localize__large_file_damaged_in_the_cache__is_fetched_anew(
    repository: Repository, place: Place, damage: bytes
) -> None:
    need_git_lfs()
    git(repository.path, "lfs", "install")
    git(repository.path, "lfs", "track", "*.bin")
    repository.commit({"model.bin": "content-of-model", "other.bin": "other"})
    source = resolve(repository)
    place.localize(source)
    oid = sha256(b"content-of-model").hexdigest()
    stored = place.root / "cache/git-lfs/objects" / oid[:2] / oid[2:4] / oid
    stored.unlink()  # it may be a link to that of the repository
    stored.write_bytes(damage)

    for _ in range(2):
        place.localize(source)
        assert tree_of(place.folder / "digits") == tree_of(repository.path)

    assert stored.read_bytes() == b"content-of-model"
    assert sum("was damaged" in said for said in place.said) <= 1
