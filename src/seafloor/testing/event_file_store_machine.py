"""A state machine that drives any event file store beside the model and compares all they say."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import ClassVar

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from seafloor.domain.errors import OutOfOrder, SeafloorError
from seafloor.stores.events.protocol import EventFileKey
from seafloor.testing.event_records import event_file_key, scalar_record, version_record
from seafloor.testing.event_worlds import EventWorld, MemoryEventWorld

KEYS = (
    event_file_key("events.1"),
    event_file_key("train/events.1"),
    event_file_key("train/events.2"),
    event_file_key("events.1", attempt=2),
    event_file_key("events.1", number=2),
)
_keys = st.sampled_from(KEYS)
_scalars = st.lists(
    st.tuples(
        st.integers(-2, 9),
        st.sampled_from(["loss", "acc (%)", ""]),
        st.floats(width=32),
    ),
    max_size=6,
)


class EventFileStoreMachine(RuleBasedStateMachine):
    """Writers that log, agents that tail, servers that restart. Set ``make_world``."""

    make_world: ClassVar[Callable[[Path], EventWorld]]
    durable: ClassVar[bool] = True
    prepared: ClassVar[Callable[[Path], AbstractContextManager[object]]] = nullcontext
    """What a folder needs before a store is opened over it, for the time of one example."""

    def __init__(self) -> None:
        super().__init__()
        self._held = ExitStack()
        self._folder = Path(self._held.enter_context(tempfile.TemporaryDirectory()))
        self._held.enter_context(type(self).prepared(self._folder))
        self._runner = self._held.enter_context(asyncio.Runner())
        self._model = MemoryEventWorld(self._folder)
        self._world = type(self).make_world(self._folder)
        self._runner.run(self._model.open())
        self._runner.run(self._world.open())
        self._files = dict.fromkeys(KEYS, version_record())

    def teardown(self) -> None:
        self._runner.run(self._world.close())
        self._held.close()

    def _answer(self, world: EventWorld, ask: Callable[[EventWorld], Awaitable[object]]) -> object:
        async def work() -> object:
            return await ask(world)

        try:
            return msgspec.msgpack.encode(self._runner.run(work()))
        except OutOfOrder as exc:
            return (exc.code, exc.next_offset)
        except SeafloorError as exc:
            return exc.code

    def _compare(self, ask: Callable[[EventWorld], Awaitable[object]]) -> None:
        expected = self._answer(self._model, ask)
        assert self._answer(self._world, ask) == expected

    @rule(key=_keys, scalars=_scalars)
    def log(self, key: EventFileKey, scalars: list[tuple[int, str, float]]) -> None:
        """A writer writes."""
        for step, tag, value in scalars:
            self._files[key] += scalar_record(step, tag, value)

    @rule(key=_keys, back=st.integers(-5, 80), size=st.integers(0, 400), flip=st.integers(0, 9))
    def tail(self, key: EventFileKey, back: int, size: int, flip: int) -> None:
        """The agent sends from near what was accepted; at times a bit is wrong, on disk already."""
        files = self._runner.run(self._model.store.list(key.workload_id))
        sizes = {(file.attempt, file.path): file.size_bytes for file in files}
        accepted = sizes.get((key.attempt, key.path), 0)
        if flip == 0 and accepted + 30 < len(self._files[key]):
            damaged = bytearray(self._files[key])
            damaged[accepted + 29] ^= 4
            self._files[key] = bytes(damaged)
        offset = max(0, accepted - back)
        data = self._files[key][offset : offset + size]
        self._compare(lambda world: world.store.append(key, offset=offset, data=data))

    @rule(key=_keys)
    def look(self, key: EventFileKey) -> None:
        """Somebody lists the files and looks at the metrics."""
        self._compare(lambda world: world.store.list(key.workload_id))
        self._compare(lambda world: world.metrics.summaries([key.workload_id]))

    @rule(key=_keys, start=st.integers(0, 300), length=st.one_of(st.none(), st.integers(0, 300)))
    def read(self, key: EventFileKey, start: int, length: int | None) -> None:
        """TensorBoard reads."""

        async def read(world: EventWorld) -> bytes:
            chunks = world.store.read(key, start=start, length=length)
            return b"".join([chunk async for chunk in chunks])

        self._compare(read)

    @rule(key=st.sampled_from(KEYS[3:]))
    def finish(self, key: EventFileKey) -> None:
        """An attempt ends."""
        self._compare(lambda world: world.store.finish(key.workload_id, key.attempt))

    @rule()
    def delete(self) -> None:
        """A workload is deleted."""
        self._compare(lambda world: world.store.delete(KEYS[4].workload_id))

    @precondition(lambda self: self.durable)
    @rule()
    def restart(self) -> None:
        """The server stops and starts."""
        self._runner.run(self._world.close())
        self._world = type(self).make_world(self._folder)
        self._runner.run(self._world.open())
