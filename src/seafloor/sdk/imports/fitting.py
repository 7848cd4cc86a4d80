"""Makes what other programs kept fit our names, keys and bounds, and says what does not.

Nothing is dropped in silence: what cannot stand as it was is kept whole in a file of its run
(``seafloor-import.json``), and counted in the report.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

import msgspec

from seafloor.domain.bounds import INT64_MAX, INT64_MIN
from seafloor.domain.errors import CallerError
from seafloor.domain.media import check_media
from seafloor.domain.metrics import STEP_MAX, STEP_MIN, TIME_MS_MAX, Point
from seafloor.domain.models import DatasetInput
from seafloor.domain.names import NAME_CHARS_MAX, check_key, check_name, near_key
from seafloor.sdk.imports.records import MediaItem
from seafloor.sdk.imports.report import Report
from seafloor.wire.numbers import number_out

REST_FILE: Final = "seafloor-import.json"
CREATED_BY_TAG: Final = "seafloor.createdBy"
IN_RUN: Final = f"whole in the run's file {REST_FILE}"
IN_REPORT: Final = "whole in this report"


class Fit:
    """Fits what belongs to one run or model.

    Args:
        report: Told of all that does not fit.
        name: Of the run, model or experiment, for the report.
        kept_in: Where the caller keeps ``rest``.
    """

    def __init__(self, report: Report, name: str, *, kept_in: str = IN_RUN) -> None:
        self._report = report
        self._name = name
        self._kept_in = kept_in
        self.rest: dict[str, Any] = {}
        """What has no place, whole; empty when everything has one."""

    def name(self, text: str, *, what: str, default: str) -> str:
        """A name for people that is ours; ``default`` when nothing of it can stand."""
        try:
            if check_name(text) == text:
                return text
        except CallerError:
            pass
        plain = unicodedata.normalize("NFC", text)
        plain = "".join(" " if unicodedata.category(c) in {"Cc", "Cs"} else c for c in plain)
        made = plain.strip()[:NAME_CHARS_MAX].strip() or default
        if text != made:
            self._keep(f"{what} that cannot stand here as it is: changed", what, text, text)
        return made

    def labels(self, labels: Mapping[str, str], *, what: str, chars_max: int) -> dict[str, str]:
        """Params or tags: under keys of ours, of characters that can be kept, long values cut."""
        made: dict[str, str] = {}
        for wanted, value in labels.items():
            if wanted == CREATED_BY_TAG:
                self._keep(f"{what} that only the server sets: left out", what, wanted, value)
                continue
            key = self._key(wanted, what=what)
            plain = self.text(value, what=what, key=key)
            if len(plain) > chars_max:
                said = f"{what} longer than {chars_max:,} characters: cut"
                self._keep(said, what, key, _whole(value))
            made[key] = plain[:chars_max]
        return made

    def text(self, text: str, *, what: str, key: str) -> str:
        """A text of characters that can be kept."""
        plain = plain_text(text)
        if plain != text:
            said = f"{what} with NUL, or half a character, in it: shown as ␀ or \\ud800"
            self._keep(said, what, key, _whole(text))
        return plain

    def dataset(self, dataset: DatasetInput) -> DatasetInput:
        """A dataset whose texts are of characters that can be kept."""

        def plain(text: str, part: str) -> str:
            return self.text(text, what="dataset", key=f"{part} of {dataset.name}")

        parts = ("name", "digest", "source_type", "source", "schema", "profile")
        texts = {part: getattr(dataset, part) for part in parts}
        return msgspec.structs.replace(
            dataset,
            **{part: text and plain(text, part) for part, text in texts.items()},
            tags={
                plain(key, "name of a tag"): plain(value, f"tag {key}")
                for key, value in dataset.tags.items()
            },
        )

    def time_ns(self, time_ns: int | None, *, what: str) -> int | None:
        """A time of ours, or None."""
        if time_ns is None or 0 <= time_ns <= INT64_MAX:
            return time_ns
        self._keep(f"{what} before 1970 or after 2262: left out", "times", what, _kept(time_ns))
        return None

    def points(self, points: Iterable[Point]) -> Iterator[Point]:
        """The points that have a place here."""
        keys: dict[str, str] = {}
        for point in points:
            key = keys.get(point.key)
            if key is None:
                key = keys[point.key] = self._key(point.key, what="metric")
            if 0 <= point.time_ms <= TIME_MS_MAX and STEP_MIN <= point.step <= STEP_MAX:
                yield point if key == point.key else msgspec.structs.replace(point, key=key)
                continue
            value = number_out(point.value)
            odd = [point.key, value, _kept(point.step), _kept(point.time_ms)]
            self.odd_point(odd, key=point.key)

    def odd_point(self, point: object, *, key: str) -> None:
        """Keep a point that cannot stand here."""
        self._keep_point("metric point whose key, step or time cannot stand here", point, key)

    def no_run(self, point: object, *, key: str) -> None:
        """Keep a model's metric value of a run that is not here."""
        self._keep_point("metric value of a model, by a run that is not here", point, key)

    def _keep_point(self, what: str, point: object, key: str) -> None:
        said = f"{what}: left out"
        self._report.leave_out(f"{said}, {self._kept_in}", f"{self._name}: {key[:100]}")
        self.rest.setdefault("points", []).append(point)

    def media(self, items: Iterable[MediaItem]) -> Iterator[MediaItem]:
        """The media records that have a place here."""
        keys: dict[str, str] = {}
        for item in items:
            wanted = item.record.key
            key = keys.get(wanted)
            if key is None:
                key = keys[wanted] = self._key(wanted, what="media")
            if key != wanted:
                record = msgspec.structs.replace(item.record, key=key)
                item = replace(item, record=record)
            try:
                check_media(item.record)
            except CallerError as error:
                said = f"{item.record.kind} that cannot stand here: left out, {self._kept_in}"
                self._report.leave_out(said, f"{self._name}: {item.record.key[:100]}")
                odd = {"reason": error.message, **msgspec.to_builtins(item.record)}
                self.rest.setdefault("media", []).append(odd)
            else:
                yield item

    def _key(self, key: str, *, what: str) -> str:
        """A key of ours: the same, or one near it."""
        made = near_key(key)
        if made == key:
            return key
        said = f"key of a {what} that cannot stand here: another near it"
        self._keep(said, "keys", made, key)
        return made

    def other(self, fields: Mapping[str, object], *, of: str = "a run") -> None:
        """Fields of the source for which there is no place."""
        for field, value in fields.items():
            self._keep(f"field {field} of {of}: no place", "fields", field, value)

    def note(self, what: str) -> None:
        """Say that something is not as it was, and nothing of it needs to be kept."""
        self._report.leave_out(what, self._name)

    def _keep(self, said: str, kind: str, key: str, value: object) -> None:
        self._report.leave_out(f"{said}, {self._kept_in}", f"{self._name}: {key[:100]}")
        self.rest.setdefault(kind, {})[key] = value


def plain_text(text: str) -> str:
    """The same text, with what none may hold shown instead: NUL, and half a character.

    >>> plain_text("a\\0b")
    'a␀b'
    """
    return _whole(text.replace("\0", "␀"))


def _whole(text: str) -> str:
    """A text that a document can hold: half a character is shown by its number."""
    return text.encode(errors="backslashreplace").decode()


def _kept(number: int) -> int | str:
    """A number as a document can hold it: as a text where it has more than 64 bits."""
    return number if INT64_MIN <= number <= INT64_MAX else str(number)


def is_key(key: str) -> bool:
    """Whether a metric, param or tag may have this key here."""
    try:
        check_key(key)
    except CallerError:
        return False
    return True
