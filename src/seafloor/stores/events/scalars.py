"""From the records of a tf.events file to points of metrics. Pure."""

from __future__ import annotations

import math
import posixpath
from collections.abc import Generator

import msgspec

from seafloor.domain.metrics import TIME_MS_MAX, Point
from seafloor.domain.names import near_key
from seafloor.stores.events.event_proto import ScalarEvent, decode_event
from seafloor.stores.events.tfrecord import BadFrame, ReadAt, read_frames
from seafloor.wire.protobuf import BadMessage

BATCH_POINTS = 10_000


class Batch(msgspec.Struct, frozen=True):
    """What a stretch of a file holds.

    Args:
        points: Of its scalars, in the order of the file.
        end: Offset of the first record that is not in it.
        records: Count of records.
        problem: Why reading stops here, for the user; None when it can go on.
    """

    points: tuple[Point, ...]
    end: int
    records: int
    problem: str | None = None


def key_of(folder: str, tag: str) -> str:
    """The metric key of a tag in a file of a folder; see ``near_key``.

    >>> key_of("", "loss"), key_of("train", "loss/total")
    ('loss', 'train/loss/total')
    >>> key_of("", "accuracy (%)")
    'accuracy ___-6485cd'
    """
    return near_key(f"{folder}/{tag}" if folder else tag)


def time_ms_of(wall_time_s: float) -> int:
    """Milliseconds of a writer's clock; a time that is none becomes the nearest that is."""
    if math.isnan(wall_time_s):
        return 0
    return round(max(0.0, min(wall_time_s * 1000, float(TIME_MS_MAX // 1024 * 1024))))


def _points(folder: str, event: ScalarEvent) -> list[Point]:
    time_ms = time_ms_of(event.wall_time_s)
    return [
        Point(key_of(folder, scalar.tag), scalar.value, event.step, time_ms)
        for scalar in event.scalars
    ]


def read_batches(path: str, read_at: ReadAt, *, start: int, end: int) -> Generator[Batch]:
    """Read the scalars of the whole records between two offsets.

    Args:
        path: Of the file; its folder goes before the tags.
        start: Where a record begins.
        end: Bytes from here on are not there yet.

    Cost: memory of one batch and one record.
    """
    folder = posixpath.dirname(path)
    points: list[Point] = []
    records, at = 0, start
    problem: str | None = None
    try:
        for frame in read_frames(read_at, start=start, end=end):
            if frame.data is not None:
                points.extend(_points(folder, decode_event(frame.data)))
            records, at = records + 1, frame.end
            if len(points) >= BATCH_POINTS:
                yield Batch(tuple(points), at, records)
                points, records = [], 0
    except BadFrame as exc:
        problem = exc.reason
    except BadMessage as exc:
        problem = (
            f"The record at byte {at:,} is no tf.events record ({exc}): "
            "what follows was kept but not read."
        )
    if records or problem is not None:
        yield Batch(tuple(points), at, records, problem)
