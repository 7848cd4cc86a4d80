"""What must be known of a tf.events file before it is sent: the server decodes the rest.

Checksums are not looked at here; the server does, and says what is damaged.

Source: tensorboard/compat/proto/{event,summary}.proto and
tensorboard/plugins/hparams/plugin_data.proto.
"""

from __future__ import annotations

import math
import struct
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from seafloor.wire.protobuf import BadMessage, fields, text_of
from seafloor.wire.tfrecord import read_frames

HPARAMS: Final = "hparams"
_DECODED: Final = frozenset({"", "scalars", "images", "histograms", "text", "audio"})
"""Plugins whose values the server reads; those without one are told by their fields."""
_KINDS: Final = {
    4: "graph",
    6: "log message",
    7: "session log",
    8: "run metadata",
    9: "meta graph",
}
_END_STATUS: Final = {1: "succeeded", 2: "failed"}


@dataclass
class Summary:
    """What the event files of a run say, as far as the server does not read it.

    Args:
        first_s, last_s: Times of the first and last event; None: there is none.
        params: Of the hparams plugin.
        ended: ``succeeded`` or ``failed``, when the hparams plugin says so.
        others: What is in the files and nowhere else here, by kind.
        torn: Files that end within a record, or cannot be read from some record on.
    """

    first_s: float | None = None
    last_s: float | None = None
    params: dict[str, str] = field(default_factory=dict[str, str])
    ended: str | None = None
    others: Counter[str] = field(default_factory=Counter[str])
    torn: list[Path] = field(default_factory=list[Path])

    def take(self, path: Path) -> None:
        """Read a file.

        Raises:
            OSError: it cannot be read.

        Cost: one pass in constant memory.
        """
        end = path.stat().st_size
        at = 0
        with path.open("rb") as file:

            def read_at(offset: int, length: int) -> bytes:
                file.seek(offset)
                return file.read(length)

            for frame in read_frames(read_at, start=0, end=end, crc32c=None):
                try:
                    self._take_event(frame.data or b"")
                except BadMessage:
                    break
                at = frame.end
        if at < end:
            self.torn.append(path)

    def _take_event(self, data: bytes) -> None:
        for number, wire, value in fields(data):
            if number == 1 and wire == 1 and isinstance(value, bytes):
                (time_s,) = struct.unpack("<d", value)
                if not math.isfinite(time_s):
                    continue
                self.first_s = min(time_s, time_s if self.first_s is None else self.first_s)
                self.last_s = max(time_s, time_s if self.last_s is None else self.last_s)
            elif number == 5 and isinstance(value, bytes):
                for inner, _, one in fields(value):
                    if inner == 1 and isinstance(one, bytes):
                        self._take_value(one)
            elif number in _KINDS:
                self.others[_KINDS[number]] += 1

    def _take_value(self, data: bytes) -> None:
        for number, _, value in fields(data):
            if number == 9 and isinstance(value, bytes):
                plugin, content = _plugin(value)
                if plugin == HPARAMS:
                    self._take_hparams(content)
                elif plugin not in _DECODED:
                    self.others[f"value of the plugin {plugin}"] += 1

    def _take_hparams(self, content: bytes) -> None:
        for number, _, value in fields(content):
            if not isinstance(value, bytes):
                continue
            if number == 3:  # the start of a session
                self._take_start(value)
            elif number == 4:  # its end
                for inner, _, status in fields(value):
                    if inner == 1 and isinstance(status, int):
                        self.ended = _END_STATUS.get(status)
            elif number == 2:
                self.others["description of an experiment by the plugin hparams"] += 1

    def _take_start(self, data: bytes) -> None:
        for number, _, entry in fields(data):
            if number != 1 or not isinstance(entry, bytes):
                continue
            key, text = "", ""
            for inner, _, value in fields(entry):
                if inner == 1 and isinstance(value, bytes):
                    key = text_of(value)
                elif inner == 2 and isinstance(value, bytes):
                    text = _param(value)
            self.params[key] = text


def _plugin(metadata: bytes) -> tuple[str, bytes]:
    """Which plugin a value is for, and what it says to it."""
    name, content = "", b""
    for number, _, data in fields(metadata):
        if number == 1 and isinstance(data, bytes):
            for inner, _, value in fields(data):
                if inner == 1 and isinstance(value, bytes):
                    name = text_of(value)
                elif inner == 2 and isinstance(value, bytes):
                    content = value
    return name, content


def _param(value: bytes) -> str:
    """A ``google.protobuf.Value`` as a text: it knows no whole numbers, so 3.0 is 3 again."""
    for number, wire, one in fields(value):
        match (number, wire, one):
            case (2, 1, bytes()):
                (found,) = struct.unpack("<d", one)
                return str(int(found)) if found.is_integer() else repr(found)
            case (3, 2, bytes()):
                return text_of(one)
            case (4, 0, int()):
                return str(bool(one))
            case _:
                continue
    return "None"
