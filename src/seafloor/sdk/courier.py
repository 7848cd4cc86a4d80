"""Brings records to a server. What it refuses for good is kept aside, and the others go on."""

from __future__ import annotations

import contextlib
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    InvalidValue,
    LimitExceeded,
    NotFound,
    NotSupported,
    SeafloorError,
    StoreCorrupt,
)
from seafloor.domain.media import CONTENT_BYTES_MAX, MEDIA_PER_APPEND_MAX, MediaRecord
from seafloor.domain.metrics import BatchId, Point
from seafloor.sdk.client import Client
from seafloor.sdk.media import SentBlobs
from seafloor.sdk.spool import Segment, Sent, read_sent, write_sent
from seafloor.sdk.wal import (
    Begin,
    Dropped,
    End,
    FoundRecord,
    LoggedFile,
    LoggedMedia,
    Params,
    Points,
    Record,
    Tags,
    WalReader,
    read_begin,
)
from seafloor.wire.runs import RunUpdate

POINTS_PER_CALL_MAX: Final = 5_000
MEDIA_BYTES_MAX: Final = 16 * 1024 * 1024
"""At most so many are read before they are sent."""
LOST_TAG: Final = "seafloor.records_lost"
"""With the writer's name behind it, the tag that counts what was lost."""

_RECORDS_PER_STEP_MAX: Final = 5_000

_FINAL_REFUSALS: Final = (InvalidValue, LimitExceeded, Conflict, AlreadyExists, NotSupported)
"""Sending the same again would be refused again; other errors may pass."""


class Refusal(msgspec.Struct, frozen=True):
    """Something that the server will never accept.

    Args:
        kind: ``point``, ``param``, ``tag``, ``file``, ``media`` or ``end``.
        what: It, for people.
        reason: What the server said.
    """

    kind: str
    what: str
    reason: str


@dataclass
class Account:
    """What was brought, and what was not.

    Args:
        points, params, tags, files, media: Accepted by the server.
        refused: Refused for good.
        records_lost: Records that could not be read any more (exact, by their numbers).
        bytes_torn: Behind the last whole record: what was being written when the process died.
        records_dropped, points_dropped: Said by the writer: it could not keep them.
        reached: Whether the server has accepted anything.
    """

    points: int = 0
    params: int = 0
    tags: int = 0
    files: int = 0
    media: int = 0
    refused: list[Refusal] = field(default_factory=list[Refusal])
    records_lost: int = 0
    bytes_torn: int = 0
    records_dropped: int = 0
    points_dropped: int = 0
    reached: bool = False

    @property
    def lost(self) -> int:
        """Records that will never arrive."""
        return self.records_lost + self.records_dropped + len(self.refused)


@dataclass
class Parcel:
    """Records that are sent together; their order among one another does not matter.

    Args:
        writer: By which the server knows the points of a write-ahead file; None: they have none.
    """

    writer: str | None = None
    begin: Begin | None = None
    points: list[Point] = field(default_factory=list[Point])
    ends: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])
    """Of each record with points its number, and how many points there are up to its end."""
    params: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    tags: dict[str, str] = field(default_factory=dict[str, str])
    files: list[LoggedFile] = field(default_factory=list[LoggedFile])
    media: list[LoggedMedia] = field(default_factory=list[LoggedMedia])
    media_bytes: int = 0
    dropped: list[Dropped] = field(default_factory=list[Dropped])

    @property
    def is_full(self) -> bool:
        """Whether what is in it should go before more is read."""
        return len(self.points) >= POINTS_PER_CALL_MAX or self.media_bytes >= MEDIA_BYTES_MAX

    def add(self, record: Record, number: int = 0) -> None:
        """Put a record in, which has a number in the writer's file."""
        match record:
            case Begin():
                self.begin = record
            case Points():
                self.points += record.points
                self.ends.append((number, len(self.points)))
            case Params():
                self.params += record.params.items()
            case Tags():
                self.tags |= record.tags
            case LoggedFile():
                self.files.append(record)
            case LoggedMedia():
                self.media.append(record)
                self.media_bytes += len(record.data or b"") + CONTENT_BYTES_MAX
            case Dropped():
                self.dropped.append(record)
            case End():
                raise TypeError("an end is brought by itself, after all others")

    def batches(self) -> Generator[tuple[list[Point], BatchId | None]]:
        """The points as they are sent: whole records together, known by the last one's number.

        So whoever sends the file after this process counts on where it stopped, whatever it
        takes together.
        """
        first = 0
        for at, (number, end) in enumerate(self.ends):
            following = self.ends[at + 1][1] if at + 1 < len(self.ends) else None
            is_full = following is None or following - first > POINTS_PER_CALL_MAX
            if is_full and end > first:
                batch = None if self.writer is None else BatchId(self.writer, number)
                yield self.points[first:end], batch
                first = end


