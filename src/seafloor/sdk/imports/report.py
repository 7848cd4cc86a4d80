"""What an import did, and all that had no place here: printed, and kept as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

from seafloor.domain.errors import InvalidValue

NAMES_MAX: Final = 1000
_NAME_CHARS_MAX: Final = 300


class LeftOut(msgspec.Struct, kw_only=True):
    """One kind of thing that had no place, or is not here as it was.

    Args:
        what: What, in the user's words; and what became of it.
        count: How many.
        names: Of the first thousand.
    """

    what: str
    count: int = 0
    names: list[str] = []


class Failure(msgspec.Struct, frozen=True):
    """What should have come and did not: a repeat may bring it."""

    name: str
    reason: str


class Report(msgspec.Struct, kw_only=True):
    """An import.

    Args:
        source: Which program's, and where; without secrets.
        server: Whose installation this is.
        runs: How many were brought by this import.
        runs_known: How many an earlier import had brought whole; nothing of them was touched.
        traces, traces_known: The same of traces.
        spans, assessments: Of the traces brought.
        points, media, params, tags, datasets, models, files, file_bytes: Of the runs brought.
        left_out: What had no place.
        kept: Records without a place here, whole, by kind.
        failures: What should have come and did not.
        whole: Whether all of the source was looked at.
    """

    source: str
    server: str
    experiments: int = 0
    runs: int = 0
    runs_known: int = 0
    points: int = 0
    media: int = 0
    params: int = 0
    tags: int = 0
    datasets: int = 0
    models: int = 0
    traces: int = 0
    traces_known: int = 0
    spans: int = 0
    assessments: int = 0
    files: int = 0
    file_bytes: int = 0
    whole: bool = False
    left_out: list[LeftOut] = []
    kept: dict[str, list[dict[str, Any]]] = {}
    failures: list[Failure] = []

    def leave_out(self, what: str, name: str, *, count: int = 1) -> None:
        """Note that something had no place."""
        found = next((one for one in self.left_out if one.what == what), None)
        if found is None:
            found = LeftOut(what=what)
            self.left_out.append(found)
        found.count += count
        if len(found.names) < NAMES_MAX:
            found.names.append(_short(name))

    def keep(self, what: str, kind: str, records: list[dict[str, Any]]) -> None:
        """Keep records that have no place whole, and say so; their ``name`` or id names them."""
        for record in records:
            named = record.get("name") or record.get("id") or record.get("run_id") or ""
            self.leave_out(what, str(named))
        if records:
            self.kept.setdefault(kind, []).extend(records)

    def fail(self, name: str, reason: str) -> None:
        """Note that something should have come and did not."""
        self.failures.append(Failure(_short(name), reason))

    def has_failed(self, name: str) -> bool:
        """Whether something did not come that a repeat may bring."""
        return any(one.name == _short(name) for one in self.failures)

    def write(self, path: Path) -> None:
        """Write it as JSON.

        Raises:
            InvalidValue: there is no place for the file.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(msgspec.json.format(msgspec.json.encode(self), indent=1) + b"\n")
        except OSError as error:
            raise InvalidValue(
                f'The report "{path}" cannot be written: {error.strerror or error}.',
                field="--report",
            ) from error


def _short(name: str) -> str:
    """A name as a line can hold it: a source may call anything by a whole book."""
    return name if len(name) <= _NAME_CHARS_MAX else f"{name[:_NAME_CHARS_MAX]}…"
