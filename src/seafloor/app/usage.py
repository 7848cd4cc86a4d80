"""What a run takes: counted where it lies, so that nothing is left out that nobody knows of."""

from __future__ import annotations

from collections.abc import AsyncIterator

from seafloor.domain.ids import WorkloadId
from seafloor.stores.artifacts.layout import ArtifactLayout
from seafloor.stores.events.protocol import EventFileStore
from seafloor.stores.logs.protocol import LogStore
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.stores.objects.protocol import ObjectInfo, ObjectStore
from seafloor.wire.usage import RunUsage, UsagePart

_COUNTED_HERE = ("artifacts", "metrics", "media")
_ASKED_FOR = ("logs", "events", "event-parts")
"""What may lie on a disk of the server's, so that its store is asked."""


class Usage:
    """Tells what takes space."""

    def __init__(
        self,
        metadata: MetadataStore,
        objects: ObjectStore,
        logs: LogStore,
        event_files: EventFileStore,
        layout: ArtifactLayout | None = None,
    ) -> None:
        self._metadata = metadata
        self._objects = objects
        self._logs = logs
        self._event_files = event_files
        self._layout = layout or ArtifactLayout()

    async def of_run(self, run_id: WorkloadId) -> RunUsage:
        """Count what a run keeps, and the models that it logged.

        Cost: a request of the object store for each thousand objects.
        """
        found: dict[str, UsagePart] = {}
        folder = self._layout.owner_folder(run_id)
        async for info in self._below(folder):
            inside = info.key[len(folder) + 1 :].partition("/")[0]
            if inside not in _ASKED_FOR:
                _add(found, inside if inside in _COUNTED_HERE else "other", info.size_bytes)
        for model in await self._metadata.model_list_of_run(run_id):
            async for info in self._below(self._layout.owner_folder(model.id)):
                _add(found, "models", info.size_bytes)
        for file in await self._event_files.list(run_id):
            _add(found, "event_files", file.size_bytes)
        for key in await self._logs.keys(run_id):
            _add(found, "logs", (await self._logs.state(key)).size_bytes)

        def part(name: str) -> UsagePart:
            return found.get(name, UsagePart())

        return RunUsage(
            id=run_id,
            size_bytes=sum(one.size_bytes for one in found.values()),
            artifacts=part("artifacts"),
            models=part("models"),
            metrics=part("metrics"),
            media=part("media"),
            event_files=part("event_files"),
            logs=part("logs"),
            other=part("other"),
        )

    async def _below(self, folder: str) -> AsyncIterator[ObjectInfo]:
        cursor: str | None = None
        while True:
            page = await self._objects.list(folder, cursor=cursor)
            for info in page.objects:
                yield info
            cursor = page.next
            if cursor is None:
                return


def _add(found: dict[str, UsagePart], kind: str, size_bytes: int) -> None:
    before = found.get(kind, UsagePart())
    found[kind] = UsagePart(before.files + 1, before.size_bytes + size_bytes)
