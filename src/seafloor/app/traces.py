"""Traces: the use cases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

from seafloor.domain.errors import NotFound
from seafloor.domain.traces import Trace
from seafloor.stores.artifacts.protocol import ArtifactStore
from seafloor.stores.metadata.protocol import MetadataStore

SIZES_KEY = "mlflow.trace.sizeStats"
DELETED_AT_ONCE = 100
SPANS_AT_ONCE = 64

_PAUSES_S = (0.05, 0.1, 0.2, 0.4, 0.8, 1.6)
"""Clients ask for a trace while its last spans are still on their way."""


class Traces:
    """What models and agents did."""

    def __init__(self, metadata: MetadataStore, artifacts: ArtifactStore) -> None:
        self._metadata = metadata
        self._artifacts = artifacts

    async def get(self, trace_id: str) -> Trace:
        """Get one without its spans, or NotFound."""
        found = await self._metadata.trace_list([trace_id])
        if not found:
            raise NotFound(f"Trace with ID '{trace_id}' not found.", field="trace_id")
        return found[0]

    async def some(self, ids: Sequence[str]) -> AsyncIterator[Trace]:
        """Those of some traces that there are, without their spans, in the order of the ids.

        A few are in memory at once: each may come with much that is said of it.
        """
        at = 0
        while found := await self._metadata.trace_list(ids[at:]):
            for trace in found:
                yield trace
            at = ids.index(found[-1].id, at) + 1

    async def documents(self, trace_id: str) -> AsyncIterator[bytes]:
        """The documents of a trace's spans, the root's first; a few are in memory at once."""
        ids = await self._metadata.span_ids(trace_id)
        at = 0
        while at < len(ids):
            some = ids[at : at + SPANS_AT_ONCE]
            documents = await self._metadata.span_documents(trace_id, some)
            for document in documents.values():
                yield document
            # What is behind the last one that came did not fit, unless none of them is there.
            at += 1 + some.index(next(reversed(documents))) if documents else len(some)

    async def is_whole(self, trace: Trace) -> bool:
        """Say whether as many spans are there as the client said; True when it did not say."""
        return len(await self._metadata.span_ids(trace.id)) >= _spans_told(trace)

    async def wait_whole(self, trace: Trace) -> bool:
        """The same, after giving spans that are on their way some seconds to arrive."""
        for pause_s in _PAUSES_S:
            if await self.is_whole(trace):
                return True
            await asyncio.sleep(pause_s)
        return await self.is_whole(trace)

    async def delete(
        self,
        experiment_id: int,
        *,
        until_ms: int | None = None,
        limit: int | None = None,
        ids: Sequence[str] | None = None,
    ) -> int:
        """Delete the oldest traces of an experiment, with their spans and files.

        Not one transaction, but each trace goes whole, its files first. Repeatable: it goes on
        where it stopped.

        Args:
            until_ms: Only those that began no later.
            limit: At most so many; None: all.
            ids: Only of these.

        Returns:
            How many were deleted.
        """
        deleted = 0
        while limit is None or deleted < limit:
            most = DELETED_AT_ONCE if limit is None else min(DELETED_AT_ONCE, limit - deleted)
            some = await self._metadata.trace_oldest(
                experiment_id, limit=most, until_ms=until_ms, ids=ids
            )
            if not some:
                break
            for trace_id in some:
                await self._delete_files(trace_id)
            deleted += await self._metadata.traces_delete(some)
            await self._delete_late_files(some)
        return deleted

    async def check_kept(self, trace_id: str) -> None:
        """Look, after a file was put, whether its trace was deleted while the bytes came.

        Raises:
            NotFound: it was. What came is removed: nobody would find it any more.
        """
        try:
            await self.get(trace_id)
        except NotFound:
            await self._delete_files(trace_id)
            raise

    async def _delete_late_files(self, trace_ids: Sequence[str]) -> None:
        """Delete what came after a look for files and before the trace was gone."""
        again = {trace.id async for trace in self.some(trace_ids)}
        for trace_id in trace_ids:
            if trace_id not in again:
                await self._delete_files(trace_id)

    async def _delete_files(self, trace_id: str) -> None:
        owner = file_owner(trace_id)
        if owner is None:
            return
        if await self._artifacts.children(owner):  # most have none
            await self._artifacts.delete_all(owner)


def file_owner(trace_id: str) -> str | None:
    """Whose artifacts a trace's files are; None of one that can have none."""
    digits = trace_id.removeprefix("tr-")
    is_one = trace_id.startswith("tr-") and len(digits) == 32 and set(digits) <= set(_HEX)
    return f"t-{digits}" if is_one else None


_HEX = "0123456789abcdef"


def _spans_told(trace: Trace) -> int:
    try:
        count = json.loads(trace.metadata.get(SIZES_KEY, "{}"))["num_spans"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return count if isinstance(count, int) else 0
