"""Files of wandb runs as its format says, written byte by byte: for tests that need no wandb."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from seafloor.testing.event_records import field_bytes, field_varint

BLOCK_BYTES = 32 * 1024
HEAD = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
T0_S = 1_700_000_000


def log_file(records: Iterable[bytes]) -> bytes:
    """The bytes of a file with these records."""
    out = bytearray(HEAD)
    for record in records:
        left, is_first = record, True
        while True:
            room = BLOCK_BYTES - len(out) % BLOCK_BYTES
            if room < 7:
                out += bytes(room)
                room = BLOCK_BYTES
            piece, left = left[: room - 7], left[room - 7 :]
            kind = (1 if is_first else 4) if not left else (2 if is_first else 3)
            crc = zlib.crc32(piece, zlib.crc32(bytes([kind])))
            out += struct.pack("<IHB", crc, len(piece), kind) + piece
            is_first = False
            if not left:
                break
    return bytes(out)


def within_a_record(content: bytes, at: int) -> int:
    """Where a file can be cut so that the record around a place, or behind it, lacks an end."""
    begin = end = len(HEAD)
    while end <= at:
        begin = end
        room = BLOCK_BYTES - begin % BLOCK_BYTES
        if room < 7:
            end += room
        else:
            (length,) = struct.unpack_from("<H", content, begin + 4)
            end += 7 + length
    return end - 1


def item(key: str, value: object) -> bytes:
    """A key with a value, of a history or config."""
    return field_bytes(1, key.encode()) + field_bytes(16, json.dumps(value).encode())


def run_record(run_id: str, project: str, config: Mapping[str, object]) -> bytes:
    """The record of a run's start."""
    update = b"".join(field_bytes(1, item(key, value)) for key, value in config.items())
    started = field_bytes(17, field_varint(1, T0_S))
    head = field_bytes(1, run_id.encode()) + field_bytes(3, project.encode())
    return field_bytes(17, head + field_bytes(4, update) + started)


def history_record(step: int, values: Mapping[str, object]) -> bytes:
    """A record of the history; a second after the step before."""
    all_of_it = {**values, "_step": step, "_timestamp": T0_S + step}
    return field_bytes(2, b"".join(field_bytes(1, item(*one)) for one in all_of_it.items()))


def exit_record(code: int) -> bytes:
    """The record of a run's end."""
    return field_bytes(18, field_varint(1, code))


def write_run(folder: Path, run_id: str, records: Iterable[bytes]) -> Path:
    """Write the file of an offline run below a folder, with a start and an end."""
    path = folder / f"offline-run-20260101_000000-{run_id}" / f"run-{run_id}.wandb"
    path.parent.mkdir(parents=True)
    whole = [run_record(run_id, "made", {"id": run_id}), *records, exit_record(0)]
    path.write_bytes(log_file(whole))
    return path
