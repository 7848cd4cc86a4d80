"""What a script logs beside numbers, taken as it is now: small parts here, the bulk as bytes."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.ids import Sha256
from seafloor.domain.media import (
    BINS_MAX,
    BLOB_BYTES_MAX,
    TEXT_INLINE_BYTES_MAX,
    Blob,
    BlobFormat,
    Content,
    Histogram,
    Table,
    Text,
)
from seafloor.sdk.arrays import array_of
from seafloor.sdk.pictures import picture_of
from seafloor.sdk.sounds import sound_of

_INT_MAX: Final = (1 << 63) - 1


@dataclass(frozen=True)
class Taken:
    """A thing that was logged.

    Args:
        content: What is small.
        blob: The bulk.
        data: Its bytes.
    """

    content: Content
    blob: Blob | None = None
    data: bytes | None = None


def take_histogram(
    values: object,
    *,
    bins: int,
    edges: Iterable[float] | None,
    counts: Iterable[float] | None,
) -> Taken:
    """Count values, or take what was counted.

    Raises:
        InvalidValue: there is neither, or both, or they are no numbers.
    """
    if (values is None) is (edges is None) or (edges is None) is not (counts is None):
        raise InvalidValue("Give values, or edges and counts.", field="values")
    if edges is not None and counts is not None:
        return Taken(Histogram(tuple(_floats(edges)), tuple(_floats(counts))))
    if not 1 <= bins <= BINS_MAX:
        raise InvalidValue(f"A histogram has 1 to {BINS_MAX} bins.", field="bins")
    array = array_of(values)
    return Taken(_counted(_floats(values), bins) if array is None else _of_array(array, bins))


def take_image(image: object) -> Taken:
    """Take a picture; see ``picture_of``. A text or path names a file."""
    return _taken(*picture_of(_read(image, field="image")))


def take_audio(audio: object, sample_rate: int | None) -> Taken:
    """Take a sound; see ``sound_of``. A text or path names a file."""
    return _taken(*sound_of(_read(audio, field="audio"), sample_rate))


def take_text(text: object) -> Taken:
    """Take a text: ``str`` of whatever it is."""
    content = str(text).encode("utf-8", "replace")
    if len(content) <= TEXT_INLINE_BYTES_MAX:
        return Taken(Text(content.decode()))
    return _taken(Text(), "txt", content)


def take_table(table: object) -> Taken:
    """Take a table: a data frame, a mapping of columns, or rows that are mappings.

    Raises:
        InvalidValue: it is none of these, or its columns are of different lengths.
    """
    return take_rows(*_rows_of(table))


def take_rows(columns: list[str], rows: Iterable[Iterable[object]]) -> Taken:
    """Take a table whose columns and rows are known."""
    data = [[_cell(value) for value in row] for row in rows]
    content = msgspec.json.encode({"columns": columns, "data": data})
    return _taken(Table(tuple(columns), len(data)), "json", content)


def _taken(content: Content, format_: BlobFormat, data: bytes) -> Taken:
    if len(data) > BLOB_BYTES_MAX:
        raise LimitExceeded(
            f"It has {len(data):,} bytes; {BLOB_BYTES_MAX:,} are the most. "
            "Keep larger ones as artifacts."
        )
    sha256 = Sha256(hashlib.sha256(data).hexdigest())
    return Taken(content, Blob(sha256, format_, len(data)), data)


def _read(value: object, *, field: str) -> object:
    """Read the file that a path names; give anything else back."""
    if not isinstance(value, str | Path):
        return value
    try:
        with Path(value).open("rb") as file:
            return file.read(BLOB_BYTES_MAX + 1)
    except OSError as error:
        raise InvalidValue(
            f'"{value}" cannot be read: {error.strerror or error}.', field=field
        ) from error


def _floats(values: object) -> list[float]:
    array = array_of(values)
    try:
        found: Any = values if array is None else array.ravel().tolist()
        return [float(value) for value in found]
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidValue(f"A histogram is of numbers: {error}.", field="values") from error


def _counted(values: list[float], bins: int) -> Histogram:
    finite = [value for value in values if math.isfinite(value)]
    odd = len(values) - len(finite)
    if not finite:
        return Histogram((0.0, 1.0), (0.0,), odd)
    low, high = _reach(min(finite), max(finite))
    width = high / bins - low / bins
    scale = 1.0 if math.isfinite(high - low) else 0.5
    counts = [0] * bins
    for value in finite:
        above = value * scale - low * scale
        counts[min(bins - 1, int(above / width / scale)) if width else 0] += 1
    edges = [min(high, low + number * width) for number in range(bins)]
    return Histogram((*edges, high), tuple(map(float, counts)), odd)


def _of_array(array: Any, bins: int) -> Histogram:
    import numpy as np

    if array.dtype.kind not in "fiub":
        raise InvalidValue(f"A histogram is of numbers, not {array.dtype}.", field="values")
    flat = array.ravel()
    finite = flat
    if array.dtype.kind == "f":
        flat = flat.astype(np.float64, copy=False)
        finite = flat[np.isfinite(flat)]
    odd = int(flat.size - finite.size)
    if finite.size == 0:
        return Histogram((0.0, 1.0), (0.0,), odd)
    low, high = _reach(float(finite.min()), float(finite.max()))
    steps = np.linspace(low, high, bins + 1) if math.isfinite(high - low) else np.zeros(2)
    if not bool((steps[1:] > steps[:-1]).all()):
        # Too narrow for so many bins, or too wide to be measured in one piece.
        return msgspec.structs.replace(_counted(finite.tolist(), bins), odd=odd)
    counts, edges = np.histogram(finite, bins=bins, range=(low, high))
    return Histogram(tuple(edges.tolist()), tuple(map(float, counts.tolist())), odd)


def _reach(low: float, high: float) -> tuple[float, float]:
    """Where a histogram begins and ends: a single value gets a bin around it."""
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _rows_of(table: object) -> tuple[list[str], Iterable[Iterable[object]]]:
    found: Any = table
    if hasattr(table, "itertuples") and hasattr(table, "columns"):  # pandas
        return _names(found.columns), found.itertuples(index=False, name=None)
    if hasattr(table, "iter_rows") and hasattr(table, "columns"):  # polars
        return _names(found.columns), found.iter_rows()
    if isinstance(table, Mapping):
        columns: Mapping[object, object] = found
        lists = [_column(name, values) for name, values in columns.items()]
        if len({len(values) for values in lists}) > 1:
            raise InvalidValue("The columns of a table have one length.", field="table")
        return _names(columns), zip(*lists, strict=True)
    if isinstance(table, Iterable) and not isinstance(table, str | bytes):
        rows: list[Any] = list(found)
        if all(isinstance(row, Mapping) for row in rows):
            names = dict.fromkeys(name for row in rows for name in row)
            return _names(names), ([row.get(name) for name in names] for row in rows)
    raise InvalidValue(
        "A table is a data frame, a mapping of columns ({name: values}) or a list of rows "
        "([{name: value}, …]).",
        field="table",
    )


def _names(columns: Iterable[object]) -> list[str]:
    return [str(name).encode("utf-8", "replace").decode() for name in columns]


def _column(name: object, values: object) -> Sequence[object]:
    array = array_of(values)
    if array is not None:
        return array.tolist()
    found: Any = values
    if isinstance(values, Iterable) and not isinstance(values, str | bytes):
        return list(found)
    raise InvalidValue(f'The column "{name}" is no list of values.', field="table")


def _cell(value: object) -> bool | int | float | str | None:
    """What a cell holds in JSON: numbers that it has no words for, and all else, as texts."""
    scalar: Any = value
    if hasattr(scalar, "item") and hasattr(scalar, "dtype"):  # NumPy's
        value = scalar.item()
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -_INT_MAX <= value <= _INT_MAX else str(value)
    if isinstance(value, float):
        if math.isfinite(value):
            return float(value)
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return str(value).encode("utf-8", "replace").decode()
