"""A program that writes to HDFS until it is killed: ``python -m hdfs_child put|append URL``.

It prints one line once it is in the middle of it, and then goes on for ever. With ``head`` it
looks for an object, says when it cannot, and ends.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.objects.hdfs import remote
from seafloor.stores.objects.hdfs.store import HdfsObjectStore, from_url


async def _put(store: HdfsObjectStore) -> None:
    async def endless() -> AsyncIterator[bytes]:
        number = 0
        while True:
            yield bytes(1024 * 1024)
            number += 1
            if number == 3:
                print("written", flush=True)
            await asyncio.sleep(0.01)

    await store.put("a/b", endless())


async def _append(store: HdfsObjectStore) -> None:
    path = store.path("log")
    file = await store.remote.open_append(path)
    await store.remote.write(file, b" two")
    await store.remote.sync(file)
    print("written", flush=True)
    await asyncio.Event().wait()


async def _head(store: HdfsObjectStore) -> None:
    remote.CALL_TIMEOUT_S = 1.0
    try:
        await store.head("a")
    except StoreUnavailable:
        print("unavailable", flush=True)
    await store.close()


if __name__ == "__main__":
    work = {"put": _put, "append": _append, "head": _head}[sys.argv[1]]
    asyncio.run(work(from_url(sys.argv[2], {})))
