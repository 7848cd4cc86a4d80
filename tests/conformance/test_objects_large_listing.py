"""A listing of many thousand keys gives the same answers from every store."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence

import pytest
from tests.services._service import Service

from object_worlds import KINDS, fresh_objects
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.testing.object_cases import listed

COUNT = int(os.environ.get("SEAFLOOR_LISTING_KEYS", "0"))
COUNTS = dict.fromkeys(KINDS, COUNT or 2_000) | {"s3": COUNT or 25_000}
"""Keys of each. Writing 25,000 takes a folder (fsync) and HDFS minutes; the emulators of Azure and
GCS look through all they have at every step and take more than ten.
tests/conformance/test_objects_gcs.py lists as many from a server that answers as documented.
"""
AT_ONCE = 48
ODD = ("with space", "100%", "a+b", "no#1", "größe", "数", "e\u0301", "é", "a", "a-b", "a.b", "ab")
"""Names that some store, URL or order of keys takes for something else."""

LISTINGS = (
    ("", True, 1000),
    ("", False, 2),
    ("flat", False, 997),
    ("deep", False, 10),
    ("deep/3", True, 13),
    ("odd", True, 7),
    ("odd", False, 1),
    ("odd/größe", False, 3),
    ("a", True, 1),
    ("missing", True, 1),
)
"""Folder, whether recursive, entries of a page."""


def keys(count: int) -> list[str]:
    """Many in one folder, many in many folders, and odd ones; all objects are empty."""
    odd = [f"odd/{name}/{number}" for name in ODD for number in range(20)]
    odd += [f"odd/{name} x" for name in ODD] + ["a-b", "ab", "a/b"]
    half = (count - len(odd)) // 2
    flat = [f"flat/{number:05}.bin" for number in range(half)]
    deep = [
        f"deep/{number % 97}/{number % 7}/{number}" for number in range(count - half - len(odd))
    ]
    return [*flat, *deep, *odd]


async def put_all(store: ObjectStore, wanted: Sequence[str]) -> None:
    """Put empty objects, some at once."""
    rest: Iterator[str] = iter(wanted)

    async def worker() -> None:
        for key in rest:
            await store.put(key, b"")

    await asyncio.gather(*(worker() for _ in range(AT_ONCE)))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
async def test_list__many_keys__are_those_of_the_model(
    kind: str, service: Callable[[str], Service]
) -> None:
    async with fresh_objects(kind, service) as store:
        model = MemoryObjectStore(nested_keys=store.capabilities.nested_keys)
        wanted = keys(COUNTS[kind])
        # Where an object may have others below it, some do.
        wanted += ["a", "flat", "odd/größe"] if store.capabilities.nested_keys else []
        await put_all(model, wanted)
        await put_all(store, wanted)
        for folder, recursive, limit in LISTINGS:
            found, folders = await listed(store, folder, limit=limit, recursive=recursive)
            there, their = await listed(model, folder, limit=limit, recursive=recursive)
            assert [info.key for info in found] == [info.key for info in there], folder
            assert folders == their, folder
        assert await store.delete_folder("flat") == await model.delete_folder("flat")
        assert await listed(store, "flat") == ([], [])
