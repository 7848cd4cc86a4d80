"""What lies in the object store: the files of runs and models, and everything else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Final, Literal, NamedTuple

from seafloor.app.copy.journal import Journal
from seafloor.app.copy.progress import Progress
from seafloor.app.copy.sides import AHEAD, AT_ONCE, ObjectBytes, Side, digest_of
from seafloor.app.copy.window import in_order
from seafloor.domain.artifacts import ArtifactFile
from seafloor.domain.errors import InvalidValue, NotFound, StoreCorrupt
from seafloor.domain.ids import Sha256
from seafloor.stores.artifacts.intake import Announced, Intake
from seafloor.stores.artifacts.layout import ArtifactLayout
from seafloor.stores.artifacts.placing import put_object
from seafloor.stores.metadata.sql.copy import add_file, artifact_rows, last_file, pages
from seafloor.stores.objects.identity import COPY_KEY, IDENTITY_KEY
from seafloor.stores.objects.protocol import ObjectInfo

FILES: Final = "files"
OBJECTS: Final = "objects"

# Below the folder of a run, model or trace: what other stores write anew at the target.
_OWNED = re.compile(
    r"(?:runs/[0-9a-f]{32}|models/logged/m-[0-9a-f]{32}|traces/t-[0-9a-f]{32})/"
    r"(?:artifacts|replacements|events|event-parts|logs)/"
)
_MANIFEST = re.compile(
    r"(?:runs/([0-9a-f]{32})|models/logged/(m-[0-9a-f]{32})|traces/(t-[0-9a-f]{32}))"
    r"/manifest\.json\Z"
)
_LAYOUT: Final = ArtifactLayout()


class _File(NamedTuple):
    """A row of the manifest."""

    owner: str
    path: str
    size_bytes: int
    sha256: Sha256

    @property
    def key(self) -> tuple[str, str]:
        return self.owner, self.path


class Files:
    """Copies files and objects, and remembers which of the source's are damaged.

    Args:
        source, target: From where to where.
        journal: Of this copy.
        progress: Where it is counted.
    """

    def __init__(self, source: Side, target: Side, journal: Journal, progress: Progress) -> None:
        self._source = source
        self._target = target
        self._journal = journal
        self._progress = progress
        self._last_there: tuple[str, str] | None = None  # of the rows that an earlier go wrote
        self.damaged: set[tuple[str, str]] = set()

    async def copy_artifacts(self) -> None:
        """Copy every file that the manifest names; its sha256 is compared in transit.

        One whose bytes are not what the manifest says is left out, and told of in
        ``Progress.damaged``.
        """
        reached = self._journal.reached(FILES)
        self._progress.files.add(reached.size_bytes, items=reached.items)
        self._last_there = await last_file(self._target.database)
        files = self._files(reached.upto)
        async with aclosing(
            in_order(files, self._copy_artifact, at_once=AT_ONCE, ahead=AHEAD)
        ) as finished:
            async for file, is_whole in finished:
                if not is_whole:
                    self.damaged.add(file.key)
                    continue
                self._progress.files.add(file.size_bytes)
                if not self.damaged:  # a copy that goes on finds what is damaged again
                    await self._journal.advance(FILES, file.key, size_bytes=file.size_bytes)
        await self._journal.save()

    async def _files(self, after: tuple[str, ...] | None) -> AsyncIterator[_File]:
        async for page in pages(self._source.database, artifact_rows(), after=after):
            for row in page:
                yield _File(*row)

    async def _copy_artifact(self, file: _File) -> bool:
        """Copy one file unless it is there; say whether the target has it."""
        may_be_there = self._last_there is not None and file.key <= self._last_there
        if may_be_there and await self._has(file):
            return True
        key = _LAYOUT.artifact_key(file.owner, file.path)
        data = ObjectBytes(self._source.objects, key)
        try:
            if may_be_there:
                await self._target.artifacts.put(
                    *file.key, data, sha256=file.sha256, size_bytes=file.size_bytes
                )
            else:
                await self._add(file, key, data)
        except (InvalidValue, NotFound) as error:
            if isinstance(error, InvalidValue) and data.hasher.sha256 == file.sha256:
                raise  # it is not the bytes that are refused
            self._progress.damaged.append(
                f'The file "{file.path}" of {file.owner} is gone from the source, or is not what '
                f"was put there ({key})."
            )
            return False
        self._progress.digests += 1
        return True

    async def _add(self, file: _File, key: str, data: ObjectBytes) -> None:
        """Put a file that has no row yet: its bytes first, so that no crash leaves a row alone.

        The store of a server writes an intent before the bytes and compares the row with others
        after them, as anybody may put the same file. Here nobody else does.
        """
        intake = Intake(data, Announced(sha256=file.sha256, size_bytes=file.size_bytes), _nothing)
        info = await put_object(self._target.objects, key, file.path, intake)
        row = ArtifactFile(
            path=file.path,
            size_bytes=file.size_bytes,
            sha256=file.sha256,
            created_ns=info.modified_ns,
        )
        await add_file(self._target.database, file.owner, row)

    async def _has(self, file: _File) -> bool:
        try:
            there = await self._target.artifacts.head(*file.key)
        except (NotFound, StoreCorrupt):
            return False
        return (there.size_bytes, there.sha256) == (file.size_bytes, file.sha256)

    async def copy_objects(self) -> None:
        """Copy every other object, and read it again at the target; write the manifests anew."""
        reached = self._journal.reached(OBJECTS)
        self._progress.objects.add(reached.size_bytes, items=reached.items)
        after = reached.upto[0] if reached.upto else ""
        async with aclosing(
            in_order(self._others(after), self._copy_object, at_once=AT_ONCE, ahead=AHEAD)
        ) as finished:
            async for info, _ in finished:
                self._progress.objects.add(info.size_bytes)
                await self._journal.advance(OBJECTS, (info.key,), size_bytes=info.size_bytes)
        await self._journal.save()

    async def _others(self, after: str) -> AsyncIterator[ObjectInfo]:
        async for info in others(self._source):
            if info.key > after:
                yield info

    async def _copy_object(self, info: ObjectInfo) -> None:
        found = _MANIFEST.match(info.key)
        if found is not None:
            await self._target.artifacts.seal(found[1] or found[2] or found[3])
            return
        data = ObjectBytes(self._source.objects, info.key)
        await self._target.objects.put(info.key, data)
        sha256 = data.hasher.sha256
        if await digest_of(self._target.objects.read(info.key)) != sha256:
            raise StoreCorrupt(
                f'The target gives back other bytes of "{info.key}" than it was given: check its '
                "object store, and give the same command again."
            )
        self._progress.digests += 1


async def _nothing(_: Sha256, __: int) -> None:
    """Be called when all bytes of a file have come, and let them become visible."""


async def others(side: Side) -> AsyncIterator[ObjectInfo]:
    """The objects that no other store writes anew, in order of key; manifests are among them."""
    cursor: str | None = None
    while True:
        page = await side.objects.list("", cursor=cursor)
        for info in page.objects:
            if what_is(info.key) == "other":
                yield info
        cursor = page.next
        if cursor is None:
            return


def what_is(key: str) -> Literal["own", "owned", "other"]:
    """Say what an object is: of the store itself, of another store's making, or anything else.

    >>> what_is("seafloor.json"), what_is("code/ab.tar.zst")
    ('own', 'other')
    >>> what_is("runs/0192f0c1d2e37a4b8c5d6e7f80910a1b/artifacts/model.bin")
    'owned'
    """
    if key in (IDENTITY_KEY, COPY_KEY):
        return "own"
    return "owned" if _OWNED.match(key) else "other"
