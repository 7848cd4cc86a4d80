"""The records in the file of a run, as far as they have a place here.

Each is a protocol buffer, ``Record``, that holds one of some twenty kinds of message.

Source: wandb/proto/wandb_internal.proto.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from seafloor.wire.protobuf import fields, signed, text_of

_SECOND_NS: Final = 1_000_000_000
T = TypeVar("T")


class Item(msgspec.Struct, frozen=True):
    """A key with a value.

    Args:
        path: The key; of several parts where it lies in a mapping.
        value: JSON, with NaN and infinities as Python writes them.
    """

    path: tuple[str, ...]
    value: bytes = b""


class Change(msgspec.Struct, frozen=True):
    """Keys that are set, and keys that are removed."""

    update: tuple[Item, ...] = ()
    remove: tuple[Item, ...] = ()


class RunHead(msgspec.Struct, frozen=True, kw_only=True):
    """What wandb knows of a run from its start. ``started_ns``: UTC; 0: unknown."""

    run_id: str = ""
    entity: str = ""
    project: str = ""
    config: Change = Change()
    summary: Change = Change()
    group: str = ""
    job_type: str = ""
    name: str = ""
    notes: str = ""
    tags: tuple[str, ...] = ()
    sweep_id: str = ""
    host: str = ""
    starting_step: int = 0
    started_ns: int = 0
    git_url: str = ""
    git_commit: str = ""


class History(msgspec.Struct, frozen=True):
    """What was logged at one step."""

    items: tuple[Item, ...]
    step: int


class Summary(msgspec.Struct, frozen=True):
    """A change of the summary."""

    change: Change


class Config(msgspec.Struct, frozen=True):
    """A change of the config."""

    change: Change


class Output(msgspec.Struct, frozen=True):
    """Something that was printed. ``time_ns``: UTC; 0: unknown."""

    time_ns: int
    text: str


class Stats(msgspec.Struct, frozen=True):
    """A sample of the machine's load. ``time_ns``: UTC; 0: unknown."""

    time_ns: int
    items: tuple[Item, ...]


class Files(msgspec.Struct, frozen=True):
    """Files that the run keeps: (path, where it lies outside of the run's folder or empty)."""

    files: tuple[tuple[str, str], ...]


class ArtifactEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A file of a logged artifact.

    Args:
        ref: Where it lies, when wandb keeps no bytes of it.
        local_path: Where its bytes lie on the machine of the run.
    """

    path: str = ""
    digest: str = ""
    ref: str = ""
    size_bytes: int = 0
    local_path: str = ""


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact that was logged; ``metadata`` is JSON."""

    type: str = ""
    name: str = ""
    digest: str = ""
    description: str = ""
    metadata: str = ""
    aliases: tuple[str, ...] = ()
    entries: tuple[ArtifactEntry, ...] = ()


class UsedArtifact(msgspec.Struct, frozen=True):
    """An artifact that the run used."""

    id: str
    type: str
    name: str


class Metric(msgspec.Struct, frozen=True):
    """How a metric, or all whose names match, is to be shown: ``define_metric``."""

    name: str
    step_metric: str


class Alert(msgspec.Struct, frozen=True):
    """A message to the user."""

    title: str
    text: str
    level: str


