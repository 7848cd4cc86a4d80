"""Media: what a run logs beside numbers: histograms, images, tables, texts, audio.

One of them is a media record. What is small stands in the record; the bulk is a blob: bytes named
by their digest, which are there before any record that refers to them.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Annotated, Final, Literal, get_args

import msgspec

from seafloor.domain.bounds import Count, Int64
from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.ids import Sha256
from seafloor.domain.metrics import TIME_MS_MAX
from seafloor.domain.names import check_key

MEDIA_PER_APPEND_MAX: Final = 1_000
BLOB_BYTES_MAX: Final = 256 * 1024 * 1024
BINS_MAX: Final = 512
COLUMNS_MAX: Final = 1_000
TEXT_INLINE_BYTES_MAX: Final = 8 * 1024
CONTENT_BYTES_MAX: Final = 32 * 1024
PLACE_MAX: Final = 9_999

MediaKind = Literal["histogram", "image", "table", "text", "audio"]
BlobFormat = Literal[
    "png", "jpeg", "gif", "webp", "svg", "wav", "mp3", "ogg", "flac", "json", "txt"
]

MEDIA_TYPES: Final[dict[BlobFormat, str]] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
    "svg": "image/svg+xml",
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "ogg": "audio/ogg",
    "flac": "audio/flac",
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
}

FORMATS: Final[dict[MediaKind, tuple[BlobFormat, ...]]] = {
    "histogram": (),
    "image": ("png", "jpeg", "gif", "webp", "svg"),
    "table": ("json",),
    "text": ("txt",),
    "audio": ("wav", "mp3", "ogg", "flac"),
}
"""Which blobs a record of a kind may refer to."""

_BLOB_NAME: Final = re.compile(r"([0-9a-f]{64})\.([a-z0-9]+)\Z")
_DIGEST_HEX: Final = 32
_SVG_HEAD_BYTES: Final = 1024

TimeMs = Annotated[int, msgspec.Meta(ge=0, le=TIME_MS_MAX)]


class BlobName(msgspec.Struct, frozen=True):
    """What a blob is called.

    Args:
        sha256: Of its bytes.
        format: What they are.

    >>> str(BlobName("0" * 64, "png"))[-6:]
    '00.png'
    """

    sha256: Sha256
    format: BlobFormat

    def __str__(self) -> str:
        return f"{self.sha256}.{self.format}"

    @property
    def media_type(self) -> str:
        """As which the bytes are served."""
        return MEDIA_TYPES[self.format]


class Blob(msgspec.Struct, frozen=True):
    """The bulk of a record.

    Args:
        sha256: Of its bytes.
        format: What they are.
        size_bytes: How many.
    """

    sha256: Sha256
    format: BlobFormat
    size_bytes: Count

    @property
    def name(self) -> BlobName:
        """What it is called."""
        return BlobName(self.sha256, self.format)


class Histogram(msgspec.Struct, frozen=True, tag_field="kind", tag="histogram"):
    """How values are spread.

    Args:
        edges: Shape (n + 1,), 1 <= n <= BINS_MAX; finite, never falling.
        counts: Shape (n,): how many values lie between an edge and the next; finite, >= 0.
        odd: How many further values were NaN or infinite.
    """

    edges: tuple[float, ...]
    counts: tuple[float, ...]
    odd: Count = 0


class Image(msgspec.Struct, frozen=True, tag_field="kind", tag="image"):
    """A picture; its bytes are the blob.

    Args:
        width, height: Pixels; None when it is not known.
    """

    width: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)] | None = None
    height: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)] | None = None


class Table(msgspec.Struct, frozen=True, tag_field="kind", tag="table"):
    """Rows and columns; the blob is JSON: ``{"columns": [...], "data": [[...], ...]}``.

    Args:
        columns: Their names, at most COLUMNS_MAX.
        rows: How many.
    """

    columns: tuple[str, ...]
    rows: Count


class Text(msgspec.Struct, frozen=True, tag_field="kind", tag="text"):
    """A text: here, or as the blob when it is longer than TEXT_INLINE_BYTES_MAX.

    Args:
        text: None when it is the blob.
    """

    text: str | None = None


class Audio(msgspec.Struct, frozen=True, tag_field="kind", tag="audio"):
    """A sound; its bytes are the blob.

    Args:
        sample_rate_hz, channels, duration_ms: None when it is not known.
    """

    sample_rate_hz: Annotated[int, msgspec.Meta(ge=1, le=1 << 31)] | None = None
    channels: Annotated[int, msgspec.Meta(ge=1, le=1 << 16)] | None = None
    duration_ms: Count | None = None


Content = Histogram | Image | Table | Text | Audio


class MediaRecord(msgspec.Struct, frozen=True):
    """One thing that a run logged under a key at a step.

    Two records of a run that are the same in all of this are one.

    Args:
        key: As a metric's.
        step: int64; unit: what the user counts.
        time_ms: Milliseconds since 1970-01-01 UTC.
        content: What it is, as far as it is small.
        blob: The bulk of it; None when there is none.
        place: Among the records of one key and step that belong together, from 0.
    """

    key: str
    step: Int64
    time_ms: TimeMs
    content: Content
    blob: Blob | None = None
    place: Annotated[int, msgspec.Meta(ge=0, le=PLACE_MAX)] = 0

    @property
    def kind(self) -> MediaKind:
        """Which of the five."""
        return kind_of(self.content)

    @property
    def digest(self) -> str:
        """What only the same record has: 32 hex digits."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:_DIGEST_HEX]


