"""A disk that cannot hold what is wanted is said before anything is asked of another place."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.missing import need_git_lfs

from archive_world import ArchiveServer, Place, Served, make_archive
from git_world import GitServer, Repository, copy_as_served, git
from seafloor.boot.archives import remote_opener
from seafloor.code import git_checkout
from seafloor.code.archive import ArchiveRequest, resolve_archive
from seafloor.code.digest_cache import DigestCache, Wanted
from seafloor.code.file_archive import open_file
from seafloor.code.free_space import check_space, missing_bytes
from seafloor.code.git import resolve_git
from seafloor.code.localize import Means, localize
from seafloor.domain.code import SnapshotCode
from seafloor.domain.errors import StoreFull
from seafloor.domain.ids import Sha256

MB = 1_000_000


class Usage(NamedTuple):
    total: int
    used: int
    free: int


Disk = Callable[[int], None]


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Makes every disk one of 100 MB that has so many bytes left."""

    def set_free(free_bytes: int) -> None:
        usage = Usage(100 * MB, 100 * MB - free_bytes, free_bytes)
        monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage)

    return set_free


def test_check_space__disk_has_less__says_both_numbers_and_where(
    tmp_path: Path, disk: Disk
) -> None:
    disk(2 * MB)
    with pytest.raises(StoreFull) as refused:
        check_space(tmp_path, 3 * MB, "The files need")
    assert refused.value.message == (
        f'The files need 3.0 MB, and the disk of "{tmp_path}" has 2.0 MB left. Free some and try '
        "again."
    )
    check_space(tmp_path, 2 * MB, "The files need")


def test_check_space__what_is_not_small__leaves_something_of_the_disk(
    tmp_path: Path, disk: Disk
) -> None:
    disk(34 * MB)
    with pytest.raises(StoreFull) as refused:
        check_space(tmp_path, 30 * MB, "The files need")
    assert refused.value.message == (
        f'The files need 30.0 MB, and the disk of "{tmp_path}" has 34.0 MB left, of which 5.0 MB '
        "stay free. Free some and try again."
    )
    disk(35 * MB)
    check_space(tmp_path, 30 * MB, "The files need")


def test_localize__many_small_files_that_fill_the_disk__are_given_up(
    tmp_path: Path, repository: Repository, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({f"f{number}": "x" for number in range(20_000)})
    source, place = resolve_git(repository.url, "main"), Place(tmp_path / "place")
    disk(80 * MB)
    check = git_checkout.check_space

    def fill(folder: Path, needed_bytes: int, what: str) -> None:
        check(folder, needed_bytes, what)
        # Once the checkout has begun; a file of one byte takes a block.
        looks = iter([80 * MB])
        usage = shutil.disk_usage(folder)
        monkeypatch.setattr(
            shutil, "disk_usage", lambda _path: usage._replace(free=next(looks, MB))
        )

    monkeypatch.setattr(git_checkout, "check_space", fill)
    with pytest.raises(StoreFull, match=r"What is checked out of .* is larger than the disk of"):
        place.localize(source)

    assert not (place.code / "digits").exists()


def test_get__archive_and_what_stays_free__takes_the_place_of_old_ones(
    tmp_path: Path, disk: Disk
) -> None:
    cache = DigestCache(tmp_path / "cache", "", lambda _: None, 1 << 30)

    def get(digit: str, size_bytes: int) -> None:
        def fetch(path: Path) -> Sha256:
            path.write_bytes(digit.encode() * MB)
            return digest

        digest = Sha256(digit * 64)
        cache.get(Wanted(digest, digest, fetch, "an archive", size_bytes)).file.close()

    disk(80 * MB)
    get("a", MB)
    disk(24 * MB)
    with pytest.raises(StoreFull, match=r"of which 5\.0 MB stay free"):
        get("b", 20 * MB)  # 1 MB short: the old one goes, as the disk here never tells
    assert not (cache.folder / ("a" * 64)).exists()


def test_check_space__file_system_that_does_not_say__is_no_full_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage(0, 0, 0))
    assert missing_bytes(tmp_path, 3 * MB) == 0
    check_space(tmp_path, 3 * MB, "The files need")


def test_localize__archive_larger_than_the_disk__is_not_asked_for(
    tmp_path: Path, disk: Disk
) -> None:
    place = Place(tmp_path / "place")
    with ArchiveServer() as server:
        server.files["/digits.tar"] = Served(make_archive("tar"))
        request = ArchiveRequest(f"{server.url}/digits.tar")
        source = resolve_archive(request, remote_opener({}))
        asked = len(server.asked)
        disk(1000)
        with pytest.raises(StoreFull, match=r"To fetch http://.*/digits.tar takes 0\.3 MB"):
            place.localize(source)
        assert len(server.asked) == asked
        disk(10 * MB)
        assert place.localize(source).files


@pytest.fixture
def slow(tmp_path: Path, repository: Repository, disk: Disk) -> Iterator[GitServer]:
    """Serves a repository; when half of it has come the disk is full, until it is given up."""
    commit_noise(repository)
    copy_as_served(repository, tmp_path / "served", "digits.git")
    over = threading.Event()

    def fill() -> None:
        disk(1 * MB)
        assert over.wait(60)

    with GitServer(tmp_path / "served", halfway=fill) as server:
        try:
            yield server
        finally:
            over.set()