class EventFolder(msgspec.Struct, frozen=True):
    """A folder of tf.events files that wandb followed."""

    path: str


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where the run ran; older versions write a file of it, ``wandb-metadata.json``."""

    os: str = ""
    python: str = ""
    docker: str = ""
    args: tuple[str, ...] = ()
    program: str = ""
    code_path: str = ""
    git_url: str = ""
    git_commit: str = ""
    root: str = ""
    host: str = ""
    username: str = ""
    executable: str = ""
    gpu: str = ""
    cuda: str = ""


class Exit(msgspec.Struct, frozen=True):
    """How the run ended."""

    code: int
    runtime_s: int


Message = (
    RunHead
    | History
    | Summary
    | Config
    | Output
    | Stats
    | Files
    | Artifact
    | UsedArtifact
    | Metric
    | Alert
    | EventFolder
    | Environment
    | Exit
)


def decode(data: bytes, wanted: frozenset[type]) -> Message | None:
    """Decode a record; None: it is of a kind that is not wanted, or has nothing for us.

    Raises:
        BadMessage: it is none.
    """
    for field, _, value in fields(data):
        if field in _KINDS and isinstance(value, bytes):
            kind, read = _KINDS[field]
            return read(value) if kind in wanted else None
    return None


class _Fields:
    """The fields of a message by number; of several of one number, the last where one is asked."""

    def __init__(self, data: bytes) -> None:
        self._found: dict[int, list[int | bytes]] = {}
        for field, _, value in fields(data):
            self._found.setdefault(field, []).append(value)

    def bytes_of(self, field: int) -> bytes:
        found = self._found.get(field, [b""])[-1]
        return found if isinstance(found, bytes) else b""

    def text(self, field: int) -> str:
        return text_of(self.bytes_of(field))

    def texts(self, field: int) -> tuple[str, ...]:
        return tuple(text_of(one) for one in self._found.get(field, ()) if isinstance(one, bytes))

    def number(self, field: int) -> int:
        found = self._found.get(field, [0])[-1]
        return signed(found) if isinstance(found, int) else 0

    def each(self, field: int, read: Callable[[bytes], T]) -> tuple[T, ...]:
        found = self._found.get(field, ())
        return tuple(read(one) for one in found if isinstance(one, bytes))

    def time_ns(self, field: int) -> int:
        found = _Fields(self.bytes_of(field))
        return found.number(1) * _SECOND_NS + found.number(2)


def _item(data: bytes) -> Item:
    # Most records are these: read without a table of fields.
    key, value = "", b""
    nested: list[str] = []
    for field, _, found in fields(data):
        if isinstance(found, bytes):
            if field == 1:
                key = text_of(found)
            elif field == 2:
                nested.append(text_of(found))
            elif field == 16:
                value = found
    return Item(tuple(nested) or (key,), value)


def _change(data: bytes) -> Change:
    found = _Fields(data)
    return Change(found.each(1, _item), found.each(2, _item))


def _run(data: bytes) -> RunHead:
    found = _Fields(data)
    git = _Fields(found.bytes_of(21))
    return RunHead(
        run_id=found.text(1),
        entity=found.text(2),
        project=found.text(3),
        config=_change(found.bytes_of(4)),
        summary=_change(found.bytes_of(5)),
        group=found.text(6),
        job_type=found.text(7),
        name=found.text(8),
        notes=found.text(9),
        tags=found.texts(10),
        sweep_id=found.text(12),
        host=found.text(13),
        starting_step=found.number(14),
        started_ns=found.time_ns(17),
        git_url=git.text(1),
        git_commit=git.text(2),
    )


def _history(data: bytes) -> History:
    found = _Fields(data)
    return History(found.each(1, _item), _Fields(found.bytes_of(2)).number(1))


def _output(data: bytes) -> Output:
    found = _Fields(data)
    return Output(found.time_ns(2), found.text(3))


def _stats(data: bytes) -> Stats:
    found = _Fields(data)
    return Stats(found.time_ns(2), found.each(3, _item))


def _files(data: bytes) -> Files:
    def one(item: bytes) -> tuple[str, str]:
        found = _Fields(item)
        return found.text(1), found.text(16)

    return Files(_Fields(data).each(1, one))


def _artifact(data: bytes) -> Artifact:
    def entry(content: bytes) -> ArtifactEntry:
        found = _Fields(content)
        return ArtifactEntry(
            path=found.text(1),
            digest=found.text(2),
            ref=found.text(3),
            size_bytes=found.number(4),
            local_path=found.text(6),
        )

    found = _Fields(data)
    return Artifact(
        type=found.text(4),
        name=found.text(5),
        digest=found.text(6),
        description=found.text(7),
        metadata=found.text(8),
        aliases=found.texts(11),
        entries=_Fields(found.bytes_of(12)).each(4, entry),
    )


def _environment(data: bytes) -> Environment:
    found = _Fields(data)
    git = _Fields(found.bytes_of(9))
    return Environment(
        os=found.text(1),
        python=found.text(2),
        docker=found.text(4),
        args=found.texts(5),
        program=found.text(6),
        code_path=found.text(7),
        git_url=git.text(1),
        git_commit=git.text(2),
        root=found.text(11),
        host=found.text(12),
        username=found.text(13),
        executable=found.text(14),
        gpu=found.text(18),
        cuda=found.text(25),
    )


def _metric(data: bytes) -> Metric:
    found = _Fields(data)
    return Metric(found.text(1) or found.text(2), found.text(4))


def _read(kind: Callable[..., T], *order: int) -> Callable[[bytes], T]:
    """A reader of a message that is a few texts."""

    def read(data: bytes) -> T:
        found = _Fields(data)
        return kind(*(found.text(field) for field in order))

    return read


def _exit(data: bytes) -> Exit:
    found = _Fields(data)
    return Exit(found.number(1), found.number(2))


_KINDS: Final[dict[int, tuple[type, Callable[[bytes], Message]]]] = {
    2: (History, _history),
    3: (Summary, lambda data: Summary(_change(data))),
    4: (Output, _output),
    5: (Config, lambda data: Config(_change(data))),
    6: (Files, _files),
    7: (Stats, _stats),
    8: (Artifact, _artifact),
    9: (EventFolder, _read(EventFolder, 1)),
    10: (Alert, _read(Alert, 1, 2, 3)),
    12: (Metric, _metric),
    13: (Output, _output),
    17: (RunHead, _run),
    18: (Exit, _exit),
    25: (UsedArtifact, _read(UsedArtifact, 1, 2, 3)),
    26: (Environment, _environment),
}
