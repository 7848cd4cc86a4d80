"""A process that stood still hears late what it was told meanwhile; that is no silent NameNode."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from hdfs_native import Client

from seafloor.domain.errors import StoreUnavailable
from seafloor.stores.objects.hdfs import remote as remote_module
from seafloor.stores.objects.hdfs.remote import Remote


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Remote:
    """One that nobody listens to: what is asked of it here needs no answer."""
    monkeypatch.setattr(remote_module, "CALL_TIMEOUT_S", 0.2)
    place = "hdfs://127.0.0.1:9/x"
    return Remote("hdfs://127.0.0.1:9", config_dir=str(tmp_path), kerberos={}, place=place)


async def test_call__the_process_stood_still_past_its_time__the_answer_is_taken(
    remote: Remote,
) -> None:
    begun, told = threading.Event(), threading.Event()

    def step(_client: Client) -> str:
        begun.set()
        assert told.wait(60)
        return "answer"

    def stand_still() -> None:
        """Keep the loop from all else, as a machine does that sleeps; the answer comes after."""
        assert begun.wait(60)
        threading.Event().wait(1.5)  # nothing is waited for: this is the time that passes
        asyncio.get_running_loop().call_soon(told.set)

    asking = asyncio.create_task(remote._run(step))
    asyncio.get_running_loop().call_later(0, stand_still)
    assert await asking == "answer"
    remote.close()


async def test_call__nobody_answers__is_unavailable_in_time(remote: Remote) -> None:
    told = threading.Event()
    with pytest.raises(StoreUnavailable):
        await remote._run(lambda _: told.wait(60))
    told.set()
    remote.close()