class Courier:
    """Brings records of one run to a server. Every call may be repeated.

    Args:
        client: The server.
        run_id: The run.
        files: Folder of the copies of logged files.
        account: Is kept up.
    """

    def __init__(self, client: Client, run_id: str, files: Path, account: Account) -> None:
        self.account = account
        self._client = client
        self._run_id = run_id
        self._files = files
        self._blobs = SentBlobs(client.media, run_id)

    def bring(self, parcel: Parcel) -> None:
        """Bring records. When this returns, each was accepted or is in ``account.refused``.

        Raises:
            SeafloorError: the server is away, or says no to the run as a whole (it does not know
                it, the token is not valid). Some of the records may have been accepted.
        """
        if parcel.begin is not None and parcel.begin.creates:
            self._begin(parcel.begin)
        for points, batch in parcel.batches():
            self._append(points, batch)
        self._describe(parcel)
        last = {file.path: file for file in parcel.files}
        for file in parcel.files:
            self._put(file, is_last=last[file.path] is file)
        if parcel.media:
            self._bring_media(parcel.media)
        self.account.reached = True
        for dropped in parcel.dropped:
            self.account.records_dropped += dropped.records
            self.account.points_dropped += dropped.points

    def end(self, end: End) -> None:
        """Say how the run ended.

        Raises:
            SeafloorError: as ``bring``.
        """
        update = RunUpdate(state=end.state, reason=end.reason, ended_ns=end.ended_ns)
        try:
            self._client.runs.update(self._run_id, update)
        except _FINAL_REFUSALS as error:
            if self._client.runs.get(self._run_id).state != end.state:
                self._refuse("end", end.state, error)

    def tell_losses(self, writer: str) -> None:
        """Have the run show how many records of a writer will never arrive.

        Raises:
            SeafloorError: as ``bring``.
        """
        if self.account.lost:
            tag = {f"{LOST_TAG}.{writer}": str(self.account.lost)}
            self._client.runs.update(self._run_id, RunUpdate(tags=tag))

    def discard(self, parcel: Parcel) -> None:
        """Remove the copies of files that were brought.

        Raises:
            OSError: one could not be removed.
        """
        copies = [file.source for file in parcel.files if file.copied]
        for name in (*copies, *(one.source for one in parcel.media if one.source is not None)):
            (self._files / name).unlink(missing_ok=True)

    def _begin(self, begin: Begin) -> None:
        run = self._client.runs.create(begin.run)
        self.account.reached = True
        if begin.resumed and run.state.is_final:
            self._client.runs.update(
                self._run_id, RunUpdate(state="running", reason="resumed by its client")
            )

    def _append(self, points: list[Point], batch: BatchId | None = None) -> None:
        try:
            self._client.metrics.append_batch(self._run_id, points, batch)
        except _FINAL_REFUSALS as error:
            self._check_run(error)
            if batch is not None:
                # Parts of it go without its number, and are known by their points.
                self._append(points)
                return
            if len(points) == 1:
                point = points[0]
                self._refuse("point", f"{point.key}={point.value} at step {point.step}", error)
                return
            middle = len(points) // 2
            self._append(points[:middle])
            self._append(points[middle:])
        else:
            self.account.points += len(points)

    def _describe(self, parcel: Parcel) -> None:
        params = dict(reversed(parcel.params))  # the first value of each
        others = {key: value for key, value in parcel.params if params[key] != value}
        if not params and not parcel.tags:
            return
        try:
            self._client.runs.update(self._run_id, RunUpdate(params=params, tags=parcel.tags))
        except _FINAL_REFUSALS as error:
            self._check_run(error)
            # Which one it is shows when each goes alone.
            self._describe_singly(params, parcel.tags)
        else:
            self.account.params += len(params)
            self.account.tags += len(parcel.tags)
        self._describe_singly(others, {})

    def _describe_singly(self, params: dict[str, str], tags: dict[str, str]) -> None:
        for key, value in params.items():
            if self._update("param", f"{key}={value[:100]}", RunUpdate(params={key: value})):
                self.account.params += 1
        for key, value in tags.items():
            if self._update("tag", f"{key}={value[:100]}", RunUpdate(tags={key: value})):
                self.account.tags += 1

    def _update(self, kind: str, what: str, update: RunUpdate) -> bool:
        try:
            self._client.runs.update(self._run_id, update)
        except _FINAL_REFUSALS as error:
            self._refuse(kind, what, error)
            return False
        return True

    def _put(self, file: LoggedFile, *, is_last: bool) -> None:
        """Bring a file; ``is_last``: none of the same path comes behind it."""
        source = self._files / file.source if file.copied else Path(file.source)
        try:
            if not file.copied:
                _check_unchanged(source, file)
            elif not source.exists() and (not is_last or self._is_there(file)):
                # Brought before, and the note of that was lost.
                self.account.files += 1
                return
            self._client.artifacts.put(self._run_id, file.path, source)
        except (*_FINAL_REFUSALS, StoreCorrupt) as error:
            self._check_run(error)
            self._refuse("file", file.path, error)
        else:
            self.account.files += 1

    def _is_there(self, file: LoggedFile) -> bool:
        try:
            return self._client.artifacts.size_bytes(self._run_id, file.path) == file.size_bytes
        except NotFound:
            return False

    def _bring_media(self, media: list[LoggedMedia]) -> None:
        records = [one.record for one in media if self._put_blob(one)]
        for first in range(0, len(records), MEDIA_PER_APPEND_MAX):
            self._append_media(records[first : first + MEDIA_PER_APPEND_MAX])

    def _put_blob(self, media: LoggedMedia) -> bool:
        """Bring the bytes that a record refers to; False when the server refuses them."""
        blob, data = media.record.blob, media.data
        if blob is None or blob.name in self._blobs:
            return True
        if media.source is not None:
            try:
                data = (self._files / media.source).read_bytes()
            except FileNotFoundError:
                data = None  # brought before, and the note of that was lost
        if data is None:
            return True
        try:
            self._blobs.put(blob.name, data)
        except _FINAL_REFUSALS as error:
            self._check_run(error)
            self._refuse_media(media.record, error)
            return False
        return True

    def _append_media(self, records: list[MediaRecord]) -> None:
        if not records:
            return
        try:
            self._client.media.append(self._run_id, records)
        except _FINAL_REFUSALS as error:
            self._check_run(error)
            if len(records) == 1:
                self._refuse_media(records[0], error)
                return
            middle = len(records) // 2
            self._append_media(records[:middle])
            self._append_media(records[middle:])
        else:
            self.account.media += len(records)

    def _refuse_media(self, record: MediaRecord, error: SeafloorError) -> None:
        self._refuse("media", f"{record.kind} {record.key} at step {record.step}", error)

    def _check_run(self, error: SeafloorError) -> None:
        """Tell a run that takes nothing from one that does not take this.

        Raises:
            SeafloorError: the run was deleted; restored it takes everything.
        """
        if self._client.runs.get(self._run_id).deleted_ns is not None:
            raise error

    def _refuse(self, kind: str, what: str, error: SeafloorError) -> None:
        self.account.refused.append(Refusal(kind, what, error.message))