def commit_noise(repository: Repository) -> None:
    repository.commit({"weights.bin": os.urandom(MB)})


def test_localize__repository_that_fills_the_disk__is_given_up_and_leaves_nothing(
    tmp_path: Path, slow: GitServer, disk: Disk
) -> None:
    disk(80 * MB)
    place = Place(tmp_path / "place")
    source = resolve_git(f"{slow.url}/digits.git", "main")
    with pytest.raises(StoreFull) as refused:
        place.localize(source)
    (cached,) = (place.root / "cache" / "git").glob("*.git")
    assert refused.value.message == (
        f'The repository {slow.url}/digits.git is larger than the disk of "{cached}" can hold: '
        "1.0 MB are left, of which 5.0 MB stay free. Free some and try again."
    )
    assert list(cached.glob("objects/pack/*")) == []
    slow.halfway = None
    disk(80 * MB)
    assert place.localize(source).files == 2
    assert git(cached, "fsck") in {"", "notice: HEAD points to an unborn branch"}


def test_resolve__commits_that_fill_the_disk__are_given_up(
    repository: Repository, slow: GitServer, disk: Disk, git_config: Path, tmp_path: Path
) -> None:
    git(tmp_path / "served" / "digits.git", "config", "uploadpack.allowFilter", "false")
    disk(80 * MB)
    with pytest.raises(StoreFull, match=r"What is to be looked through of http://.*/digits\.git "):
        resolve_git(f"{slow.url}/digits.git", repository.head[:8])


def test_localize__little_code_on_a_full_disk__starts(
    tmp_path: Path, repository: Repository, disk: Disk
) -> None:
    commit_noise(repository)
    disk(4 * MB)
    assert Place(tmp_path / "place").localize(resolve_git(repository.url, "main")).files == 2


def test_localize__snapshot_larger_than_the_disk__is_not_asked_for(
    tmp_path: Path, disk: Disk
) -> None:
    def fetch(_sha256: Sha256, _path: Path) -> None:
        raise AssertionError("asked for")

    source = SnapshotCode(Sha256("a" * 64), 3 * MB, "digits")
    disk(2 * MB)
    means = Means(tmp_path / "cache", fetch, open_file)
    with pytest.raises(StoreFull, match=r"To fetch the snapshot a{12} takes 3\.0 MB"):
        localize(source, code_dir=tmp_path / "code", means=means)


@pytest.mark.parametrize(
    ("size_bytes", "left"),
    [
        (900, {"older", "old", "new"}),
        (1500, {"old", "new"}),
        (2500, {"new"}),
        (3500, {"older", "old"}),  # that would not be enough either
    ],
)
def test_get__disk_is_short__gives_up_old_archives_if_that_is_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size_bytes: int, left: set[str]
) -> None:
    cache = DigestCache(tmp_path / "cache", "", lambda _: None, 1 << 30)
    names = {sha256(name.encode()).hexdigest(): name for name in ("older", "old", "new")}

    def usage(folder: Path) -> Usage:
        used = sum(path.stat().st_size for path in folder.iterdir())
        return Usage(3000, used, 3000 - used)

    def get(name: str, size_bytes: int) -> None:
        def fetch(path: Path) -> Sha256:
            path.write_bytes(bytes(size_bytes))
            return digest

        digest = Sha256(sha256(name.encode()).hexdigest())
        cache.get(Wanted(digest, digest, fetch, "an archive", size_bytes)).file.close()

    monkeypatch.setattr(shutil, "disk_usage", usage)
    for number, name in enumerate(("older", "old")):
        get(name, 1000)
        (path,) = (path for path in cache.folder.iterdir() if names.get(path.name) == name)
        os.utime(path, (number, number))

    if "new" in left:
        get("new", size_bytes)
    else:
        with pytest.raises(StoreFull, match=r"To fetch an archive takes 0\.0 MB"):
            get("new", size_bytes)

    kept = {names[path.name] for path in cache.folder.iterdir() if path.suffix != ".lock"}
    assert kept == left


def test_localize__large_files_of_git_larger_than_the_disk__are_not_fetched(
    repository: Repository, tmp_path: Path, disk: Disk
) -> None:
    need_git_lfs()
    git(repository.path, "lfs", "install")
    git(repository.path, "lfs", "track", "*.bin")
    repository.commit({"model.bin": os.urandom(70_000)})
    cache = tmp_path / "cache"
    source = resolve_git(repository.url, None)
    means = Means(cache, lambda *_: None, open_file)
    disk(50_000)

    with pytest.raises(StoreFull, match=r"The large files of .* need 0\.1 MB"):
        localize(source, code_dir=tmp_path / "code", means=means)

    assert not list(cache.rglob("git-lfs/objects/*/*/*"))
    disk(MB)
    localize(source, code_dir=tmp_path / "code", means=means)
    assert (tmp_path / "code/digits/model.bin").stat().st_size == 70_000
