"""What a run takes, on the wire."""

from __future__ import annotations

import msgspec


class UsagePart(msgspec.Struct, frozen=True):
    """One kind of what is kept.

    Args:
        files: How many objects (of logs: how many logs).
        size_bytes: Of all of them.
    """

    files: int = 0
    size_bytes: int = 0


class RunUsage(msgspec.Struct, frozen=True, kw_only=True):
    """``GET /api/v1/runs/{id}/usage``: the bytes that a run takes in the object store.

    What the database holds (labels, points that have not become segments yet) is not counted.

    Args:
        id: Of the run.
        size_bytes: All together.
        artifacts: Its own files, with those that a killed upload left unseen.
        models: Files of the models that it logged.
        metrics: Segments of points.
        media: Images, tables and the like.
        event_files: tf.events files, those too that still grow on the server's own disk.
        logs: As they were printed; where servers share them they lie compressed.
        other: Lists of files and notes.
    """

    id: str
    size_bytes: int
    artifacts: UsagePart
    models: UsagePart
    metrics: UsagePart
    media: UsagePart
    event_files: UsagePart
    logs: UsagePart
    other: UsagePart
