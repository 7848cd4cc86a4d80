from __future__ import annotations

import os
import shutil
from pathlib import Path

import msgspec
import pytest

from git_world import Repository, tree_of
from seafloor import __version__
from seafloor.code.digest_cache import DigestCache, Wanted
from seafloor.code.file_archive import open_file
from seafloor.code.localize import Means, localize
from seafloor.code.snapshot import take_snapshot
from seafloor.domain.code import Receipt, SnapshotCode
from seafloor.domain.errors import InvalidValue, NotFound, StoreCorrupt, StoreFull
from seafloor.domain.ids import Sha256

BESIDE = {"current", ".receipt.json", ".localize.folder", ".localize.lock"}


class Store:
    """Where snapshots are kept, and how often one was asked for."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.asked = 0

    def keep(self, folder: Path) -> SnapshotCode:
        source = take_snapshot(folder, self.root / "new")
        (self.root / "new").rename(self.path(source.sha256))
        return source

    def path(self, sha256: Sha256) -> Path:
        return self.root / sha256

    def fetch(self, sha256: Sha256, path: Path) -> None:
        self.asked += 1
        shutil.copyfile(self.path(sha256), path)

    def localize(self, source: SnapshotCode, code_dir: Path) -> Receipt:
        means = Means(self.root / "cache", self.fetch, open_file)
        return localize(source, code_dir=code_dir, means=means)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    (tmp_path / "store").mkdir()
    return Store(tmp_path / "store")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = Repository(tmp_path / "work")
    made.write({"train.py": "1", "data/weights.bin": os.urandom(300_000)})
    return made.path


def names(code_dir: Path) -> set[str]:
    return {path.name for path in code_dir.iterdir()}


def test_localize__snapshot__is_the_folder_with_a_receipt(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    source = store.keep(folder)

    receipt = store.localize(source, tmp_path / "code")

    assert tree_of(tmp_path / "code/work") == tree_of(folder)
    assert names(tmp_path / "code") == {"work", *BESIDE}
    assert receipt == Receipt(
        kind="snapshot",
        url=f"code/{source.sha256}.tar.zst",
        sha256=source.sha256,
        files=2,
        size_bytes=300_001,
        duration_s=receipt.duration_s,
        cached=False,
        format_version=2,
        localizer=__version__,
    )


def test_localize__snapshot_in_the_cache__is_not_fetched_again(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    source = store.keep(folder)
    store.localize(source, tmp_path / "one")

    receipt = store.localize(source, tmp_path / "two")

    assert receipt.cached
    assert store.asked == 1
    assert store.localize(source, tmp_path / "two") == receipt


def test_localize__damaged_cached_snapshot__is_fetched_anew(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    source = store.keep(folder)
    store.localize(source, tmp_path / "one")
    (cached,) = (store.root / "cache/snapshots").glob("*.tar.zst")
    cached.write_bytes(cached.read_bytes()[:-100])

    receipt = store.localize(source, tmp_path / "two")

    assert not receipt.cached
    assert tree_of(tmp_path / "two/work") == tree_of(folder)


def test_localize__damaged_stored_snapshot__leaves_nothing(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    source = store.keep(folder)
    stored = store.path(source.sha256)
    stored.write_bytes(stored.read_bytes()[:1000])

    with pytest.raises(StoreCorrupt):
        store.localize(source, tmp_path / "code")

    assert names(tmp_path / "code") == {".localize.lock"}
    assert not list((store.root / "cache/snapshots").glob("*.tar.zst*"))


def test_localize__snapshot_that_the_store_lacks__passes_the_stores_error_on(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    def missing(sha256: Sha256, path: Path) -> None:
        path.write_bytes(b"half")
        raise NotFound(f"There is no snapshot {sha256[:12]}.")

    with pytest.raises(NotFound):
        localize(
            store.keep(folder),
            code_dir=tmp_path / "code",
            means=Means(tmp_path / "cache", missing, open_file),
        )

    assert names(tmp_path / "code") == {".localize.lock"}
    assert not list((tmp_path / "cache/snapshots").glob("*.tar.zst*"))


def test_localize__folder_name_from_a_stranger__cannot_escape(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    source = store.keep(folder)
    for name in ("..", "../x", "/x", "a/b", ".localized", "", "a\0b"):
        with pytest.raises(InvalidValue):
            store.localize(msgspec.structs.replace(source, folder=name), tmp_path / "code")


def test_localize__snapshot_after_a_commit_of_the_same_folder__replaces_it(
    store: Store, repository: Repository, tmp_path: Path
) -> None:
    first = store.keep(repository.path)
    store.localize(first, tmp_path / "code")
    repository.write({"train.py": "edited"})
    second = store.keep(repository.path)

    store.localize(second, tmp_path / "code")

    assert (tmp_path / "code/digits/train.py").read_text() == "edited"
    assert names(tmp_path / "code") == {"digits", *BESIDE}


def test_localize__more_snapshots_than_the_cache_may_hold__drops_the_oldest(
    store: Store, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = DigestCache(store.root / "cache", ".tar.zst", lambda _: None, size_bytes_max=700_000)
    sources: list[SnapshotCode] = []
    for number in range(4):
        (folder / "data/weights.bin").write_bytes(os.urandom(300_000))
        sources.append(store.keep(folder))
        sha256 = sources[-1].sha256

        def fetch(path: Path, sha256: Sha256 = sha256) -> Sha256:
            store.fetch(sha256, path)
            return sha256

        cached = cache.get(Wanted(sha256, sha256, fetch, "a snapshot"))
        with cached.file as file:
            os.utime(file.fileno(), (number, number))
        assert cached.fetched

    kept = {path.name for path in (store.root / "cache").glob("*.tar.zst")}

    assert kept == {f"{source.sha256}.tar.zst" for source in sources[-2:]}


def test_localize__full_disk__says_so_and_leaves_nothing(
    store: Store, folder: Path, small_disk: Path
) -> None:
    (folder / "data/zeros.bin").write_bytes(bytes(8_000_000))
    source = store.keep(folder)

    with pytest.raises(StoreFull, match="more space than the disk has left"):
        store.localize(source, small_disk / "code")

    assert names(small_disk / "code") == {".localize.lock"}


def test_take_snapshot__full_disk__says_so_and_leaves_nothing(
    folder: Path, small_disk: Path
) -> None:
    (folder / "data/noise.bin").write_bytes(os.urandom(8_000_000))

    with pytest.raises(StoreFull, match="more space than the disk has left"):
        take_snapshot(folder, small_disk / "s.tar.zst")

    assert list(small_disk.iterdir()) == []
