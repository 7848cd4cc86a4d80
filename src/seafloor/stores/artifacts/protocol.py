"""Artifacts: files that a workload keeps, each with a size and a sha256 in a manifest.

A file keeps its natural path in the object store (``runs/<id>/artifacts/<path>``), so that other
programs read it without us. It is visible here only once its manifest row is written, which is
after its bytes are durable: a half-uploaded file never is. ``folder`` below is the object-store
folder of a workload's or a model's artifacts, e.g. ``runs/<id>/artifacts``; the manifest itself is
kept in the metadata store (fast listing) and written as ``manifest.json`` beside the folder
when the workload ends.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterable, AsyncIterator
from typing import Protocol

import msgspec

from seafloor.domain.artifacts import ArtifactEntry, ArtifactFile, ArtifactSums, FileCondition
from seafloor.domain.ids import Sha256

_DAY_MS = 86_400_000

# To make bytes visible that the object store has already is one request or a rename. Longer ago it
# was one who was killed, or whose store did not answer.
_PUTTING_MS_MAX = 60_000


class IntentView(msgspec.Struct, frozen=True):
    """What one who is about to write a row sees.

    Args:
        row: Of the path, None when there is none.
        sha256s: Of all bytes that somebody was about to make visible under the path.
        deleting: Whether somebody deletes the path or a folder that it lies in: bytes that are
            missing are so by his will.
        putting: Whether somebody else is about to make bytes visible under the path, or to delete
            what is there.
        outdated: Whether a row of the path was written or deleted since the last look.
    """

    row: ArtifactFile | None
    sha256s: frozenset[Sha256]
    deleting: bool
    putting: bool
    outdated: bool


def new_intent(*, time_ms: int) -> str:
    """Make the id of an intent."""
    return f"{time_ms:012x}{secrets.token_hex(10)}"


def intents_stale_before(intent: str) -> str:
    """The smallest id of an intent that is not a day older than this one.

    >>> intents_stale_before(new_intent(time_ms=86_400_001))
    '000000000001'
    """
    return f"{max(0, int(intent[:12], 16) - _DAY_MS):012x}"


def intents_done_before(intent: str) -> str:
    """The smallest id of an intent that may still be on its way beside this one.

    >>> intents_done_before(new_intent(time_ms=60_001))
    '000000000001'
    """
    return f"{max(0, int(intent[:12], 16) - _PUTTING_MS_MAX):012x}"


class IntentStore(Protocol):
    """Who is about to write the row of a file, in any process.

    Bytes and rows are in different stores. So an intent says which bytes are about to become
    visible, before they do. Whoever writes or deletes a row outdates all other intents of its path
    in the same transaction, and one who is outdated looks at the bytes again before he writes: in
    the end the row is that of the bytes. What a crash leaves of an intent tells whose bytes lie
    there, or that they were to go.
    """

    async def intent_begin(
        self, owner: str, path: str, intent: str, *, sha256: Sha256 | None
    ) -> None:
        """Begin an intent, or begin it anew.

        Args:
            intent: Its id, chosen by the caller: 32 hex digits that sort by time. Those of the
                path that are older by a day are forgotten.
            sha256: Of the bytes about to become visible; None: only the row is to be mended.
        """
        ...

    async def intent_look(self, owner: str, path: str, intent: str) -> IntentView:
        """See what is known of a path now; the intent is not outdated any more."""
        ...

    async def intent_end(
        self, owner: str, path: str, intent: str, row: ArtifactFile | None, *, alone: bool
    ) -> bool:
        """Write the row, or delete it with None, and end the intent; or do nothing.

        Args:
            alone: Only if nobody else has an intent for the path.

        Returns:
            Whether it was done: not if the intent is outdated or gone, or not alone.

        Raises:
            Conflict: as for ``manifest_put``.
        """
        ...

    async def intent_drop(self, intent: str) -> None:
        """End an intent without a row; nothing happens when there is none."""
        ...

    async def manifest_recheck(self, owner: str, path: str) -> tuple[ArtifactFile, ...]:
        """The rows at and below a path (``""``: all); all intents there are outdated from now."""
        ...


class ManifestStore(IntentStore, Protocol):
    """Where manifest rows live: part of the metadata store."""

    async def manifest_put(self, owner: str, file: ArtifactFile) -> None:
        """Add or replace a row, whatever bytes there are.

        Raises:
            Conflict: the path is a folder of another row, or a part of it is a file.
        """
        ...

    async def manifest_get(self, owner: str, path: str) -> ArtifactFile:
        """Get a row.

        Raises:
            NotFound: no such file.
        """
        ...

    async def manifest_list(
        self, owner: str, folder: str, *, limit: int, after: str | None = None
    ) -> tuple[ArtifactFile, ...]:
        """Rows below a folder (``""``: all), in order of path (by code point), paged by path."""
        ...

    async def manifest_children(
        self, owner: str, folder: str, *, limit: int, after: str | None = None
    ) -> tuple[ArtifactEntry, ...]:
        """The files and folders directly below a folder, folders with sums; () when missing.

        Args:
            limit: At most so many.
            after: The ``place`` of the last entry of the page before: entries come in the order
                of their places.

        Cost: rows of files are read as they are listed, those of a folder as far as ``limit``;
        the rest of a folder is only summed up, by a statement for each such folder.
        """
        ...

    async def manifest_sums(self, owner: str, folder: str) -> ArtifactSums:
        """How many files there are below a folder (``""``: all), and their bytes."""
        ...

    async def manifest_delete(self, owner: str, path: str, *, intent: str | None = None) -> int:
        """Delete the row of a file, or all rows below a folder (``""``: all); return how many.

        Args:
            intent: Begun in the same transaction: until it is dropped, whoever misses bytes at or
                below the path knows that they were deleted.
        """
        ...


class ArtifactStore(Protocol):
    """Files with a manifest. ``owner`` is a workload id or a logged model id (``m-…``)."""

    async def put(
        self,
        owner: str,
        path: str,
        data: AsyncIterable[bytes],
        *,
        sha256: Sha256 | None = None,
        size_bytes: int | None = None,
        only_if: FileCondition | None = None,
    ) -> ArtifactFile:
        """Write one file whole, replacing one of that path; safe to repeat.

        Of several within one process at once, without conditions, the file of who began last
        stays; one who ends after him is answered as if he had ended just before. So it is too
        with who ends after a deletion of the file that there was, and began before it.

        Args:
            data: Streamed in constant memory; hashed on the way.
            sha256: What the client says the digest is.
            size_bytes: What the client says the size is.
            only_if: Compared with the file that is there at the moment at which this one becomes
                visible. Of several who ask for the same at once one puts his, in whatever
                processes they are. Who asks for nothing is held off too by one of his own process;
                one of another, at that very moment, may be overwritten.

        Raises:
            PreconditionFailed: it is not as ``only_if`` asks. Nothing is visible.
            StoreUnavailable: with ``only_if``, others put this file again and again.
            InvalidValue: the path is not one (``check_path``), or the bytes do not have the
                digest or size announced. Nothing is visible.
            Conflict: a part of the path is a file, or the path is a folder.
            StoreFull: nothing is visible.
        """
        ...

    async def head(self, owner: str, path: str) -> ArtifactFile:
        """Describe one file.

        Raises:
            NotFound: no such file.
        """
        ...

    def read(
        self,
        owner: str,
        path: str,
        *,
        start: int = 0,
        length: int | None = None,
        sha256: Sha256 | None = None,
    ) -> AsyncIterator[bytes]:
        """Stream a file or a range of it; NotFound at the first step.

        Args:
            sha256: What was told of the file already; when it was replaced meanwhile that is
                StoreUnavailable.

        Raises:
            StoreUnavailable: it was replaced while it was read whole, and what was given cannot
                be taken back: its last bytes do not come, and reading it again gives it whole.
        """
        ...

    async def read_url(self, owner: str, path: str, *, expires_s: int) -> str | None:
        """Make a URL by which anybody can read a file for a while from where it lies.

        The bytes are not compared with the digest on that way: whoever reads them does that.

        Args:
            expires_s: How long.

        Returns:
            The URL, a right that is never logged; None: the object store has none to give.
        """
        ...

    async def children(
        self, owner: str, folder: str = "", *, limit: int = 1000, after: str | None = None
    ) -> tuple[ArtifactEntry, ...]:
        """What is directly below a folder, in order of ``place``; () when it is missing or a file.

        Args:
            after: The ``place`` of the last entry of the page before.
        """
        ...

    async def sums(self, owner: str, folder: str = "") -> ArtifactSums:
        """How many files there are below a folder, and their bytes."""
        ...

    async def list(
        self, owner: str, folder: str = "", *, limit: int = 1000, after: str | None = None
    ) -> tuple[ArtifactFile, ...]:
        """All files below a folder, in order of path, paged by path."""
        ...

    async def delete(self, owner: str, path: str, *, only_if: FileCondition | None = None) -> int:
        """Delete a file or a folder; return how many files there were. Rows first, bytes after.

        Args:
            only_if: Compared as by ``put`` with the file that is there; a folder is no file.

        Raises:
            PreconditionFailed: it is not as ``only_if`` asks. Nothing was deleted.
            StoreUnavailable: with ``only_if``, others put this file again and again.
        """
        ...

    async def delete_all(self, owner: str) -> int:
        """Delete all files of an owner and the list of them; return the bytes freed. Repeatable.

        Rows first, bytes after. What a crash left without a row goes too, uncounted.

        Cost: as many requests as a folder takes, however many files there are.
        """
        ...

    async def seal(self, owner: str) -> int:
        """Write ``manifest.json`` next to the files; return how many it lists. Repeatable."""
        ...
