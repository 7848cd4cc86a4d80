"""What every manifest store must do. Subclass ``ManifestStoreSuite`` and give ``make_store``."""

from __future__ import annotations

import asyncio
import hashlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile, ArtifactSums
from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import Sha256
from seafloor.stores.artifacts.protocol import IntentView, ManifestStore, new_intent
from seafloor.testing.object_cases import ODD_KEYS, SIBLINGS

OWNER = "0192f0c1d2e37a4b8c5d6e7f80910a1b"
OTHER = "0192f0c1d2e37a4b8c5d6e7f80910a1c"
MODEL = "m-0192f0c1d2e37a4b8c5d6e7f80910a1b"
NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000


def row_of(path: str, size_bytes: int = 1) -> ArtifactFile:
    """A row whose digest is that of its path."""
    return ArtifactFile(
        path=path,
        size_bytes=size_bytes,
        sha256=Sha256(hashlib.sha256(path.encode("utf-8")).hexdigest()),
        created_ns=1_700_000_000_123_456_789,
    )


async def paths_of(store: ManifestStore, folder: str = "", *, limit: int = 1000) -> list[str]:
    """All paths below a folder, page by page."""
    found: list[str] = []
    while True:
        after = found[-1] if found else None
        page = await store.manifest_list(OWNER, folder, limit=limit, after=after)
        assert len(page) <= limit
        found += [row.path for row in page]
        if len(page) < limit:
            return found


