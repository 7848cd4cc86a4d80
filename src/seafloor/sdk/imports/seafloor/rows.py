"""Reads rows of an export's tables by their number, a row group at a time."""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from seafloor.domain.errors import SourceError
from seafloor.sdk.exports.arrow import arrow
from seafloor.sdk.exports.manifest import TableFile, schema

Row = dict[str, Any]
_OF_ARROW: Final = (OSError, ValueError)
"""Pyarrow's errors are of these."""


@dataclass(frozen=True)
class _Group:
    """Some rows that are read at once.

    Args:
        file: Their Parquet file; None: it is damaged, as ``problem`` says.
    """

    path: Path
    file: Any = None
    number: int = 0
    problem: str = ""

    def read(self, columns: list[str] | None = None) -> Any:
        if self.file is None:
            raise SourceError(self.problem)
        try:
            return self.file.read_row_group(self.number, columns=columns)
        except _OF_ARROW as error:
            raise _damaged(self.path, error) from error


class TableRows:
    """The rows of one table. Memory: one row group and the footers.

    A damaged file stands in the way of the rows that the manifest says are in it, and of no others.

    Args:
        name: Of the table.
        files: Path and what the manifest says of each file, in order.
    """

    def __init__(self, name: str, files: list[tuple[Path, TableFile]]) -> None:
        self._name = name
        self._files: list[Any] = []
        self._groups: list[_Group] = []
        self._begins: list[int] = []
        self._cached: tuple[int, Any] | None = None
        self.problems: list[str] = []
        """Of each damaged file a sentence that names it."""
        self.rows = 0
        for path, told in files:
            try:
                self._add(path, told)
            except SourceError as error:
                self.problems.append(error.message)
                self._add_group(_Group(path, problem=error.message), told.rows)

    def _add(self, path: Path, told: TableFile) -> None:
        if digest_of_file(path) != told.sha256:
            raise SourceError(f'"{path}" is damaged: its sha256 is not that of the manifest.')
        try:
            file = arrow(".parquet").ParquetFile(path)
        except _OF_ARROW as error:
            raise SourceError(f'"{path}" cannot be read as Parquet: {error}') from error
        self._files.append(file)
        known = schema(self._name), schema(self._name, first=True)
        if not any(map(file.schema_arrow.equals, known)):
            raise SourceError(f'"{path}" has other columns than table {self._name} of the format.')
        if file.metadata.num_rows != told.rows:
            raise SourceError(f'"{path}" has not the rows that the manifest says.')
        for number in range(file.num_row_groups):
            rows = file.metadata.row_group(number).num_rows
            self._add_group(_Group(path, file, number), rows)

    def _add_group(self, group: _Group, rows: int) -> None:
        self._groups.append(group)
        self._begins.append(self.rows)
        self.rows += rows

    def batches(self, first: int, count: int) -> Iterator[Any]:
        """Read some rows, as Arrow tables.

        Raises:
            SourceError: a file that they are in is damaged.
        """
        stop = first + count
        number = bisect.bisect_right(self._begins, first) - 1
        while first < stop:
            begin, table = self._begins[number], self._group(number)
            taken = min(stop, begin + table.num_rows) - first
            yield table.slice(first - begin, taken)
            first += taken
            number += 1

    def read(self, first: int, count: int) -> Iterator[Row]:
        """Read some rows; times are integers, in the unit of their column."""
        for table in self.batches(first, count):
            try:
                rows = _plain(table).to_pylist()
            except _OF_ARROW as error:  # a text that is no UTF-8
                raise SourceError(f'"{self._name}.parquet" is damaged: {error}') from error
            yield from rows

    def column(self, name: str) -> Iterator[Any]:
        """Read one column whole."""
        for group in self._groups:
            yield from group.read([name]).column(0).to_pylist()

    def _group(self, number: int) -> Any:
        if self._cached is None or self._cached[0] != number:
            self._cached = number, self._groups[number].read()
        return self._cached[1]

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def digest_of_file(path: Path) -> str:
    """The sha256 of a file of an export.

    Raises:
        SourceError: it cannot be read, or is no file.
    """
    try:
        if path.exists() and not path.is_file():
            # Whoever opens a pipe waits for one that writes.
            raise SourceError(f'"{path}" is a folder, a pipe or a device, not a file.')
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise SourceError(f'"{path}" cannot be read: {error.strerror or error}.') from error


def _damaged(path: Path, error: Exception) -> SourceError:
    return SourceError(f'"{path}" is damaged: {error}')


def _plain(table: Any) -> Any:
    pa = arrow()
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            numbers = table.column(place).cast(pa.int64())
            table = table.set_column(place, field.name, numbers)
    return table
