"""A state machine that drives any log store beside the model and compares all they say."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from seafloor.domain.errors import OutOfOrder, SeafloorError
from seafloor.stores.logs.memory import MemoryLogStore
from seafloor.stores.logs.protocol import LogKey, LogStore
from seafloor.stores.logs.record import FLAG_CONTINUED, MAGIC, Record, encode_record
from seafloor.testing.log_spools import T0_NS, log_key, loss

KEYS = (log_key(1), log_key(1, 1, "worker-0"), log_key(1, 2), log_key(2))
_keys = st.sampled_from(KEYS)
_streams = st.sampled_from([None, "out", "err", "agent"])
_lines = st.lists(
    st.tuples(
        st.integers(1, 3),
        st.one_of(st.binary(max_size=40), st.integers(20_000, 65_536).map(lambda n: b"x" * n)),
        st.integers(0, 2),
        st.integers(0, 3),
        st.booleans(),
    ),
    max_size=12,
)


class LogStoreMachine(RuleBasedStateMachine):
    """Agents that print and ship, readers that page, servers that restart.

    Subclass it and set ``make_store`` and ``durable``.
    """

    make_store: ClassVar[Callable[[Path], LogStore]]
    durable: ClassVar[bool] = True
    prepared: ClassVar[Callable[[Path], AbstractContextManager[object]]] = nullcontext
    """What a folder needs before a store is opened over it, for the time of one example."""

    def __init__(self) -> None:
        super().__init__()
        self._held = ExitStack()
        self._folder = Path(self._held.enter_context(tempfile.TemporaryDirectory()))
        self._held.enter_context(type(self).prepared(self._folder))
        self._runner = self._held.enter_context(asyncio.Runner())
        self._model = MemoryLogStore()
        self._store = type(self).make_store(self._folder)
        self._spools = dict.fromkeys(KEYS, MAGIC)
        self._next = dict.fromkeys(KEYS, 1)

    def teardown(self) -> None:
        self._runner.run(self._store.close())
        self._held.close()

    @initialize()
    def begin(self) -> None:
        """Nothing was ever written."""
        self._compare(lambda store: store.keys(KEYS[0].workload_id))

    def _answer(self, store: LogStore, ask: Callable[[LogStore], Awaitable[object]]) -> object:
        async def work() -> object:
            return await ask(store)

        try:
            return self._runner.run(work())
        except OutOfOrder as exc:
            return (exc.code, exc.next_offset)
        except SeafloorError as exc:
            return exc.code

    def _compare(self, ask: Callable[[LogStore], Awaitable[object]]) -> object:
        expected = self._answer(self._model, ask)
        assert self._answer(self._store, ask) == expected
        return expected

    @rule(key=_keys, lines=_lines)
    def print_lines(self, key: LogKey, lines: list[tuple[int, bytes, int, int, bool]]) -> None:
        """A task prints; the agent spools. Some numbers are skipped, some losses are told."""
        for jump, payload, stream, end, flag in lines:
            number = self._next[key] + (jump - 1)
            if flag and jump == 3:
                self._spools[key] += encode_record(loss(number, 4))
                self._next[key] = number + 4
                continue
            flags = FLAG_CONTINUED if flag else 0
            record = Record(number, T0_NS + number, payload, stream, end, flags)
            self._spools[key] += encode_record(record)
            self._next[key] = number + 1

    @rule(key=_keys, back=st.integers(-5, 200), size=st.integers(0, 200_000))
    def ship(self, key: LogKey, back: int, size: int) -> None:
        """The agent sends from somewhere near what was accepted; below 0 it leaves a gap."""
        accepted = self._runner.run(self._model.state(key)).size_bytes
        offset = max(0, accepted - back)
        data = self._spools[key][offset : offset + size]
        self._compare(lambda store: store.append(key, offset=offset, data=data))

    @rule(key=_keys, size=st.integers(1, 5_000), flip=st.integers(0, 5_000))
    def ship_damaged(self, key: LogKey, size: int, flip: int) -> None:
        """A bit changes on the way."""
        offset = self._runner.run(self._model.state(key)).size_bytes
        data = bytearray(self._spools[key][offset : offset + size])
        if data:
            data[flip % len(data)] ^= 0x10
            self._compare(lambda store: store.append(key, offset=offset, data=bytes(data)))

    @rule(
        key=_keys,
        from_line=st.integers(-30, 60).filter(bool),
        limit=st.integers(1, 40),
        stream=_streams,
    )
    def page(self, key: LogKey, from_line: int, limit: int, stream: str | None) -> None:
        """Somebody looks."""
        self._compare(
            lambda store: store.page(key, from_line=from_line, limit=limit, stream=stream)
        )

    @rule(key=_keys, stream=_streams)
    def raw(self, key: LogKey, stream: str | None) -> None:
        """Somebody downloads."""

        async def read(store: LogStore) -> bytes:
            return b"".join([chunk async for chunk in store.raw(key, stream=stream)])

        self._compare(read)

    @rule(key=_keys)
    def state(self, key: LogKey) -> None:
        """What is known agrees."""
        self._compare(lambda store: store.state(key))
        self._compare(lambda store: store.keys(key.workload_id))

    @rule(key=st.sampled_from(KEYS[2:]))
    def finish(self, key: LogKey) -> None:
        """A task ends."""
        self._compare(lambda store: store.finish(key))

    @rule(key=st.sampled_from(KEYS[3:]))
    def delete(self, key: LogKey) -> None:
        """A workload is deleted."""
        self._compare(lambda store: store.delete(key.workload_id))

    @precondition(lambda self: self.durable)
    @rule()
    def restart(self) -> None:
        """The server stops and starts."""
        self._runner.run(self._store.close())
        self._store = type(self).make_store(self._folder)
