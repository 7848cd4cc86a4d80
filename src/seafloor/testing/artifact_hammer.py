"""One of several processes that change the same few files at once.

``python -m seafloor.testing.artifact_hammer <folder> <name> <seconds>`` puts, reads and now and
then deletes files over the database and the objects of a folder: for so long, and until it did
some of each. Every content names its writer and repeats itself, so that a mixture of two is seen.
It fails at the first thing that must not be, and prints a JSON line of counts at its end.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from pathlib import Path

from seafloor.domain.errors import NotFound, StoreUnavailable
from seafloor.stores.artifacts.protocol import ArtifactStore
from seafloor.testing.artifact_crash_cases import artifacts_in
from seafloor.testing.artifact_store_suite import file_bytes, put_bytes
from seafloor.testing.manifest_store_suite import OWNER

FILES = ("hot/a", "hot/b", "hot/large")
_WORD_BYTES = 16
_EACH, _OF_EACH = ("put", "read", "delete"), 2


def content_of(name: str, number: int, path: str) -> bytes:
    """A content that repeats one word; all of a path are of one size."""
    word = f"{name}{number:0{_WORD_BYTES - len(name) - 1}} ".encode()
    return word * (100_000 if path.endswith("large") else 64)


def check_whole(path: str, content: bytes) -> None:
    """Refuse what nobody wrote as a whole."""
    word = content[:_WORD_BYTES]
    assert content == word * (100_000 if path.endswith("large") else 64), (path, content[:64])


async def main(folder: Path, name: str, seconds: float) -> None:
    """Hammer until the time is over, which on a busy machine may pass with little done."""
    dice = random.Random(name)
    done: Counter[str] = Counter()
    async with artifacts_in(folder) as store:
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s or min(done[what] for what in _EACH) < _OF_EACH:
            path = dice.choice(FILES)
            what = dice.choices(("put", "read", "head", "delete"), weights=(10, 10, 5, 1))[0]
            try:
                await _do(store, what, path, content_of(name, done["put"], path))
                done[what] += 1
            except NotFound:
                done["missing"] += 1
            except StoreUnavailable:  # a repeat cures it
                done["repeat"] += 1
    print(json.dumps(done))


async def _do(store: ArtifactStore, what: str, path: str, content: bytes) -> None:
    if what == "put":
        await put_bytes(store, path, content)
    elif what == "read":
        check_whole(path, await file_bytes(store, path))
    elif what == "head":
        await store.head(OWNER, path)
    else:
        await store.delete(OWNER, "hot" if path == FILES[0] else path)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