def _check_unchanged(source: Path, file: LoggedFile) -> None:
    try:
        status = source.stat()
    except OSError as error:
        raise InvalidValue(
            f'"{source}" is gone or cannot be read ({error.strerror}); it was too large to be '
            "copied when it was logged."
        ) from error
    if (status.st_size, status.st_mtime_ns) != (file.size_bytes, file.mtime_ns):
        raise InvalidValue(
            f'"{source}" was changed after it was logged; it was too large to be copied.'
        )


class SegmentDelivery:
    """Brings one segment to a server, a step at a time, and notes how far.

    Args:
        segment: Which.
    """

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.end: End | None = None
        self.torn_bytes = 0
        self._sent = read_sent(segment)
        self._sent_with_end = self._sent

    def step(self, courier: Courier, limit: int | None = None) -> int:
        """Bring the next records; the ``end`` is only read, for ``finish`` to bring.

        Args:
            courier: By whom.
            limit: Offset to read to, in a file that is being written; None: its end.

        Returns:
            How many records; 0 when there is none left that is whole.

        Raises:
            SeafloorError: as ``Courier.bring``. The same records come again next time.
            OSError: the file cannot be read.
        """
        if limit is not None and self._sent.offset >= limit:
            return 0
        writer = f"{self.segment.writer}.{self.segment.number:04d}"
        parcel, count, lost, sent = Parcel(writer), 0, 0, self._sent
        end: FoundRecord | None = None
        with self.segment.path.open("rb") as file:
            reader = WalReader(file, offset=sent.offset, number=sent.number, limit=limit)
            for found in reader.records():
                if isinstance(found.record, End):
                    end = found
                    break
                parcel.add(found.record, found.number)
                count += 1
                lost += found.lost
                sent = Sent(found.end, found.number)
                if count >= _RECORDS_PER_STEP_MAX or parcel.is_full:
                    break
            self.torn_bytes = reader.torn_bytes
        if count > 0:
            courier.bring(parcel)
            courier.account.records_lost += lost
            self._note(sent)
        if end is not None:
            self._take_end(courier, end)
        courier.discard(parcel)
        return count

    def _take_end(self, courier: Courier, found: FoundRecord) -> None:
        # It is read again at every attempt to bring it; what is lost before it, is so once.
        if self.end is None and isinstance(found.record, End):
            courier.account.records_lost += found.lost
            self.end = found.record
            self._sent_with_end = Sent(found.end, found.number)

    def finish(self, courier: Courier) -> None:
        """Say what was lost, and how the run ended if that is the writer's to say.

        Raises:
            SeafloorError, OSError: as ``step``.
        """
        courier.tell_losses(self.segment.writer)
        if self.end is None:
            return
        begin = read_begin(self.segment.path)
        if begin is not None and begin.owner and not begin.launched:
            courier.end(self.end)
        self._note(self._sent_with_end)

    def _note(self, sent: Sent) -> None:
        self._sent = sent
        # A full disk takes no note. Without it the next process sends the records again, which is
        # harmless; not to go on would keep this one from ever getting further.
        with contextlib.suppress(OSError):
            write_sent(self.segment, sent)

    def count_waiting(self) -> int:
        """Count whole records that are not brought yet.

        Raises:
            OSError: the file cannot be read.
        """
        with self.segment.path.open("rb") as file:
            reader = WalReader(file, offset=self._sent.offset, number=self._sent.number)
            return sum(1 for _ in reader.records())
