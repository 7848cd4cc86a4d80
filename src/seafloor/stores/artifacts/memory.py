"""Manifest rows in memory: the model that the metadata store's are compared with."""

from __future__ import annotations

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile
from seafloor.domain.errors import Conflict, NotFound
from seafloor.stores.objects.keys import ancestors, is_below


class MemoryManifestStore:
    """A ``ManifestStore`` that forgets."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, ArtifactFile]] = {}

    async def manifest_put(self, owner: str, file: ArtifactFile) -> None:
        """Add or replace a row; see ``ManifestStore.manifest_put``."""
        rows = self._rows.setdefault(owner, {})
        for folder in ancestors(file.path):
            if folder in rows:
                raise Conflict(
                    f'"{file.path}" cannot be kept: "{folder}" is a file, not a folder.',
                    field="path",
                )
        if any(is_below(path, file.path) for path in rows):
            raise Conflict(f'"{file.path}" cannot be kept: it is a folder.', field="path")
        rows[file.path] = file

    async def manifest_get(self, owner: str, path: str) -> ArtifactFile:
        """Get a row; see ``ManifestStore.manifest_get``."""
        try:
            return self._rows[owner][path]
        except KeyError:
            raise NotFound(f'There is no artifact "{path}".', field="path") from None

    async def manifest_list(
        self, owner: str, folder: str, *, limit: int, after: str | None = None
    ) -> tuple[ArtifactFile, ...]:
        """List rows below a folder; see ``ManifestStore.manifest_list``."""
        rows = self._below(owner, folder)
        return tuple(row for row in rows if after is None or row.path > after)[:limit]

    async def manifest_children(self, owner: str, folder: str) -> tuple[ArtifactEntry, ...]:
        """List what is directly below a folder; see ``ManifestStore.manifest_children``."""
        depth = len(folder) + 1 if folder else 0
        found: dict[str, ArtifactEntry] = {}
        for row in self._below(owner, folder):
            name, _, rest = row.path[depth:].partition("/")
            path = row.path[:depth] + name
            before = found.get(path)
            found[path] = ArtifactEntry(
                path=path,
                is_folder=bool(rest),
                size_bytes=row.size_bytes + (before.size_bytes if before else 0),
                files=1 + (before.files if before else 0),
                sha256=None if rest else row.sha256,
            )
        return tuple(found[path] for path in sorted(found))

    async def manifest_delete(self, owner: str, path: str) -> int:
        """Delete a row or all below a folder; see ``ManifestStore.manifest_delete``."""
        rows = self._rows.get(owner, {})
        doomed = [other for other in rows if other == path or is_below(other, path)]
        for other in doomed:
            del rows[other]
        return len(doomed)

    def _below(self, owner: str, folder: str) -> list[ArtifactFile]:
        rows = self._rows.get(owner, {})
        return [rows[path] for path in sorted(rows) if is_below(path, folder)]
