"""A state machine that drives any object store beside the model and compares all they say."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from seafloor.domain.errors import SeafloorError
from seafloor.stores.objects.keys import ancestors
from seafloor.stores.objects.memory import MemoryObjectStore
from seafloor.stores.objects.protocol import ObjectInfo, ObjectPage, ObjectStore
from seafloor.testing.object_cases import broken_stream, content, keys_of, stream_of

# Few names, near each other in order and by prefix, so that keys meet.
_parts = st.sampled_from(["a", "ab", "a-b", "b", "a b", "é"])
_keys = st.lists(_parts, min_size=1, max_size=3).map("/".join)
_folders = st.one_of(st.just(""), _parts, _keys)
_contents = st.binary(max_size=12)
# Which of the objects that exist is meant; none, when there are not so many.
_picks = st.integers(0, 9)

_Answer = tuple[str, object]


class _BrokenSource(Exception):
    """What the stream of a caller raises."""


def _told(answer: object) -> object:
    """Leave out of an answer what is a store's own: times, etags, cursors."""
    if isinstance(answer, ObjectInfo):
        return answer.key, answer.size_bytes
    if isinstance(answer, ObjectPage):
        return [_told(info) for info in answer.objects], list(answer.folders), answer.next is None
    return answer


class ObjectStoreMachine(RuleBasedStateMachine):
    """Writers, readers, deleters, in any order.

    Subclass it and set ``make_store`` and ``durable``, and ``folders_block_creation`` as for
    ``ObjectStoreSuite``.
    """

    make_store: ClassVar[Callable[[Path], AbstractAsyncContextManager[ObjectStore]]]
    durable: ClassVar[bool] = True
    folders_block_creation: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._held = ExitStack()
        self._folder = Path(self._held.enter_context(tempfile.TemporaryDirectory()))
        self._runner = self._held.enter_context(asyncio.Runner())
        self._folders: set[str] = set()
        self._open()
        self._model = MemoryObjectStore(
            nested_keys=self._store.capabilities.nested_keys,
            append=self._store.capabilities.append,
        )

    def _open(self) -> None:
        async def opened() -> ObjectStore:
            return await self._stack.enter_async_context(
                type(self).make_store(self._folder / "objects")
            )

        self._stack = AsyncExitStack()
        self._store = self._runner.run(opened())

    def teardown(self) -> None:
        self._runner.run(self._stack.aclose())
        self._held.close()

    def _answer(
        self, store: ObjectStore, ask: Callable[[ObjectStore], Awaitable[object]]
    ) -> _Answer:
        async def work() -> object:
            return await ask(store)

        try:
            return "gave", _told(self._runner.run(work()))
        except (SeafloorError, _BrokenSource) as error:
            return "raised", type(error)

    def _compare(self, ask: Callable[[ObjectStore], Awaitable[object]]) -> None:
        expected = self._answer(self._model, ask)
        assert self._answer(self._store, ask) == expected

    def _can_create(self, key: str) -> bool:
        """Say whether a create can be compared with the model's; see ``ObjectStoreSuite``."""
        self._folders.update(ancestors(key))
        return not (self.folders_block_creation and key in self._folders)

    def _picked(self, pick: int, key: str) -> str:
        """Name an object that exists, so that rules meet some; the key given, if there are few."""
        found = self._runner.run(keys_of(self._model))
        return found[pick] if pick < len(found) else key

    @rule(pick=_picks, key=_keys, data=_contents, if_absent=st.booleans())
    def put(self, pick: int, key: str, data: bytes, *, if_absent: bool) -> None:
        """Somebody writes bytes; half of all times to a key of its own."""
        key = self._picked(pick, key) if pick % 2 else key
        if_absent = self._can_create(key) and if_absent
        self._compare(lambda store: store.put(key, data, if_absent=if_absent))

    @rule(key=_keys, chunks=st.lists(_contents, max_size=3), if_absent=st.booleans())
    def put_stream(self, key: str, chunks: list[bytes], *, if_absent: bool) -> None:
        """Somebody writes a stream."""
        if_absent = self._can_create(key) and if_absent
        self._compare(lambda store: store.put(key, stream_of(chunks), if_absent=if_absent))

    @rule(key=_keys, chunks=st.lists(_contents, max_size=3))
    def put_broken(self, key: str, chunks: list[bytes]) -> None:
        """A stream ends in an error."""
        self._compare(lambda store: store.put(key, broken_stream(chunks, _BrokenSource())))

    @rule(pick=_picks, key=_keys, offset=st.integers(-1, 14), data=_contents)
    def append(self, pick: int, key: str, offset: int, data: bytes) -> None:
        """Somebody appends, mostly where nothing follows."""
        key = self._picked(pick, key)
        self._compare(lambda store: store.append(key, offset=offset, data=data))

    @rule(pick=_picks, source=_keys, new=_keys, if_absent=st.booleans())
    def copy(self, pick: int, source: str, new: str, *, if_absent: bool) -> None:
        """Somebody copies; also onto itself."""
        source = self._picked(pick, source)
        if_absent = self._can_create(new) and if_absent
        self._compare(lambda store: store.copy(source, new, if_absent=if_absent))

    @rule(pick=_picks, keys=st.lists(_keys, max_size=3))
    def delete_many(self, pick: int, keys: list[str]) -> None:
        """Somebody deletes several, some of which are missing."""
        keys = [*keys, self._picked(pick, "a")]
        self._compare(lambda store: store.delete_many(keys))

    @rule(pick=_picks, key=_keys)
    def head(self, pick: int, key: str) -> None:
        """Somebody looks."""
        key = self._picked(pick, key)
        self._compare(lambda store: store.head(key))

    @rule(pick=_picks, key=_keys, start=st.integers(0, 14), length=st.none() | st.integers(0, 14))
    def read(self, pick: int, key: str, start: int, length: int | None) -> None:
        """Somebody reads."""
        key = self._picked(pick, key)
        self._compare(lambda store: content(store, key, start=start, length=length))

    @rule(folder=_folders, recursive=st.booleans(), limit=st.integers(1, 6))
    def page_through(self, folder: str, limit: int, *, recursive: bool) -> None:
        """Somebody lists, page by page."""
        cursors: dict[int, str | None] = {id(self._model): None, id(self._store): None}

        async def page(store: ObjectStore) -> ObjectPage:
            found = await store.list(
                folder, recursive=recursive, limit=limit, cursor=cursors[id(store)]
            )
            cursors[id(store)] = found.next
            return found

        while True:
            self._compare(page)
            if cursors[id(self._model)] is None:
                break

    @rule(pick=_picks, key=_keys)
    def delete(self, pick: int, key: str) -> None:
        """Somebody deletes."""
        key = self._picked(pick, key)
        self._compare(lambda store: store.delete(key))

    @rule(folder=_folders)
    def delete_folder(self, folder: str) -> None:
        """Somebody deletes a folder; the root is refused."""
        self._compare(lambda store: store.delete_folder(folder))

    @precondition(lambda self: self.durable)
    @rule()
    def restart(self) -> None:
        """The process ends and starts."""
        self._runner.run(self._stack.aclose())
        self._open()

    @invariant()
    def everything_is_the_same(self) -> None:
        """All keys and all contents agree."""

        async def everything(store: ObjectStore) -> list[tuple[str, bytes]]:
            page = await store.list("")
            return [(info.key, await content(store, info.key)) for info in page.objects]

        self._compare(everything)
