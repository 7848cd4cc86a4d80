"""Writes to a metadata store without end and prints each thing that was acknowledged.

``python -m seafloor.testing.metadata_store_child <module:factory> <folder> <name> <count>``; made
to be killed. ``name`` is one digit that tells writers apart; ``count`` is how many runs it makes.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable
from typing import cast

from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.factory import store_from
from seafloor.testing.metadata_records import create, file, note, run, run_id

AT_ONCE = 8
EVENTS = 3


def number_of(name: int, count: int) -> int:
    """The number of a writer's run."""
    return name * 1_000_000 + count


async def write_run(store: MetadataStore, number: int) -> None:
    """Make one run of many pieces, telling of each when it is acknowledged."""
    await create(store, run(number), params={"first": str(number)})
    print("run", number, flush=True)
    await store.params_log(run_id(number), {"second": str(number), "third": "x"})
    print("params", number, flush=True)
    await store.tags_change(run_id(number), set_={"shared": str(number)})
    print("tags", number, flush=True)
    for count in range(EVENTS):
        made = await store.event_append(run_id(number), note(f"event {count}"))
        print("event", number, made.sequence, flush=True)
    await store.manifest_put(run_id(number), file("a/b", size_bytes=number))
    print("file", number, flush=True)


async def check_run(store: MetadataStore, said: str) -> None:
    """Check that a thing that was acknowledged is there.

    Raises:
        AssertionError, NotFound: it is not.
    """
    kind, number, *more = said.split(" ")
    owner = run_id(int(number))
    labels = (await store.labels_get([owner]))[owner]
    match kind:
        case "run":
            assert (await store.workload_get(owner)).name == f"run {number}"
            assert labels.params["first"] == number
        case "params":
            assert labels.params == {"first": number, "second": number, "third": "x"}
        case "tags":
            assert labels.tags == {"shared": number}
        case "event":
            sequence = int(more[0])
            (event,) = await store.event_list(owner, after=sequence - 1, limit=1)
            assert event.sequence == sequence
        case _:
            assert (await store.manifest_get(owner, "a/b")).size_bytes == int(number)


async def main(factory: str, folder: str, name: str, count: str) -> None:
    """Write runs, several at once."""
    store = await cast("Awaitable[MetadataStore]", store_from(factory, folder))
    numbers = iter(range(1, int(count) + 1))

    async def work() -> None:
        for one in numbers:
            await write_run(store, number_of(int(name), one))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
