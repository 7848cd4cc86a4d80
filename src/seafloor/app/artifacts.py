"""Artifacts of runs: the run's own files, and those of the models it logged.

A client uploads a model under an id of the model's own. A user looks for it in the run that made
it, under the name he gave it: so each logged model appears in its run as a folder of that name.
What the run itself has there is in the same folder; its own files win where both have one of a
name.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Sequence

import msgspec

from seafloor.domain.artifacts import NONE_THERE, ArtifactEntry, ArtifactFile, FileCondition
from seafloor.domain.errors import NotFound, StoreCorrupt
from seafloor.domain.ids import Sha256, WorkloadId
from seafloor.stores.artifacts.protocol import ArtifactStore
from seafloor.stores.metadata.protocol import MetadataStore

DIRECT_BYTES_MIN = 8 * 1024 * 1024
_DIRECT_EXPIRES_S = 3600
"""Of the beginning of a download: one that has begun goes on after."""


class RunArtifacts:
    """What a run keeps, as its user sees it."""

    def __init__(self, metadata: MetadataStore, artifacts: ArtifactStore) -> None:
        self._metadata = metadata
        self._artifacts = artifacts

    async def _models(self, run_id: WorkloadId) -> dict[str, str]:
        """Name to id; of several models of one name the newest."""
        models = await self._metadata.model_list_of_run(run_id)
        return {model.name: model.id for model in models}

    async def _find(self, run_id: WorkloadId, path: str) -> tuple[str, ArtifactFile]:
        """Whose file a path of the run names, and the file as it is there.

        Raises:
            NotFound: there is no such file.
        """
        try:
            return run_id, await self._artifacts.head(run_id, path)
        except NotFound:
            name, _, rest = path.partition("/")
            model_id = (await self._models(run_id)).get(name)
            if model_id is None or not rest:
                raise
            return model_id, await self._artifacts.head(model_id, rest)

    async def head(self, run_id: WorkloadId, path: str) -> ArtifactFile:
        """Describe one file, or NotFound."""
        _, found = await self._find(run_id, path)
        return msgspec.structs.replace(found, path=path)

    async def read(
        self, run_id: WorkloadId, file: ArtifactFile, *, start: int = 0, length: int | None = None
    ) -> AsyncIterator[bytes]:
        """Stream a file as ``head`` told of it, or a range; see ``ArtifactStore.read``."""
        owner, found = await self._find(run_id, file.path)
        async for chunk in self._artifacts.read(
            owner, found.path, start=start, length=length, sha256=file.sha256
        ):
            yield chunk

    async def read_url(self, run_id: WorkloadId, file: ArtifactFile) -> str | None:
        """Make a URL to read a large file by, past this server.

        Returns:
            None: the file is small, so that a second address would cost more than it saves, or
            the object store has no such URLs.
        """
        if file.size_bytes < DIRECT_BYTES_MIN:
            return None
        owner, found = await self._find(run_id, file.path)
        return await self._artifacts.read_url(owner, found.path, expires_s=_DIRECT_EXPIRES_S)

    async def put(
        self,
        run_id: WorkloadId,
        path: str,
        data: AsyncIterable[bytes],
        *,
        sha256: Sha256 | None = None,
        size_bytes: int | None = None,
        only_if: FileCondition | None = None,
    ) -> ArtifactFile:
        """Keep a file among the run's own; see ``ArtifactStore.put``.

        Args:
            only_if: Asked of what is shown at the path, which may be a file of a logged model.
        """
        if only_if is not None and not await self._is_file(run_id, path):
            only_if = await self._own_condition(run_id, path, only_if)
        return await self._artifacts.put(
            run_id, path, data, sha256=sha256, size_bytes=size_bytes, only_if=only_if
        )

    async def _own_condition(
        self, run_id: WorkloadId, path: str, only_if: FileCondition
    ) -> FileCondition:
        """What a condition asks of the run's own file where the run has none yet.

        Raises:
            PreconditionFailed: a model's file is shown there, and is not as it asks.
        """
        try:
            _, shown = await self._find(run_id, path)
        except NotFound:
            return only_if
        only_if.check(path, shown)
        return NONE_THERE

    async def children(
        self, run_id: WorkloadId, folder: str = "", *, limit: int = 1000, after: str | None = None
    ) -> tuple[ArtifactEntry, ...]:
        """What is directly below a folder, in order of ``place``; () when it is missing.

        A folder that both the run and a model have is one, with what both have of files: a file of
        the model in whose place the run has one of its own is counted all the same.

        Args:
            after: The ``place`` of the last entry of the page before.
        """
        own = await self._artifacts.children(run_id, folder, limit=limit, after=after)
        if not folder:
            return await self._with_models(run_id, own, limit=limit, after=after)
        name, _, rest = folder.partition("/")
        model_id = (await self._models(run_id)).get(name)
        if model_id is None or await self._is_file(run_id, name):
            return own
        begun = None if after is None else after.removeprefix(f"{name}/")
        inside = await self._artifacts.children(model_id, rest, limit=limit, after=begun)
        # What is on the page of both is on the page of each: neither has more before it.
        entries = {entry.place: entry for entry in own}
        for entry in inside:
            shown = msgspec.structs.replace(entry, path=f"{name}/{entry.path}")
            entries[shown.place] = _one_of(entries.get(shown.place), shown)
        return tuple(entries[place] for place in sorted(entries)[:limit])

    async def _with_models(
        self,
        run_id: WorkloadId,
        own: tuple[ArtifactEntry, ...],
        *,
        limit: int,
        after: str | None,
    ) -> tuple[ArtifactEntry, ...]:
        """A page of the run's own entries at its root, and the models that belong on it."""
        entries = {entry.place: entry for entry in own}
        end = own[-1].place if len(own) == limit else None
        models = {f"{name}/": model_id for name, model_id in (await self._models(run_id)).items()}
        found: dict[str, ArtifactEntry] = {}
        for place in sorted(models):
            if len(found) == limit or (end is not None and place > end):
                break
            name = place[:-1]
            if (after is not None and place <= after) or await self._is_file(run_id, name):
                continue
            sums = await self._artifacts.sums(models[place])
            if sums.files:
                shown = ArtifactEntry(
                    name, is_folder=True, size_bytes=sums.size_bytes, files=sums.files
                )
                found[place] = _one_of(entries.get(place), shown)
        entries |= found
        return tuple(entries[place] for place in sorted(entries)[:limit])

    async def _is_file(self, run_id: WorkloadId, path: str) -> bool:
        """Whether the run has a file of its own there, be it damaged."""
        try:
            await self._artifacts.head(run_id, path)
        except NotFound:
            return False
        except StoreCorrupt:
            return True
        return True

    async def list(
        self, run_id: WorkloadId, folder: str = "", *, limit: int, after: str | None = None
    ) -> tuple[ArtifactFile, ...]:
        """All files below a folder, in order of path, paged by path."""
        found = {
            file.path: file
            for file in await self._artifacts.list(run_id, folder, limit=limit, after=after)
        }
        for name, model_id in (await self._models(run_id)).items():
            inside = _inside(name, folder)
            if inside is None or await self._is_file(run_id, name):
                continue
            rest = _after_inside(name, after)
            for file in await self._artifacts.list(model_id, inside, limit=limit, after=rest):
                path = f"{name}/{file.path}"
                if after is None or path > after:
                    found.setdefault(path, msgspec.structs.replace(file, path=path))
        return tuple(found[path] for path in sorted(found)[:limit])

    async def check_kept(self, run_id: WorkloadId) -> None:
        """Look, after a file was put, whether its run was purged while the bytes came.

        Raises:
            NotFound: it was. What came is removed: nobody would find it any more.
        """
        try:
            await self._metadata.workload_get(run_id)
        except NotFound:
            await self._artifacts.delete_all(run_id)
            raise

    async def check_model_kept(self, model_id: str, run_id: WorkloadId) -> None:
        """The same after a file of a model that a run logged: its files go with those of the run.

        Raises:
            NotFound: the run was purged. What came is removed.
        """
        try:
            await self._metadata.workload_get(run_id)
        except NotFound:
            await self._artifacts.delete_all(model_id)
            raise

    async def delete_all(self, run_id: WorkloadId, *, now_ns: int) -> int:
        """Delete every file of a run and of the models it logged; return the bytes freed.

        Repeatable: it goes on where it stopped.
        """
        freed_bytes = await self._artifacts.delete_all(run_id)
        for model in await self._metadata.model_list_of_run(run_id):
            freed_bytes += await self._artifacts.delete_all(model.id)
            await self._metadata.model_update(model.id, updated_ns=now_ns, deleted_ns=now_ns)
        return freed_bytes

    async def owners(self, run_id: WorkloadId) -> tuple[str, ...]:
        """Name whose files ``delete_all`` deletes: a run, and the models it logged."""
        models = await self._metadata.model_list_of_run(run_id)
        return run_id, *(model.id for model in models)

    async def delete_late(self, owners: Sequence[str]) -> int:
        """Delete what came to owners while they were deleted; return the bytes freed."""
        return sum([await self._artifacts.delete_all(owner) for owner in owners])


def _one_of(own: ArtifactEntry | None, shown: ArtifactEntry) -> ArtifactEntry:
    """The entry of a place: of two folders what both have, of two files the run's own."""
    if own is None:
        return shown
    if not own.is_folder:
        return own
    return msgspec.structs.replace(
        own, size_bytes=own.size_bytes + shown.size_bytes, files=own.files + shown.files
    )


def _inside(name: str, folder: str) -> str | None:
    """Which folder of a model of this name is meant; None when the folder lies elsewhere."""
    if not folder or folder == name:
        return ""
    return folder.removeprefix(f"{name}/") if folder.startswith(f"{name}/") else None


def _after_inside(name: str, after: str | None) -> str | None:
    """Where to go on within a model's files; None: at their beginning."""
    if after is None or not after.startswith(f"{name}/"):
        return None
    return after.removeprefix(f"{name}/")
