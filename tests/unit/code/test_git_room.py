"""What git fetched is kept within a bound, and nothing that somebody uses is given up for it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.missing import need_git_lfs

from archive_world import Place
from git_world import Repository, git, tree_of
from seafloor.code.cache_bounds import CacheBounds
from seafloor.code.files import locked
from seafloor.code.git import resolve_git
from seafloor.code.git_cache import GitCache
from seafloor.code.git_room import large_files_in_use, repository_in_use
from seafloor.code.live_lock import Wait
from seafloor.domain.code import GitCode

KB = 1000


def _source(folder: Path, size_bytes: int = 300 * KB) -> GitCode:
    """A commit that takes so many bytes, packed too."""
    repository = Repository(folder) if folder.exists() else Repository.create(folder, "--template=")
    repository.commit({f"{os.urandom(4).hex()}.bin": os.urandom(size_bytes)})
    return resolve_git(repository.url, None)


def _cached(place: Place, source: GitCode) -> Path:
    return GitCache(place.root / "cache", source.url, lambda _: None).folder


def _names(place: Place) -> set[str]:
    return {path.name for path in (place.root / "cache/git").iterdir()}


def test_localize__more_repositories_than_are_kept__gives_up_those_used_longest_ago(
    tmp_path: Path, place: Place
) -> None:
    place.bounds = CacheBounds(git_bytes=1000 * KB)
    first, second, third = (_source(tmp_path / name) for name in ("first", "second", "third"))
    place.localize(first)
    place.localize(second)
    place.localize(first, code=tmp_path / "again")  # so that the second is the one to go
    place.localize(third)
    assert all(_cached(place, each).is_dir() for each in (first, second, third))

    place.localize(_source(tmp_path / "fourth"))

    left = [_cached(place, each).is_dir() for each in (first, second, third)]
    assert left == [True, False, True]
    gone = _cached(place, second).stem
    assert not [name for name in _names(place) if name.startswith(gone)]  # locks neither
    assert place.localize(second).cached is False
    assert tree_of(place.code / "second") == tree_of(tmp_path / "second")


def test_localize__repository_in_use__is_kept_and_goes_afterwards(
    tmp_path: Path, place: Place
) -> None:
    place.bounds = CacheBounds(git_bytes=0)
    first, second, third = (_source(tmp_path / name) for name in ("first", "second", "third"))
    place.localize(first)
    with repository_in_use(_cached(place, first), Wait("nobody", print)):
        place.localize(second)
        assert _cached(place, first).is_dir()
    place.localize(third)
    assert not _cached(place, first).exists()
    assert not _cached(place, second).exists()


def test_localize__one_repository_outgrows_the_bound__begins_anew(
    tmp_path: Path, place: Place
) -> None:
    place.bounds = CacheBounds(git_bytes=200 * KB)
    first = _source(tmp_path / "digits")
    place.localize(first)
    # A single commit stays, however large: it would only be fetched once more.
    assert place.localize(first, code=tmp_path / "again").cached is True

    second = _source(tmp_path / "digits")
    assert place.localize(second).cached is False
    assert not _cached(place, second).exists()
    assert git(place.code / "digits", "fsck", "--full", "--no-dangling", "--no-progress") == ""

    assert place.localize(second, code=tmp_path / "second").cached is False
    assert _cached(place, second).is_dir()


def test_localize__leftovers_of_killed_processes__go_with_the_next_fetch(
    tmp_path: Path, place: Place
) -> None:
    for name in ("0a.removed-1234abcd", "0b.damaged-4711"):
        (place.root / "cache/git" / name / "objects").mkdir(parents=True)
    place.localize(_source(tmp_path / "digits"))
    assert not [name for name in _names(place) if "-" in name]


def test_localize__fetch_that_fails__makes_room_as_well(tmp_path: Path, place: Place) -> None:
    first, second = _source(tmp_path / "first"), _source(tmp_path / "second")
    place.localize(first)
    (tmp_path / "second/.git").rename(tmp_path / "second/.gone")
    place.bounds = CacheBounds(git_bytes=0)
    with pytest.raises(Exception, match="second"):
        place.localize(second)
    assert not _cached(place, first).exists()


def test_localize__many_at_once_where_nothing_is_kept__are_all_whole(
    tmp_path: Path, place: Place
) -> None:
    place.bounds = CacheBounds(git_bytes=0)
    sources = [_source(tmp_path / name, KB) for name in ("first", "second", "third")]

    def localize(number: int) -> None:
        source = sources[number % 3]
        code = tmp_path / f"code{number}"
        place.localize(source, code=code)
        assert tree_of(code / source.folder) == tree_of(tmp_path / source.folder)

    with ThreadPoolExecutor(6) as threads:
        for done in [threads.submit(localize, number) for number in range(18)]:
            done.result()
    # What was in use then stays until the next fetch.
    last = _source(tmp_path / "last", KB)
    place.localize(last)
    assert {name for name in _names(place) if name.endswith(".git")} == {_cached(place, last).name}


def test_locked__file_removed_by_its_holder__the_next_takes_its_successor(tmp_path: Path) -> None:
    lock = tmp_path / "one.lock"
    inside: list[int] = []

    def enter(_: int) -> None:
        with locked(lock):
            inside.append(1)
            assert len(inside) == 1
            inside.pop()
            lock.unlink()  # last: from here on others come in

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(enter, range(400)))
    assert not lock.exists()


def test_localize__more_large_files_than_are_kept__gives_up_those_used_longest_ago(
    tmp_path: Path, place: Place
) -> None:
    need_git_lfs()
    place.bounds = CacheBounds(large_files_bytes=500 * KB)
    first, second, third = (_with_large_file(tmp_path / name) for name in ("1st", "2nd", "3rd"))
    storage = place.root / "cache/git-lfs"

    def oid(source: GitCode) -> str:
        (found,) = place.localize(source, code=tmp_path / f"of-{source.folder}").lfs.values()
        return found

    oids = [oid(first), oid(second)]
    for number, each in enumerate(reversed(oids)):  # the second was used before the first
        os.utime(storage / "objects" / each[:2] / each[2:4] / each, (number, number))
    with large_files_in_use(storage, print):
        oids.append(oid(third))
        assert _large_files(storage) == set(oids)

    place.localize(third)  # all is there: nothing is looked through
    assert _large_files(storage) == set(oids)
    oids.append(oid(_with_large_file(tmp_path / "4th")))

    assert _large_files(storage) == set(oids[2:])
    assert (tmp_path / "of-2nd/2nd/model.bin").stat().st_size == 200 * KB


def test_localize__halves_of_large_files_that_killed_processes_left__go_with_the_next_fetch(
    tmp_path: Path, place: Place
) -> None:
    need_git_lfs()
    storage = place.root / "cache/git-lfs"
    (storage / "incomplete").mkdir(parents=True)
    left, to_go_on_with = (storage / "incomplete" / f"{'a' * 64}{end}" for end in ("123", ".part"))
    for path in (left, to_go_on_with):
        path.write_bytes(bytes(KB))

    with large_files_in_use(storage, print):
        place.localize(_with_large_file(tmp_path / "1st"))
        assert left.exists()
    place.localize(_with_large_file(tmp_path / "2nd"))

    assert not left.exists()
    assert to_go_on_with.exists()


def _with_large_file(folder: Path) -> GitCode:
    repository = Repository.create(folder)
    git(folder, "lfs", "install", "--local")
    git(folder, "lfs", "track", "*.bin")
    repository.commit({"model.bin": os.urandom(200 * KB)})
    return resolve_git(f"file://{folder}", None)


def _large_files(storage: Path) -> set[str]:
    return {path.name for path in storage.glob("objects/*/*/*")}
