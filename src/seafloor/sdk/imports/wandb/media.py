"""What stands in a run's history beside numbers, as media records of ours."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.sdk.imports.report import Report
from seafloor.sdk.imports.wandb.values import TYPE
from seafloor.sdk.logged_media import (
    Taken,
    take_audio,
    take_histogram,
    take_image,
    take_rows,
    take_text,
)

_SAID_OF_A_FILE: Final = frozenset(
    {
        *(TYPE, "path", "sha256", "size", "artifact_path", "_latest_artifact_path"),
        *("width", "height", "format", "caption", "ncols", "nrows", "log_mode", "durations"),
        *("sampleRates", "count", "filenames", "captions", "audio", "images"),
    }
)
_CANNOT: Final = (InvalidValue, LimitExceeded, OSError, KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class Thing:
    """A media record to be.

    Args:
        key: What it is logged under.
        taken: What it is.
        place: Among those that were logged together.
        path: Of the run's file that it was; None: it was none.
    """

    key: str
    taken: Taken
    place: int = 0
    path: str | None = None


def things_of(key: str, value: object, folder: Path, *, name: str, report: Report) -> list[Thing]:
    """Make records of what was logged under a key at a step.

    What is no histogram, image, table or sound that can be had is kept as a text: strings as they
    are, all else as JSON.

    Args:
        key: Which.
        value: As JSON says.
        folder: Where the files of the run lie.
        name: Of the run, for the report.
        report: Told of what has no place, and of files that are not there.
    """
    if value is None:
        report.leave_out("null in a history: no value", f"{name}: {key}")
        return []
    if isinstance(value, str):
        return [Thing(key, take_text(value))]
    if isinstance(value, dict) and TYPE in value:
        said = msgspec.convert(value, dict[str, Any])
        kind = str(said[TYPE])
        try:
            found = list(_read(key, kind, said, folder))
        except _CANNOT as error:
            why = "its file is not there" if isinstance(error, OSError) else "it cannot be read"
            report.leave_out(f"{kind}: {why}; a text says what was logged", f"{name}: {key}")
            found = []
        if found:
            odd = sorted(set(said) - _SAID_OF_A_FILE - {"values", "bins", "packedBins"})
            if odd:
                what = f"{', '.join(odd)} of {kind}: no place; their files are among the run's"
                report.leave_out(what, f"{name}: {key}")
            return found
        if kind not in _READERS:
            what = f"{kind}: no record of its own; its file is among the run's, a text says which"
            report.leave_out(what, f"{name}: {key}")
    return [Thing(key, take_text(json.dumps(value, ensure_ascii=False)))]


def _read(key: str, kind: str, said: dict[str, Any], folder: Path) -> Iterator[Thing]:
    reader = _READERS.get(kind)
    return iter(()) if reader is None else reader(key, said, folder)


def _histogram(key: str, said: dict[str, Any], _: Path) -> Iterator[Thing]:
    counts = said["values"]
    if "packedBins" in said:
        packed = said["packedBins"]
        edges = [packed["min"] + number * packed["size"] for number in range(packed["count"] + 1)]
    else:
        edges = said["bins"]
    yield Thing(key, take_histogram(None, bins=len(counts), edges=edges, counts=counts))


def _image(key: str, said: dict[str, Any], folder: Path) -> Iterator[Thing]:
    path = str(said["path"])
    yield Thing(key, take_image(folder / path), 0, path)
    yield from _captions(key, [said.get("caption")])


def _images(key: str, said: dict[str, Any], folder: Path) -> Iterator[Thing]:
    paths = msgspec.convert(said["filenames"], list[str])
    for place, path in enumerate(paths):
        yield Thing(key, take_image(folder / path), place, path)
    yield from _captions(key, msgspec.convert(said.get("captions") or [], list[Any]))


def _captions(key: str, captions: Iterable[object]) -> Iterator[Thing]:
    for place, caption in enumerate(captions):
        if caption:
            yield Thing(f"{key}.caption", take_text(str(caption)), place)


def _sound(key: str, said: dict[str, Any], folder: Path) -> Iterator[Thing]:
    path = str(said["path"])
    yield Thing(key, take_audio(folder / path, None), 0, path)
    yield from _captions(key, [said.get("caption")])


def _sounds(key: str, said: dict[str, Any], folder: Path) -> Iterator[Thing]:
    for place, one in enumerate(said["audio"]):
        path = str(one["path"])
        yield Thing(key, take_audio(folder / path, None), place, path)
    yield from _captions(key, [one.get("caption") for one in said["audio"]])


def _table(key: str, said: dict[str, Any], folder: Path) -> Iterator[Thing]:
    path = str(said["path"])
    table = json.loads((folder / path).read_bytes())
    rows = ([_cell(value) for value in row] for row in table["data"])
    yield Thing(key, take_rows([str(name) for name in table["columns"]], rows), 0, path)


def _cell(value: object) -> object:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value


_READERS: Final = {
    "histogram": _histogram,
    "image-file": _image,
    "images/separated": _images,
    "audio-file": _sound,
    "audio": _sounds,
    "table-file": _table,
}
