"""Writes an export: tables in pieces, blobs by digest, the manifest last.

A file has its name when it is whole and on the disk. An export that was interrupted has no
manifest; the next one on the folder keeps the blobs that are there and writes the tables anew.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import io
import os
import secrets
import shutil
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

import msgspec

from seafloor.domain.errors import Conflict, InvalidValue, SeafloorError, StoreFull
from seafloor.sdk.exports.arrow import arrow
from seafloor.sdk.exports.manifest import (
    IN_PARTS,
    MANIFEST,
    TABLES,
    Manifest,
    TableFile,
    blob_path,
    schema,
)

UNFINISHED: Final = "export.unfinished"
"""Says what is exported; there as long as the export is not whole, and locked while it runs."""

GROUP_ROWS: Final = 10_000
METRIC_GROUP_ROWS: Final = 131_072
GROUP_CHARS: Final = 4 * 1024 * 1024
PART_ROWS: Final = 16_000_000
_PIECE_BYTES: Final = 1024 * 1024


class _HashedFile(io.RawIOBase):
    """A file that is written from its beginning to its end, and its digest."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._file: BinaryIO = path.open("wb")
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size_bytes

    def write(self, data: Any, /) -> int:
        size_bytes = self._file.write(data)
        self._digest.update(data)
        self.size_bytes += size_bytes
        return size_bytes

    def finish(self) -> str:
        """Make it durable; its sha256."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._digest.hexdigest()

    def close(self) -> None:
        self._file.close()
        super().close()


class _Parquet:
    """One Parquet file under a partial name."""

    def __init__(self, path: Path, table: str) -> None:
        self._path = path
        self._part = path.with_name(f"{path.name}.part")
        path.parent.mkdir(exist_ok=True)
        self._file = _HashedFile(self._part)
        columns = TABLES[table]
        steady = [name for name, kind in columns.items() if kind in ("text", "text?")]
        self._writer: Any = arrow(".parquet").ParquetWriter(
            self._file,
            schema(table),
            compression="zstd",
            use_dictionary=[*steady, "attempt"] if "attempt" in columns else steady,
            column_encoding={
                name: "BYTE_STREAM_SPLIT" if kind == "float64" else "DELTA_BINARY_PACKED"
                for name, kind in columns.items()
                if kind in ("float64", "int64", "ms", "ns") and table in IN_PARTS
            }
            or None,
        )
        self.rows = 0

    def write(self, batch: Any) -> None:
        self._writer.write_batch(batch, row_group_size=batch.num_rows)
        self.rows += batch.num_rows

    def finish(self) -> TableFile:
        self._writer.close()
        sha256 = self._file.finish()
        self._part.replace(self._path)
        _sync(self._path.parent)
        return TableFile(self.rows, self._file.size_bytes, sha256)

    def drop(self) -> None:
        # Left open, the writer would end the file when it is collected, and tell that it cannot.
        self._writer.is_open = False
        self._file.close()


class Table:
    """A table that rows are added to, in the order in which they are read.

    Memory: one row group.
    """

    def __init__(self, root: Path, name: str, finished: dict[str, TableFile]) -> None:
        self._root = root
        self._name = name
        self._finished = finished
        self._schema = schema(name)
        self._waiting: list[tuple[Any, ...]] = []
        self._waiting_chars = 0
        self._batches: list[Any] = []
        self._batch_rows = 0
        self._file: _Parquet | None = None
        self._parts = 0
        self.rows = 0

    def add(self, *values: Any) -> None:
        """Add a row: its values in the order of the columns."""
        self._waiting.append(values)
        self._waiting_chars += sum(map(_chars_of, values))
        self.rows += 1
        if len(self._waiting) >= GROUP_ROWS or self._waiting_chars >= GROUP_CHARS:
            self._write_waiting()

    def add_batch(self, batch: Any) -> None:
        """Add an Arrow batch of the table's schema."""
        self._batches.append(batch)
        self._batch_rows += batch.num_rows
        self.rows += batch.num_rows
        if self._batch_rows >= METRIC_GROUP_ROWS:
            self._write_batches()

    def end_of_run(self) -> None:
        """Say that other rows may be in another part."""
        if self._file is not None and self._file.rows >= PART_ROWS:
            self._end_file()

    def finish(self) -> None:
        """Write what is left and give the files their names."""
        self._write_waiting()
        self._write_batches()
        self._opened()
        self._end_file()

    def drop(self) -> None:
        """Let go of the file, whatever is in it."""
        if self._file is not None:
            self._file.drop()

    def _write_waiting(self) -> None:
        if not self._waiting:
            return
        pa = arrow()
        columns = [
            pa.array(column, field.type)
            for column, field in zip(zip(*self._waiting, strict=True), self._schema, strict=True)
        ]
        self._opened().write(pa.record_batch(columns, schema=self._schema))
        self._waiting, self._waiting_chars = [], 0

    def _write_batches(self) -> None:
        if not self._batches:
            return
        whole = arrow().Table.from_batches(self._batches, schema=self._schema).combine_chunks()
        for batch in whole.to_batches():
            self._opened().write(batch)
        self._batches, self._batch_rows = [], 0

    def _opened(self) -> _Parquet:
        if self._file is None:
            self._file = _Parquet(self._root / self._path(), self._name)
        return self._file

    def _end_file(self) -> None:
        if self._file is not None:
            self._finished[self._path()] = self._file.finish()
            self._file = None
            self._parts += 1

    def _path(self) -> str:
        if self._name in IN_PARTS:
            return f"{self._name}/{self._parts:05}.parquet"
        return f"{self._name}.parquet"


