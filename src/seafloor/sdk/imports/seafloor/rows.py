"""Reads rows of an export's tables by their number, a row group at a time."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seafloor.domain.errors import SourceError
from seafloor.sdk.exports.arrow import arrow
from seafloor.sdk.exports.manifest import schema

Row = dict[str, Any]


class TableRows:
    """The rows of one table. Memory: one row group and the footers.

    Args:
        name: Of the table.
        paths: Its files, in order.

    Raises:
        SourceError: a file cannot be read, or its columns are not those of the format.
    """

    def __init__(self, name: str, paths: list[Path]) -> None:
        known = schema(name), schema(name, first=True)
        self._files: list[Any] = []
        self._groups: list[tuple[int, int]] = []
        self._begins: list[int] = []
        self._cached: tuple[int, Any] | None = None
        self.rows = 0
        for path in paths:
            try:
                file = arrow(".parquet").ParquetFile(path)
            except (OSError, ValueError) as error:  # pyarrow's errors are of these
                raise SourceError(f'"{path}" cannot be read as Parquet: {error}') from error
            if not any(map(file.schema_arrow.equals, known)):
                raise SourceError(f'"{path}" has other columns than table {name} of the format.')
            for group in range(file.num_row_groups):
                self._groups.append((len(self._files), group))
                self._begins.append(self.rows)
                self.rows += file.metadata.row_group(group).num_rows
            self._files.append(file)

    def batches(self, first: int, count: int) -> Iterator[Any]:
        """Read some rows, as Arrow tables."""
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
            yield from _plain(table).to_pylist()

    def column(self, name: str) -> Iterator[Any]:
        """Read one column whole."""
        for file in self._files:
            for batch in file.iter_batches(columns=[name]):
                yield from batch.column(0).to_pylist()

    def _group(self, number: int) -> Any:
        if self._cached is None or self._cached[0] != number:
            file, group = self._groups[number]
            try:
                self._cached = number, self._files[file].read_row_group(group)
            except (OSError, ValueError) as error:
                raise SourceError(f"A table of the export is damaged: {error}") from error
        return self._cached[1]

    def close(self) -> None:
        """Close the files."""
        for file in self._files:
            file.close()


def _plain(table: Any) -> Any:
    pa = arrow()
    for place, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            numbers = table.column(place).cast(pa.int64())
            table = table.set_column(place, field.name, numbers)
    return table
