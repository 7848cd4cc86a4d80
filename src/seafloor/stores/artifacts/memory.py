"""Manifest rows in memory: the model that the metadata store's are compared with."""

from __future__ import annotations

from dataclasses import dataclass

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile, ArtifactSums
from seafloor.domain.errors import Conflict, NotFound
from seafloor.domain.ids import Sha256
from seafloor.stores.artifacts.protocol import (
    IntentView,
    intents_done_before,
    intents_stale_before,
)
from seafloor.stores.objects.keys import ancestors, is_below


@dataclass
class _Intent:
    owner: str
    path: str
    sha256: Sha256 | None
    outdated: bool = False
    deletes: bool = False


class MemoryManifestStore:
    """A ``ManifestStore`` that forgets."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, ArtifactFile]] = {}
        self._intents: dict[str, _Intent] = {}

    async def intent_begin(
        self, owner: str, path: str, intent: str, *, sha256: Sha256 | None
    ) -> None:
        """See ``IntentStore.intent_begin``."""
        self._begin(intent, _Intent(owner, path, sha256))

    async def intent_look(self, owner: str, path: str, intent: str) -> IntentView:
        """See ``IntentStore.intent_look``."""
        mine = self._intents.setdefault(intent, _Intent(owner, path, None, outdated=True))
        outdated, mine.outdated = mine.outdated, False
        these = self._of(owner, path)
        return IntentView(
            row=self._rows.get(owner, {}).get(path),
            sha256s=frozenset(one.sha256 for one in these if one.sha256 is not None),
            deleting=any(
                one.deletes
                for known, one in self._intents.items()
                if one.owner == owner
                and _is_at_or_below(path, one.path)
                and known >= intents_stale_before(intent)
            ),
            putting=any(
                known != intent and known >= intents_done_before(intent)
                for known, one in self._intents.items()
                if (one.owner, one.path, one.sha256 is not None) == (owner, path, True)
                or (one.deletes and one.owner == owner and _is_at_or_below(path, one.path))
            ),
            outdated=outdated,
        )

    async def intent_end(
        self, owner: str, path: str, intent: str, row: ArtifactFile | None, *, alone: bool
    ) -> bool:
        """See ``IntentStore.intent_end``."""
        mine = self._intents.get(intent)
        if mine is None or mine.outdated or (alone and len(self._of(owner, path)) > 1):
            return False
        if row is not None:
            await self.manifest_put(owner, row)
        else:
            self._rows.get(owner, {}).pop(path, None)
            self._outdate(owner, path)
        del self._intents[intent]
        return True

    async def intent_drop(self, intent: str) -> None:
        """See ``IntentStore.intent_drop``."""
        self._intents.pop(intent, None)

    async def manifest_recheck(self, owner: str, path: str) -> tuple[ArtifactFile, ...]:
        """See ``IntentStore.manifest_recheck``."""
        self._outdate(owner, path)
        rows = self._rows.get(owner, {})
        return tuple(rows[one] for one in sorted(rows) if _is_at_or_below(one, path))

    def _begin(self, intent: str, new: _Intent) -> None:
        for known, one in list(self._intents.items()):
            same = (one.owner, one.path) == (new.owner, new.path)
            if same and known < intents_stale_before(intent):
                del self._intents[known]
        self._intents[intent] = new

    def _of(self, owner: str, path: str) -> list[_Intent]:
        return [one for one in self._intents.values() if (one.owner, one.path) == (owner, path)]

    def _outdate(self, owner: str, path: str) -> None:
        for one in self._intents.values():
            if one.owner == owner and _is_at_or_below(one.path, path):
                one.outdated = True

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
        self._outdate(owner, file.path)

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

    async def manifest_children(
        self, owner: str, folder: str, *, limit: int, after: str | None = None
    ) -> tuple[ArtifactEntry, ...]:
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
        entries = sorted(found.values(), key=lambda entry: entry.place)
        return tuple(one for one in entries if after is None or one.place > after)[:limit]

    async def manifest_sums(self, owner: str, folder: str) -> ArtifactSums:
        """Count and sum up; see ``ManifestStore.manifest_sums``."""
        rows = self._below(owner, folder)
        return ArtifactSums(len(rows), sum(row.size_bytes for row in rows))

    async def manifest_delete(self, owner: str, path: str, *, intent: str | None = None) -> int:
        """Delete a row or all below a folder; see ``ManifestStore.manifest_delete``."""
        if intent is not None:
            self._begin(intent, _Intent(owner, path, None, deletes=True))
        rows = self._rows.get(owner, {})
        doomed = [other for other in rows if _is_at_or_below(other, path)]
        for other in doomed:
            del rows[other]
        self._outdate(owner, path)
        return len(doomed)

    def _below(self, owner: str, folder: str) -> list[ArtifactFile]:
        rows = self._rows.get(owner, {})
        return [rows[path] for path in sorted(rows) if is_below(path, folder)]


def _is_at_or_below(path: str, place: str) -> bool:
    return path == place or is_below(path, place)