class ManifestStoreSuite(ABC):
    """True of every manifest store."""

    @abstractmethod
    def make_store(self, folder: Path) -> AbstractAsyncContextManager[ManifestStore]:
        """Make a store that has the owners OWNER, OTHER and MODEL, if it has to know them.

        Args:
            folder: Of the test's own.
        """

    @pytest.fixture
    async def store(self, tmp_path: Path) -> AsyncIterator[ManifestStore]:
        async with self.make_store(tmp_path) as store:
            yield store

    async def test_put__odd_path__is_the_same_everywhere(self, store: ManifestStore) -> None:
        for path in ODD_KEYS:
            await store.manifest_put(OWNER, row_of(path))
            assert await store.manifest_get(OWNER, path) == row_of(path)
            assert await store.manifest_list(OWNER, "", limit=10) == (row_of(path),)
            assert await store.manifest_delete(OWNER, path) == 1, path
            assert await store.manifest_list(OWNER, "", limit=10) == ()

    async def test_list__odd_paths__come_by_code_point(self, store: ManifestStore) -> None:
        """Also those past U+FFFF, which sort elsewhere in UTF-16, and upper before lower case."""
        paths = [*ODD_KEYS, "z", "Z", "\uff5e tilde", "\U0001f642 face"]
        for path in paths:
            await store.manifest_put(OWNER, row_of(path))
        assert await paths_of(store) == sorted(paths)
        assert await paths_of(store, limit=2) == sorted(paths)

    async def test_put__bounds_of_the_fields__are_kept(self, store: ManifestStore) -> None:
        for size_bytes in (0, 2**31, 2**53 + 1, 2**62):
            row = row_of("a", size_bytes)
            await store.manifest_put(OWNER, row)
            assert await store.manifest_get(OWNER, "a") == row

    async def test_put__again__replaces(self, store: ManifestStore) -> None:
        await store.manifest_put(OWNER, row_of("a/b", 1))
        await store.manifest_put(OWNER, row_of("a/b", 2))
        assert await store.manifest_list(OWNER, "", limit=10) == (row_of("a/b", 2),)

    async def test_get__missing__is_not_found(self, store: ManifestStore) -> None:
        await store.manifest_put(OWNER, row_of("a/b"))
        for path in ("missing", "a", "a/b/c", "A/B", "a/_", "%"):
            with pytest.raises(NotFound):
                await store.manifest_get(OWNER, path)
        with pytest.raises(NotFound):
            await store.manifest_get(OTHER, "a/b")

    async def test_owners__of_any_kind__do_not_meet(self, store: ManifestStore) -> None:
        for size_bytes, owner in enumerate((OWNER, OTHER, MODEL)):
            await store.manifest_put(owner, row_of("a/b", size_bytes))
        await store.manifest_put(OTHER, row_of("c"))
        assert await store.manifest_get(MODEL, "a/b") == row_of("a/b", 2)
        assert await store.manifest_delete(OWNER, "a") == 1
        assert await store.manifest_list(OWNER, "", limit=10) == ()
        assert len(await store.manifest_list(OTHER, "", limit=10)) == 2
        assert await store.manifest_delete(MODEL, "c") == 0

    async def test_put__file_and_folder_of_one_path__are_refused_both_ways(
        self, store: ManifestStore
    ) -> None:
        await store.manifest_put(OWNER, row_of("a/b/c"))
        for path in ("a", "a/b", "a/b/c/d", "a/b/c/d/e"):
            with pytest.raises(Conflict):
                await store.manifest_put(OWNER, row_of(path))
        assert await paths_of(store) == ["a/b/c"]
        await store.manifest_put(OWNER, row_of("a/b/c"))
        await store.manifest_put(OTHER, row_of("a"))

    async def test_put__file_and_folder_at_once__one_is_refused(self, store: ManifestStore) -> None:
        for number in range(10):
            ends = await asyncio.gather(
                store.manifest_put(OWNER, row_of(f"{number}")),
                store.manifest_put(OWNER, row_of(f"{number}/x")),
                return_exceptions=True,
            )
            assert sorted(type(end).__name__ for end in ends) == ["Conflict", "NoneType"]

    async def test_list__siblings__folder_is_not_a_prefix(self, store: ManifestStore) -> None:
        for path in SIBLINGS:
            await store.manifest_put(OWNER, row_of(path))
        assert await paths_of(store, "a") == ["a/b", "a/b-c", "a/bc/d", "a/z"]
        for nothing in ("a/b", "ab", "a0", "missing", "A", "_", "%"):
            assert await paths_of(store, nothing) == []
        for limit in range(1, len(SIBLINGS) + 2):
            assert await paths_of(store, limit=limit) == list(SIBLINGS)
            assert await paths_of(store, "a", limit=limit) == ["a/b", "a/b-c", "a/bc/d", "a/z"]

    async def test_children__siblings__folders_have_sums(self, store: ManifestStore) -> None:
        for size_bytes, path in enumerate(SIBLINGS):
            await store.manifest_put(OWNER, row_of(path, size_bytes))
        found = await store.manifest_children(OWNER, "", limit=100)
        assert [one.place for one in found] == ["a-b", "a-b2/", "a.b/", "a/", "a0", "ab", "b"]
        assert found[3] == ArtifactEntry(
            path="a", is_folder=True, size_bytes=3 + 4 + 5 + 6, files=4
        )
        assert found[0] == ArtifactEntry(
            path="a-b", is_folder=False, size_bytes=0, files=1, sha256=row_of("a-b").sha256
        )
        assert await store.manifest_sums(OWNER, "a") == ArtifactSums(4, 3 + 4 + 5 + 6)
        assert await store.manifest_sums(OWNER, "") == ArtifactSums(10, 45)
        for nothing in ("a/b", "missing"):
            assert await store.manifest_sums(OWNER, nothing) == ArtifactSums(0, 0)
        inner = await store.manifest_children(OWNER, "a", limit=100)
        assert [(entry.path, entry.is_folder) for entry in inner] == [
            ("a/b", False),
            ("a/b-c", False),
            ("a/bc", True),
            ("a/z", False),
        ]

    async def test_children__missing_folder_or_file__is_empty(self, store: ManifestStore) -> None:
        await store.manifest_put(OWNER, row_of("a/b"))
        for folder in ("missing", "a/b", "ab", "A", "_", "%"):
            assert await store.manifest_children(OWNER, folder, limit=100) == (), folder
        assert await store.manifest_children(OTHER, "", limit=100) == ()

    async def test_children__paged__each_once_and_whole(self, store: ManifestStore) -> None:
        for size_bytes, path in enumerate(SIBLINGS):
            await store.manifest_put(OWNER, row_of(path, size_bytes))
        for folder in ("", "a"):
            whole = await store.manifest_children(OWNER, folder, limit=100)
            for limit in range(1, len(whole) + 2):
                paged: list[ArtifactEntry] = []
                while page := await store.manifest_children(
                    OWNER, folder, limit=limit, after=paged[-1].place if paged else None
                ):
                    assert len(page) <= limit
                    paged += page
                assert tuple(paged) == whole, limit

    async def test_children__after_what_is_no_place__begins_where_it_would_stand(
        self, store: ManifestStore
    ) -> None:
        for path in SIBLINGS:
            await store.manifest_put(OWNER, row_of(path))
        for folder, after, expected in (
            ("", "a/b", ["a0", "ab", "b"]),
            ("", "a/bc/x", ["a0", "ab", "b"]),
            ("", "a", ["a-b", "a-b2/", "a.b/", "a/", "a0", "ab", "b"]),
            ("a", "a/", ["a/b", "a/b-c", "a/bc/", "a/z"]),
            ("a", "0", ["a/b", "a/b-c", "a/bc/", "a/z"]),
            ("a", "a/bc/d/e", ["a/z"]),
            ("a", "b", []),
        ):
            found = await store.manifest_children(OWNER, folder, limit=100, after=after)
            assert [one.place for one in found] == expected, (folder, after)

    async def test_delete__folder_or_file__not_its_siblings(self, store: ManifestStore) -> None:
        for path in SIBLINGS:
            await store.manifest_put(OWNER, row_of(path))
        for nothing in ("missing", "a/b/c", "A", "_", "%"):
            assert await store.manifest_delete(OWNER, nothing) == 0
        assert await store.manifest_delete(OWNER, "a/b") == 1
        assert await store.manifest_delete(OWNER, "a") == 3
        assert await store.manifest_delete(OWNER, "a") == 0
        assert await paths_of(store) == [path for path in SIBLINGS if path[:2] != "a/"]

    async def test_delete__of_all__is_seen_everywhere_and_no_other_owner_loses(
        self, store: ManifestStore
    ) -> None:
        for path in SIBLINGS:
            await store.manifest_put(OWNER, row_of(path))
            await store.manifest_put(MODEL, row_of(path))
        deletion, mine, other = (new_intent(time_ms=NOW_MS) for _ in range(3))
        await store.intent_begin(OWNER, "a/b", mine, sha256=None)
        await store.intent_begin(MODEL, "a/b", other, sha256=None)
        assert await store.manifest_delete(OWNER, "", intent=deletion) == len(SIBLINGS)
        seen = await store.intent_look(OWNER, "a/b", mine)
        assert (seen.row, seen.deleting, seen.outdated) == (None, True, True)
        seen = await store.intent_look(MODEL, "a/b", other)
        assert (seen.row, seen.deleting, seen.outdated) == (row_of("a/b"), False, False)
        assert await store.manifest_recheck(OWNER, "") == ()
        assert await store.manifest_delete(OWNER, "") == 0
        assert [row.path for row in await store.manifest_recheck(MODEL, "")] == list(SIBLINGS)

    async def test_delete__then_put__the_path_is_free(self, store: ManifestStore) -> None:
        await store.manifest_put(OWNER, row_of("a/b"))
        await store.manifest_delete(OWNER, "a")
        await store.manifest_put(OWNER, row_of("a"))
        assert await paths_of(store) == ["a"]

    async def test_intents__of_a_path__are_seen_until_they_end(self, store: ManifestStore) -> None:
        mine, other = new_intent(time_ms=NOW_MS), new_intent(time_ms=NOW_MS)
        await store.intent_begin(OWNER, "a", mine, sha256=row_of("1").sha256)
        await store.intent_begin(OWNER, "a", other, sha256=row_of("2").sha256)
        seen = await store.intent_look(OWNER, "a", mine)
        both = frozenset({row_of("1").sha256, row_of("2").sha256})
        assert seen == IntentView(
            row=None, sha256s=both, deleting=False, putting=True, outdated=False
        )
        assert not await store.intent_end(OWNER, "a", mine, row_of("a"), alone=True)
        assert await store.intent_end(OWNER, "a", mine, row_of("a"), alone=False)
        seen = await store.intent_look(OWNER, "a", other)
        assert (seen.row, seen.outdated) == (row_of("a"), True)
        assert not (await store.intent_look(OWNER, "a", other)).outdated
        assert await store.intent_end(OWNER, "a", other, None, alone=True)
        with pytest.raises(NotFound):
            await store.manifest_get(OWNER, "a")

    @pytest.mark.parametrize(("place", "is_seen"), [("a/b", True), ("a", True), ("a-b", False)])
    async def test_intents__somebody_deletes__is_seen_below_for_a_while(
        self, store: ManifestStore, place: str, *, is_seen: bool
    ) -> None:
        deletion = new_intent(time_ms=NOW_MS)
        await store.manifest_delete(OWNER, place, intent=deletion)
        for late_ms, is_putting in ((59_000, is_seen), (61_000, False)):
            mine = new_intent(time_ms=NOW_MS + late_ms)
            seen = await store.intent_look(OWNER, "a/b", mine)
            assert (seen.putting, seen.deleting) == (is_putting, is_seen)
            await store.intent_drop(mine)
        await store.intent_drop(deletion)
        assert not (await store.intent_look(OWNER, "a/b", mine)).putting

    @pytest.mark.parametrize("what", ["put", "delete", "delete above", "recheck above"])
    async def test_intents__row_changes_meanwhile__outdated(
        self, store: ManifestStore, what: str
    ) -> None:
        mine, beside = new_intent(time_ms=NOW_MS), new_intent(time_ms=NOW_MS)
        await store.intent_begin(OWNER, "a/b", mine, sha256=None)
        await store.intent_begin(OWNER, "a-b", beside, sha256=None)
        if what == "put":
            await store.manifest_put(OWNER, row_of("a/b"))
        elif what == "recheck above":
            assert await store.manifest_recheck(OWNER, "a") == ()
        else:
            await store.manifest_delete(OWNER, "a" if what == "delete above" else "a/b")
        assert not await store.intent_end(OWNER, "a/b", mine, row_of("a/b"), alone=True)
        assert (await store.intent_look(OWNER, "a/b", mine)).outdated
        assert await store.intent_end(OWNER, "a-b", beside, row_of("a-b"), alone=True)

    async def test_delete__with_an_intent__is_seen_at_and_below_until_it_is_dropped(
        self, store: ManifestStore
    ) -> None:
        deletion, stale = new_intent(time_ms=NOW_MS), new_intent(time_ms=NOW_MS - 2 * DAY_MS)
        await store.manifest_put(OWNER, row_of("a/b/c"))
        assert await store.manifest_delete(OWNER, "a/b", intent=deletion) == 1
        await store.manifest_delete(OWNER, "x", intent=stale)

        async def deleting(path: str) -> bool:
            mine = new_intent(time_ms=NOW_MS)
            await store.intent_begin(OWNER, path, mine, sha256=None)
            seen = await store.intent_look(OWNER, path, mine)
            await store.intent_drop(mine)
            return seen.deleting

        places = ["a/b", "a/b/c", "a/b/c/d", "a", "a/bc", "a/b-c", "x/y"]
        assert [await deleting(path) for path in places] == [True] * 3 + [False] * 4
        await store.intent_drop(deletion)
        assert not await deleting("a/b/c")
