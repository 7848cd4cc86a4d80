"""The object store in a folder, killed or failing at each call to the operating system."""

from __future__ import annotations

import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from seafloor.domain.errors import NotFound, SeafloorError, StoreFull
from seafloor.stores.objects.keys import STAGING_FOLDER
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.testing import object_crash_cases as cases
from seafloor.testing.object_cases import content, keys_of, listed, put_all, stream_of
from seafloor.testing.os_faults import at_call, kill_at_each_call

NEW = b"".join(cases.NEW)


async def whole(store: LocalObjectStore, key: str) -> bytes | None:
    """What an object is: None when it is not there."""
    try:
        return await content(store, key)
    except NotFound:
        return None


async def states_after_kill(work: str, folder: Path) -> tuple[list[str], list[bytes | None]]:
    """Kill at each call; say which calls there were, and what ``a/b/c`` was found to be after."""
    calls = kill_at_each_call(f"seafloor.testing.object_crash_cases:{work}", folder)
    assert calls[-1] == "acknowledged"
    found: list[bytes | None] = []
    for number in range(1, len(calls) + 1):
        root = folder / str(number)
        store = LocalObjectStore(root)
        staged = [path for path in (root / STAGING_FOLDER).rglob("*") if path.is_file()]
        assert {path.suffix for path in staged} == {".lock"}, "what was unfinished is left"
        assert len(staged) == 2
        found.append(await whole(store, "a/b/c"))
        assert await content(store, "keep") == b"keep"
        assert await keys_of(store) == (["keep"] if found[-1] is None else ["a/b/c", "keep"])
        folders = (await listed(store, recursive=False))[1]
        assert folders == ([] if found[-1] is None else ["a"])
        # What is left of folders is in nobody's way.
        await store.put("a/b/c", b"again")
        assert await store.delete_folder("a") == 1
        await store.put("a", b"as an object")
        await store.close()
    return calls, found


@pytest.mark.parametrize("work", ["create", "create_if_absent"])
async def test_put__killed_at_any_call__is_whole_or_not_there(tmp_path: Path, work: str) -> None:
    calls, found = await states_after_kill(work, tmp_path)
    assert {"open", "write", "fsync", "mkdir"} < set(calls)
    assert ("link" if work == "create_if_absent" else "rename") in calls
    assert set(found) == {None, NEW}
    assert found[-1] == NEW
    assert found == sorted(found, key=lambda state: state is not None), "it came and went"


async def test_put__killed_while_replacing__is_the_old_or_the_new(tmp_path: Path) -> None:
    _, found = await states_after_kill("replace", tmp_path)
    assert set(found) == {cases.OLD, NEW}
    assert found[-1] == NEW


async def test_delete__killed_at_any_call__is_whole_or_gone(tmp_path: Path) -> None:
    _, found = await states_after_kill("delete", tmp_path)
    assert set(found) == {cases.OLD, None}
    assert found[-1] is None


async def test_delete_folder__killed_at_any_call__goes_on_where_it_stopped(tmp_path: Path) -> None:
    calls = kill_at_each_call("seafloor.testing.object_crash_cases:delete_folder", tmp_path)
    lefts: list[int] = []
    for number in range(1, len(calls) + 1):
        store = LocalObjectStore(tmp_path / str(number))
        left = await keys_of(store, "f")
        assert set(left) <= set(cases.BELOW)
        for key in left:
            assert await content(store, key) == cases.OLD
        assert await store.delete_folder("f") == len(left)
        assert await listed(store, recursive=False) == ([await store.head("keep")], [])
        lefts.append(len(left))
        await store.close()
    assert lefts == sorted(lefts, reverse=True)
    assert set(lefts) == set(range(len(cases.BELOW) + 1))


Call = Callable[[LocalObjectStore], Awaitable[object]]
CALLS: dict[str, tuple[tuple[str, ...], Call, set[bytes | None]]] = {
    "create": ((), lambda store: store.put("a/b/c", stream_of(cases.NEW)), {None, NEW}),
    "create_if_absent": (
        (),
        lambda store: store.put("a/b/c", stream_of(cases.NEW), if_absent=True),
        {None, NEW},
    ),
    "replace": (
        ("a/b/c",),
        lambda store: store.put("a/b/c", stream_of(cases.NEW)),
        {cases.OLD, NEW},
    ),
    "delete": (("a/b/c",), lambda store: store.delete("a/b/c"), {cases.OLD, None}),
    "delete_folder": (("a/b/c",), lambda store: store.delete_folder("a"), {cases.OLD, None}),
}


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("name", CALLS)
async def test_call__operating_system_fails_at_any_call__is_an_error_of_ours(
    tmp_path: Path, name: str, number: int
) -> None:
    before, call, allowed = CALLS[name]

    def fail(_: str) -> None:
        raise OSError(number, os.strerror(number))

    for at in range(1, 200):
        root = tmp_path / str(at)
        store = LocalObjectStore(root)
        await put_all(store, ["keep"])
        for key in before:
            await store.put(key, cases.OLD)
        in_its_threads = at_call(at, fail, thread_prefix="seafloor-objects", reading_opens=True)
        with in_its_threads as names:
            try:
                await call(store)
            except SeafloorError as error:
                failed: SeafloorError | None = error
            else:
                failed = None
        found = await whole(store, "a/b/c")
        assert found in allowed
        if isinstance(failed, StoreFull) and name.startswith(("create", "replace")):
            assert found != NEW, "it says that nothing was written, and something was"
        if names and failed is None and len(names) >= at:
            # A failure that was not told must not have mattered.
            assert found == (NEW if NEW in allowed else None)
        staged = [path for path in (root / STAGING_FOLDER).rglob("*") if path.is_file()]
        if not (len(names) >= at and names[at - 1] == "unlink"):
            assert len(staged) == 2
        await call_again(store, name, call)
        assert await whole(store, "a/b/c") == (NEW if NEW in allowed else None)
        await store.close()
        if len(names) < at:
            assert failed is None
            return
    raise AssertionError("more calls than expected")


async def call_again(store: LocalObjectStore, name: str, call: Call) -> None:
    """Repeat what failed; what was created already is answered as such."""
    if name == "create_if_absent" and await whole(store, "a/b/c") is not None:
        return
    await call(store)