class MediaSeries(msgspec.Struct, frozen=True):
    """What is known of the records of one key and kind without reading them."""

    key: str
    kind: MediaKind
    records: int
    step_min: int
    step_max: int


def kind_of(content: Content) -> MediaKind:
    """The kind of a record with this content."""
    match content:
        case Histogram():
            return "histogram"
        case Image():
            return "image"
        case Table():
            return "table"
        case Text():
            return "text"
        case Audio():
            return "audio"


def parse_blob_name(text: str, *, field: str = "blob") -> BlobName:
    """Read ``<sha256>.<format>``.

    Raises:
        InvalidValue: it is none.
    """
    found = _BLOB_NAME.match(text)
    known = get_args(BlobFormat)
    if found is None or found[2] not in known:
        raise InvalidValue(
            "A blob is named by its sha256 (64 lower-case hex digits), a dot and one of "
            f"{', '.join(known)}.",
            field=field,
        )
    return BlobName(Sha256(found[1]), found[2])  # pyright: ignore[reportArgumentType]  # one of them


def image_format(content: bytes) -> BlobFormat | None:
    """Tell a picture by how its bytes begin; None when it is none."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return "png"
    if content.startswith(b"\xff\xd8\xff"):
        return "jpeg"
    if content.startswith((b"GIF87a", b"GIF89a")):
        return "gif"
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    head = content[:_SVG_HEAD_BYTES].lstrip()
    if head.startswith(b"<svg") or (head.startswith((b"<?xml", b"<!--")) and b"<svg" in head):
        return "svg"
    return None


def check_media(record: MediaRecord) -> MediaRecord:
    """Check a record.

    Raises:
        InvalidValue, LimitExceeded: its key, content or blob cannot be kept.
    """
    check_key(record.key)
    match record.content:
        case Histogram():
            _check_histogram(record.content)
        case Table(columns=columns):
            if len(columns) > COLUMNS_MAX:
                raise LimitExceeded(f"A table has at most {COLUMNS_MAX} columns.", field="columns")
        case Text(text=text):
            if (text is None) is (record.blob is None):
                raise InvalidValue(
                    "A text is in the record or in a blob, one of them.", field="text"
                )
        case Image() | Audio():
            pass
    try:
        size_bytes = len(msgspec.json.encode(record.content))
    except UnicodeEncodeError as error:
        raise InvalidValue(
            "A text holds half a character (a lone surrogate).", field="text"
        ) from error
    if size_bytes > CONTENT_BYTES_MAX:
        raise LimitExceeded(
            f"What a record holds beside its blob has at most {CONTENT_BYTES_MAX} bytes as JSON; "
            f"this has {size_bytes}.",
            field="content",
        )
    _check_blob(record)
    return record


def _check_histogram(found: Histogram) -> None:
    if not 1 <= len(found.counts) <= BINS_MAX or len(found.edges) != len(found.counts) + 1:
        raise InvalidValue(
            f"A histogram has 1 to {BINS_MAX} counts and one edge more; this one has "
            f"{len(found.counts)} and {len(found.edges)}.",
            field="edges",
        )
    if not all(map(math.isfinite, found.edges)) or any(
        low > high for low, high in zip(found.edges, found.edges[1:], strict=False)
    ):
        raise InvalidValue("The edges of a histogram are finite and never fall.", field="edges")
    if not all(math.isfinite(count) and count >= 0 for count in found.counts):
        raise InvalidValue("The counts of a histogram are finite and not negative.", field="counts")


def _check_blob(record: MediaRecord) -> None:
    kind, blob = record.kind, record.blob
    allowed = FORMATS[kind]
    if blob is None:
        if allowed and kind != "text":
            raise InvalidValue(
                f"The bytes of this {kind} are missing: name its blob.", field="blob"
            )
        return
    if blob.format not in allowed:
        raise InvalidValue(
            f"A {kind} has no blob of the format {blob.format}.", field="blob.format"
        )
    parse_blob_name(str(blob.name), field="blob.sha256")
