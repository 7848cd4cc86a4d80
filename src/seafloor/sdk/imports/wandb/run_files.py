"""The files of one run, and what they say of it at its end."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from seafloor.sdk.imports.wandb.log_file import Damage, read_records
from seafloor.sdk.imports.wandb.messages import (
    Alert,
    Artifact,
    Change,
    Config,
    Environment,
    EventFolder,
    Exit,
    Files,
    History,
    Item,
    Message,
    Metric,
    Output,
    RunHead,
    Stats,
    Summary,
    UsedArtifact,
    decode,
)
from seafloor.sdk.imports.wandb.values import (
    is_mapping,
    leaves,
    leaves_of,
    step_of,
    time_ms_of,
    value_of,
)
from seafloor.wire.protobuf import BadMessage

STEP: Final = "_step"
TIME: Final = "_timestamp"
OWN_KEYS: Final = frozenset({STEP, TIME, "_runtime", "_wandb"})
"""Keys that wandb adds: step and times of points, and what it says of itself."""
_NO_NUMBER: Final = frozenset({b'"', b"{", b"[", b"n"})
"""How JSON begins that is no number."""
_SECOND_NS: Final = 1_000_000_000

Told = Callable[[Path, Damage], None]


def _nobody(_path: Path, _damage: Damage) -> None:
    pass


@dataclass(frozen=True)
class RunFiles:
    """Where a run lies; several files where it was resumed, the oldest first."""

    logs: tuple[Path, ...]

    @property
    def folders(self) -> list[Path]:
        """Where its own files lie, the newest first."""
        return [log.parent / "files" for log in reversed(self.logs)]

    def messages(self, *wanted: type, told: Told = _nobody) -> Iterator[Message]:
        """Read the records of some kinds, in order; places that cannot be read are told of."""
        kinds = frozenset(wanted)
        for log in self.logs:

            def of_this(damage: Damage, path: Path = log) -> None:
                told(path, damage)

            for data in read_records(log, of_this):
                try:
                    message = decode(data, kinds)
                except BadMessage as error:
                    of_this(Damage(0, f"a record is none of wandb's ({error})"))
                    continue
                if message is not None:
                    yield message

    def head(self) -> RunHead | None:
        """What the first file says of its run at the start; None: nothing."""
        return next((one for one in self.messages(RunHead) if isinstance(one, RunHead)), None)


@dataclass
class Logged:
    """What was logged at one step."""

    step: int
    time_ms: int
    leaves: list[tuple[str, bytes]]


def logged(history: History) -> Logged:
    """Read one record of the history."""
    step, time_ms = history.step, 0
    own: list[Item] = []
    for item in history.items:
        if item.path == (STEP,):
            step = step_of(item.value)
        elif item.path == (TIME,):
            time_ms = time_ms_of(item.value)
        elif item.path[0] not in OWN_KEYS:
            own.append(item)
    return Logged(step, time_ms, list(leaves_of(own)))


@dataclass
class Digest:
    """What all records of a run come to.

    Args:
        last: What the history says last under each key.
        last_step: The greatest step.
        last_ns: The latest time that any record tells.
        has_things: Whether the history has anything beside numbers.
        has_output: Whether anything was printed.
    """

    head: RunHead = field(default_factory=RunHead)
    config: dict[str, Any] = field(default_factory=dict[str, Any])
    summary: dict[str, Any] = field(default_factory=dict[str, Any])
    last: dict[str, bytes] = field(default_factory=dict[str, bytes])
    last_step: int = 0
    last_ns: int = 0
    exit: Exit | None = None
    environment: Environment = field(default_factory=Environment)
    files: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    artifacts: list[Artifact] = field(default_factory=list[Artifact])
    used: list[UsedArtifact] = field(default_factory=list[UsedArtifact])
    metrics: list[Metric] = field(default_factory=list[Metric])
    alerts: list[Alert] = field(default_factory=list[Alert])
    event_folders: list[EventFolder] = field(default_factory=list[EventFolder])
    has_things: bool = False
    has_output: bool = False

    @property
    def ended_ns(self) -> int | None:
        """When it ended, as far as its records say."""
        run_s = 0 if self.exit is None else self.exit.runtime_s
        by_runtime_ns = self.head.started_ns + run_s * _SECOND_NS if self.head.started_ns else 0
        return max(self.last_ns, by_runtime_ns) or None

    def take(self, message: Message) -> None:
        """Take a record; what comes later counts."""
        match message:
            case RunHead():
                self._take_head(message)
            case History():
                self._take_history(message)
            case Summary(change):
                _apply(self.summary, change)
            case Config(change):
                _apply(self.config, change)
            case Output(time_ns):
                self.has_output = True
                self.last_ns = max(self.last_ns, time_ns)
            case Stats(time_ns):
                self.last_ns = max(self.last_ns, time_ns)
            case Exit():
                self.exit = message
            case Environment():
                said = {key: one for key, one in msgspec.structs.asdict(message).items() if one}
                self.environment = msgspec.structs.replace(self.environment, **said)
            case Files(files):
                self.files.extend(files)
            case _:
                self._lists[type(message)].append(message)

    @property
    def _lists(self) -> dict[type, list[Any]]:
        return {
            Artifact: self.artifacts,
            UsedArtifact: self.used,
            Metric: self.metrics,
            Alert: self.alerts,
            EventFolder: self.event_folders,
        }

    def _take_head(self, head: RunHead) -> None:
        _apply(self.config, head.config)
        _apply(self.summary, head.summary)
        if not self.head.run_id:
            self.head = head
        self.exit = None  # a process begins: resumed

    def _take_history(self, history: History) -> None:
        found = logged(history)
        self.last_step = max(self.last_step, found.step)
        self.last_ns = max(self.last_ns, found.time_ms * 1_000_000)
        self.last.update(found.leaves)
        self.has_things = self.has_things or any(raw[:1] in _NO_NUMBER for _, raw in found.leaves)


def digest(files: RunFiles, told: Told) -> Digest:
    """Read all records of a run once."""
    made = Digest()
    kinds = (RunHead, History, Summary, Config, Output, Stats, Environment, Exit, Files)
    for message in files.messages(
        *kinds, Artifact, UsedArtifact, Metric, Alert, EventFolder, told=told
    ):
        made.take(message)
    return made


def _apply(target: dict[str, Any], change: Change) -> None:
    for item in change.update:
        *folders, name = item.path
        _below(target, folders)[name] = value_of(item.value)
    for item in change.remove:
        *folders, name = item.path
        _below(target, folders).pop(name, None)


def _below(target: dict[str, Any], path: Iterable[str]) -> dict[str, Any]:
    for part in path:
        inner: dict[str, Any] | None = target.get(part)
        if not is_mapping(inner) or inner is None:
            inner = target[part] = {}
        target = inner
    return target


def flat(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """All leaves of mappings under their paths, without wandb's own keys."""
    for key, value in values.items():
        if key not in OWN_KEYS:
            for path, raw in leaves((key,), _raw(value)):
                yield path, value_of(raw)


def _raw(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()
