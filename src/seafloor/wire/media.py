"""Histograms, images, tables, texts and audio on the wire."""

from __future__ import annotations

import msgspec

from seafloor.domain.media import BlobFormat, MediaRecord, MediaSeries


class MediaAppend(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``POST /api/v1/runs/{id}/media``: at most 1,000 records; their blobs are there already."""

    records: list[MediaRecord]


class MediaAppended(msgspec.Struct, frozen=True):
    """Records written, and records that were there already."""

    records_written: int
    records_repeated: int


class MediaKeys(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/media/keys``: in order of key and kind, paged."""

    items: tuple[MediaSeries, ...]
    next: str | None = None


class MediaList(msgspec.Struct, frozen=True):
    """``GET /api/v1/runs/{id}/media``: records of a key in order of step, time and place, paged."""

    key: str
    items: tuple[MediaRecord, ...]
    next: str | None = None


class BlobStored(msgspec.Struct, frozen=True):
    """``PUT /api/v1/runs/{id}/media/blobs/{name}``; ``created``: it was not there already."""

    sha256: str
    format: BlobFormat
    size_bytes: int
    created: bool
