"""The Parquet files of an export: one row for each attribute, or for each point of a series.

Columns: project_id, run_id, attribute_path, attribute_type, step (decimal), timestamp, and one for
each kind of value. A run lies in one or several files; older exports have several runs in one.

Source: README of neptune-ai/neptune-exporter, "Parquet schema".
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seafloor.domain.errors import SourceError
from seafloor.sdk.exports.arrow import arrow
from seafloor.sdk.walking import files_below

VALUES: Final = {
    "float": "float_value",
    "int": "int_value",
    "string": "string_value",
    "bool": "bool_value",
    "datetime": "datetime_value",
    "string_set": "string_set_value",
}
"""Attributes that have one value, and the column that it is in."""
_NEEDED: Final = frozenset(
    {
        *("project_id", "run_id", "attribute_path", "attribute_type", "step", "timestamp"),
        *("file_value", *VALUES.values()),
    }
)
_ROWS_AT_ONCE: Final = 20_000

Row = dict[str, Any]


@dataclass(frozen=True)
class RunRows:
    """The rows of one run."""

    project_id: str
    run_id: str
    paths: tuple[Path, ...]

    def read(self, *types: str, columns: tuple[str, ...]) -> Iterator[Row]:
        """Read rows of attributes of some types, in the order of the files.

        Raises:
            SourceError: a file is damaged.

        Cost: memory of 20,000 rows.
        """
        compute, wanted = arrow(".compute"), arrow().array(types)
        own = ("project_id", "run_id", "attribute_type")
        for path in self.paths:
            with _reading(path):
                file = arrow(".parquet").ParquetFile(path)
                named = [*own, *(one for one in columns if one not in own)]
                have = [one for one in named if one in file.schema_arrow.names]
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=have):
                    mask = compute.and_(
                        compute.is_in(batch["attribute_type"], wanted),
                        compute.and_(
                            compute.equal(batch["project_id"], self.project_id),
                            compute.equal(batch["run_id"], self.run_id),
                        ),
                    )
                    yield from (
                        batch.filter(mask)
                        .select([one for one in columns if one in have])
                        .to_pylist()
                    )

    def count_others(self, *types: str) -> dict[str, int]:
        """Count rows of attributes of no such type, by their type."""
        counts: dict[str, int] = {}
        for path in self.paths:
            with _reading(path):
                file = arrow(".parquet").ParquetFile(path)
                for batch in file.iter_batches(columns=["run_id", "attribute_type"]):
                    for one in batch.to_pylist():
                        if one["run_id"] == self.run_id and one["attribute_type"] not in types:
                            kind = str(one["attribute_type"])
                            counts[kind] = counts.get(kind, 0) + 1
        return counts


def find_runs(root: Path, told: Callable[[Path, str], None]) -> list[RunRows]:
    """Find the runs in all Parquet files below a folder, by project and id.

    Args:
        root: The folder.
        told: Called with a path and why, for each file that cannot be read.
    """
    found: dict[tuple[str, str], list[Path]] = {}
    below = files_below(root, odd=lambda _: None, bad=lambda it, why: told(it, _why(why)))
    for path in (one for one in below if one.suffix == ".parquet"):
        try:
            for key in _runs_in(path):
                found.setdefault(key, []).append(path)
        except SourceError as error:
            told(path, error.message)
    return [RunRows(*key, tuple(_in_order(paths))) for key, paths in sorted(found.items())]


def _why(error: OSError) -> str:
    return f"It cannot be read: {error.strerror or error}."


def _runs_in(path: Path) -> list[tuple[str, str]]:
    with _reading(path):
        file = arrow(".parquet").ParquetFile(path)
        missing = sorted(_NEEDED - set(file.schema_arrow.names))
        if missing:
            raise SourceError(f"It is none of neptune-exporter's: it has no column {missing[0]}.")
        found: dict[tuple[str, str], None] = {}
        for batch in file.iter_batches(columns=["project_id", "run_id"]):
            projects, runs = batch.column(0), batch.column(1)
            if len(projects.unique()) == len(runs.unique()) == 1:
                found[projects[0].as_py(), runs[0].as_py()] = None
            else:
                found.update(
                    dict.fromkeys(zip(projects.to_pylist(), runs.to_pylist(), strict=True))
                )
        return [(str(project), str(run)) for project, run in found]


def _in_order(paths: list[Path]) -> list[Path]:
    """By the number of the part, which names have without zeros before it."""

    def number(path: Path) -> tuple[str, int, str]:
        base, _, part = path.stem.rpartition("_")
        return str(path.parent / base), int(part) if part.isdigit() else 0, path.name

    return sorted(paths, key=number)


@contextmanager
def _reading(path: Path) -> Generator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError) as error:  # pyarrow's errors are of these
        raise SourceError(f'"{path}" cannot be read as Parquet: {error}') from error