def _chars_of(value: Any) -> int:
    """How many characters a text or labels have."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        labels = cast(list[tuple[str, str]], value)
        return sum(len(key) + len(label) for key, label in labels)
    return 0


class ExportFolder:
    """A folder that an export is written to; see ``opened``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._finished: dict[str, TableFile] = {}
        self._tables = {name: Table(root, name, self._finished) for name in TABLES}

    def __getitem__(self, table: str) -> Table:
        """A table."""
        return self._tables[table]

    def rows(self) -> dict[str, int]:
        """How many rows each table has."""
        return {name: table.rows for name, table in self._tables.items()}

    def put_blob(self, data: bytes) -> None:
        """Keep bytes by their digest."""
        if self.has_blob(hashlib.sha256(data).hexdigest(), len(data)):
            return
        with self._part() as part:
            part.write_bytes(data)
            self.take_blob(part)

    def has_blob(self, sha256: str, size_bytes: int) -> bool:
        """Whether the bytes of a digest are there."""
        try:
            return (self.root / blob_path(sha256)).stat().st_size == size_bytes
        except FileNotFoundError:
            return False

    def fetch_blob(self, fetch: Callable[[Path], object]) -> tuple[str, int]:
        """Keep what a function writes to the path it is given: sha256 and size."""
        with self._part() as part:
            fetch(part)
            return self.take_blob(part)

    def take_blob(self, part: Path) -> tuple[str, int]:
        """Keep a file by its digest: sha256 and size."""
        with part.open("rb") as file:
            sha256 = digest_of(file)
            size_bytes = file.tell()
            os.fsync(file.fileno())
        path = self.root / blob_path(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        part.replace(path)
        return sha256, size_bytes

    def finish(self, made: Callable[[dict[str, TableFile]], Manifest]) -> Manifest:
        """Give all files their names, and write the manifest when they are on the disk."""
        for table in self._tables.values():
            table.finish()
        for folder in (self.root / "blobs").glob("*"):
            _sync(folder)
        if (self.root / "blobs").exists():
            _sync(self.root / "blobs")
        manifest = made(self._finished)
        part = self.root / f"{MANIFEST}.part"
        with part.open("wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        _sync(self.root)
        part.replace(self.root / MANIFEST)
        _sync(self.root)
        return manifest

    def drop(self) -> None:
        """Let go of all files."""
        for table in self._tables.values():
            table.drop()

    @contextmanager
    def _part(self) -> Generator[Path]:
        folder = self.root / "blobs"
        folder.mkdir(exist_ok=True)
        part = folder / f"{secrets.token_hex(8)}.part"
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def opened(root: Path, only: Mapping[str, Any]) -> Generator[ExportFolder]:
    """Open a folder for an export; no other export writes to it meanwhile.

    Args:
        root: It does not exist, is empty, or has an export that was interrupted.
        only: What is exported. Blobs of an export of something else are not kept.

    Raises:
        InvalidValue: the folder has something else, or cannot be written.
        Conflict: another export is at it.
        StoreFull: no space is left; what is there stays for a repeat.
    """
    try:
        with _claimed(root, msgspec.json.encode(only)):
            folder = ExportFolder(root)
            try:
                yield folder
            finally:
                folder.drop()
            (root / UNFINISHED).unlink()
    except OSError as error:
        raise _unwritable(root, error) from error
    except StoreFull as error:  # of a file that was being fetched, by a name of ours
        raise _full(root) from error


@contextmanager
def _claimed(root: Path, wanted: bytes) -> Generator[None]:
    root.mkdir(parents=True, exist_ok=True)
    _refuse_whole(root)
    mark = root / UNFINISHED
    if not mark.exists() and any(root.iterdir()):
        raise InvalidValue(f'"{root}" is not empty: name another folder.')
    with mark.open("a+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(f'Another export is writing to "{root}".') from error
        if (root / MANIFEST).exists():  # another became whole while this one came here
            mark.unlink(missing_ok=True)
        _refuse_whole(root)
        file.seek(0)
        _clear(root, keeps_blobs=file.read() == wanted)
        file.truncate(0)
        file.write(wanted)
        file.flush()
        yield


def _refuse_whole(root: Path) -> None:
    if (root / MANIFEST).exists():
        raise InvalidValue(f'"{root}" has a whole export already: name another folder.')


def _clear(root: Path, *, keeps_blobs: bool) -> None:
    for name in TABLES:
        for path in (root / f"{name}.parquet", root / f"{name}.parquet.part"):
            path.unlink(missing_ok=True)
        shutil.rmtree(root / name, ignore_errors=True)
    (root / f"{MANIFEST}.part").unlink(missing_ok=True)
    if not keeps_blobs:
        shutil.rmtree(root / "blobs", ignore_errors=True)
    for part in (root / "blobs").glob("*.part"):
        part.unlink()


def digest_of(file: BinaryIO) -> str:
    """The sha256 of what is left of a file."""
    digest = hashlib.sha256()
    while piece := file.read(_PIECE_BYTES):
        digest.update(piece)
    return digest.hexdigest()


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(root: Path, error: OSError) -> SeafloorError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(root)
    return InvalidValue(f'"{root}" cannot be written: {error.strerror or error}.')


def _full(root: Path) -> StoreFull:
    return StoreFull(
        f'No space is left for "{root}". Files that came are kept: make room and repeat.'
    )
