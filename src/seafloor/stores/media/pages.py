"""Pages of records and of series: their bounds, and where the next one begins."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.ids import WorkloadId
from seafloor.domain.media import MEDIA_PER_APPEND_MAX, MediaRecord, check_media
from seafloor.stores.media.protocol import MediaQuery

MEDIA_PAGE_MAX: Final = 500

Position = tuple[int, int, int, str]
"""(step, time_ms, place, digest) of a record: no two of one key have the same."""

SeriesPosition = tuple[str, str]
"""(key, kind) of a series."""

_P = TypeVar("_P", bound=tuple[int, int, int, str] | tuple[str, str])


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    of: str
    position: tuple[int | str, ...]


def position_of(record: MediaRecord) -> Position:
    """Where a record stands among those of its key."""
    return record.step, record.time_ms, record.place, record.digest


def check_limit(limit: int) -> None:
    """Refuse a page that is too large or none.

    Raises:
        InvalidValue: it is.
    """
    if not 1 <= limit <= MEDIA_PAGE_MAX:
        raise InvalidValue(f"limit must be 1..{MEDIA_PAGE_MAX}.", field="limit")


def check_batch(records: Sequence[MediaRecord]) -> dict[str, MediaRecord]:
    """Check records that are appended together; give each once, by its digest.

    Raises:
        InvalidValue, LimitExceeded: there are none or too many, or one cannot be kept.
    """
    if not records:
        raise InvalidValue("There are no records.", field="records")
    if len(records) > MEDIA_PER_APPEND_MAX:
        raise LimitExceeded(f"At most {MEDIA_PER_APPEND_MAX} records at once.", field="records")
    return {record.digest: record for record in map(check_media, records)}


def encode_position(of: str, position: Position | SeriesPosition) -> str:
    """Make the cursor that goes on behind a position."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(_Cursor(of, position))).decode()


def decode_position(of: str, cursor: str, kind: type[_P]) -> _P:
    """Read a cursor.

    Raises:
        InvalidValue: it is none, or one of something else.
    """
    try:
        content = base64.b64decode(cursor.encode("ascii"), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(content, type=_Cursor)
        position = msgspec.convert(found.position, kind)
    except (ValueError, binascii.Error) as error:  # msgspec's errors are ValueErrors
        raise InvalidValue(
            "The cursor is not one: pass `next` of the page before.", field="cursor"
        ) from error
    if found.of != of:
        raise InvalidValue(
            "The cursor is of another list: pass it with what it came from.", field="cursor"
        )
    return position


def name_of_list(workload_id: WorkloadId, query: MediaQuery) -> str:
    """What the cursors of a list of records are bound to."""
    name = f"{workload_id} {query.kind or '*'} {query.key}"
    return f"{name}\0backwards" if query.backwards else name
