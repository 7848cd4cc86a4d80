"""A run that this process logs to: the spool's writer in front, the sender behind."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from traceback import TracebackException
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Self, get_args

import msgspec

from seafloor.domain.errors import Closed, Conflict, InvalidValue
from seafloor.domain.media import MediaRecord, check_media
from seafloor.domain.metrics import STEP_MAX, Point
from seafloor.sdk.abandoned import tell_abandoned
from seafloor.sdk.logged_files import LoggedFiles
from seafloor.sdk.sender import Sender
from seafloor.sdk.settings import Settings
from seafloor.sdk.spool import SpoolWriter
from seafloor.sdk.values import (
    Number,
    check_params,
    check_step,
    check_tags,
    make_points,
    split_labels,
)
from seafloor.sdk.wal import Begin, End, LoggedMedia, Params, Points, Record, Tags
from seafloor.wire.runs import RunCreate

if TYPE_CHECKING:
    from seafloor.sdk.logged_media import Taken

_POINTS_PER_RECORD: Final = 1_000
_IN_RECORD_BYTES_MAX: Final = 1024 * 1024
"""Larger blobs have files of their own in the spool."""
_IN_RECORD_AT_WORST_BYTES_MAX: Final = 3 * 1024 * 1024
"""The same, when the disk takes no such file: what then does not go out from memory is lost."""

_log = logging.getLogger("seafloor")

EndState = Literal["succeeded", "failed", "stopped"]
_END_STATES: Final = get_args(EndState)
_REASON_CHARS_MAX: Final = 2_000
"""The server's bound."""
_NOT_IN_REASON: Final = dict.fromkeys({*range(32), *range(127, 160)} - {ord("\n"), ord("\t")})


@dataclass(frozen=True)
class RunStart:
    """How a run begins.

    Args:
        run: As it is created; with its id.
        launched: Whether Seafloor started it, so that it exists and ends without us.
        resumed: Whether it may have ended before.
    """

    run: RunCreate
    launched: bool
    resumed: bool


class Run:
    """A run that this process logs to. Made by ``start_run``; may be used from several threads.

    As a context manager it ends the run: ``succeeded``, or ``failed`` when an exception leaves.
    In a process that Seafloor launched it is the launched run, which ends when its command does.

    A forked child logs to the same run with a file of its own. The handler of a signal may log,
    flush and end, also in the middle of a call that logs.
    """

    def __init__(
        self, start: RunStart, settings: Settings, *, on_end: Callable[[Run], None]
    ) -> None:
        self.id = start.run.id or ""
        self.name = start.run.name
        self._start = start
        self._settings = settings
        self._on_end = on_end
        self._owner_pid = os.getpid()
        self._ended = False
        self._params: dict[str, str] = {}
        self._next_steps: dict[str, int] = {}
        self._next_media_steps: dict[str, int] = {}
        self._lock = threading.RLock()
        self._writer: SpoolWriter | None = None
        self._sender: Sender | None = None
        self._room = settings.spool_room()
        self._files = LoggedFiles(settings.spool / self.id / "files", self._room)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        state, reason = verdict_of(error)
        self.end(state, reason=reason)

    def __repr__(self) -> str:
        return f"<seafloor.Run {self.id}{f' {self.name}' if self.name else ''}>"

    def log_metric(self, key: str, value: Number, step: int | None = None) -> None:
        """Log one value of one metric; see ``log_metrics``."""
        self.log_metrics({key: value}, step)

    def log_metrics(self, metrics: Mapping[str, Number], step: int | None = None) -> None:
        """Log values of metrics.

        Args:
            metrics: Key to value: anything with ``__float__`` (Python's, NumPy's and torch's
                numbers); true and false are 1 and 0; NaN and infinities are kept.
            step: int64; None: for each key one more than its last one in this process, from 0.

        Raises:
            InvalidValue: a key, a value or the step is none. Nothing was logged.
            Closed: the run has ended.
        """
        now_ms = time.time_ns() // 1_000_000
        number = None if step is None else check_step(step)
        pairs = make_points(metrics)
        with self._lock:
            steps = self._next_steps
            points: list[Point] = []
            for key, value in pairs:
                at = _step_of(key, number, steps)
                points.append(Point(key, value, at, now_ms))
            for point in points:
                steps[point.key] = point.step + 1
            for first in range(0, len(points), _POINTS_PER_RECORD):
                self._append(Points(points[first : first + _POINTS_PER_RECORD]))

    def log_param(self, key: str, value: object) -> None:
        """Log one param; see ``log_params``."""
        self.log_params({key: value})

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log params: what the run was given. One never changes its value.

        Args:
            params: Key to value, kept as ``str(value)``.

        Raises:
            InvalidValue, LimitExceeded: a key or a value is none. Nothing was logged.
            Conflict: a param has another value in this process already. Nothing was logged.
            Closed: the run has ended.
        """
        texts = check_params(params)
        with self._lock:
            for key, text in texts.items():
                known = self._params.get(key, text)
                if known != text:
                    raise Conflict(
                        f'The param "{key}" is "{known[:80]}" already and a param never changes: '
                        "log it under another key, or as a tag.",
                        field=key,
                    )
            self._params.update(texts)
            for part in split_labels(texts):
                self._append(Params(part))

    def set_tag(self, key: str, value: object) -> None:
        """Set one tag; see ``set_tags``."""
        self.set_tags({key: value})

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set tags; the last value stays.

        Args:
            tags: Key to value, kept as ``str(value)``.

        Raises:
            InvalidValue, LimitExceeded: a key or a value is none. Nothing was set.
            Closed: the run has ended.
        """
        texts = check_tags(tags)
        with self._lock:
            for part in split_labels(texts):
                self._append(Tags(part))

    def log_artifact(self, file: str | os.PathLike[str], folder: str = "") -> None:
        """Keep a file with the run.

        The file is copied when this is called, so it may change or go afterwards. One larger
        than 256 MiB is not copied: it must stay as it is until it was sent, or it is refused.

        Args:
            file: Of this machine.
            folder: Below which it is kept, under its own name; ``""``: at the top.

        Raises:
            InvalidValue: there is no such file, or the path cannot be kept.
            Closed: the run has ended.
        """
        for record in self._files.take(Path(file), folder):
            with self._lock:
                self._append(record)

    def log_artifacts(self, directory: str | os.PathLike[str], folder: str = "") -> None:
        """Keep all files below a directory with the run; see ``log_artifact``.

        Args:
            directory: Of this machine; links to directories are not followed.
            folder: Below which they are kept, as they are below the directory.
        """
        for record in self._files.take_all(Path(directory), folder):
            with self._lock:
                self._append(record)

    def log_histogram(
        self,
        key: str,
        values: object = None,
        step: int | None = None,
        *,
        bins: int = 64,
        edges: Iterable[float] | None = None,
        counts: Iterable[float] | None = None,
    ) -> None:
        """Log how values are spread.

        Args:
            key: As a metric's.
            values: An array, tensor or list of numbers, counted here; NaN and infinities are
                counted apart. Or None, with ``edges`` (n + 1 of them) and ``counts`` (n).
            step: int64; None: one more than the last one of this key's media, from 0.
            bins: At most 512.
            edges, counts: As ``numpy.histogram`` gives them.

        Raises:
            InvalidValue, LimitExceeded: it cannot be kept. Nothing was logged.
            Closed: the run has ended.
        """
        from seafloor.sdk.logged_media import take_histogram

        self._log_media(key, step, take_histogram(values, bins=bins, edges=edges, counts=counts))

    def log_image(self, key: str, image: object, step: int | None = None) -> None:
        """Log a picture, or a list of those that belong together.

        Args:
            key: As a metric's.
            image: An array or tensor (height, width), (height, width, channels) or (channels,
                height, width) with 1, 3 or 4 channels, of whole numbers 0 to 255 or floats 0 to
                1 (what lies beyond is clipped); a PIL image; a matplotlib figure; the path of a
                PNG, JPEG, GIF, WebP or SVG, or its bytes. A list or tuple: of these.
            step: As for ``log_histogram``.

        Raises:
            InvalidValue, LimitExceeded: it cannot be kept. Nothing was logged.
            Closed: the run has ended.
        """
        from seafloor.sdk.logged_media import take_image

        images: list[object] = [*image] if isinstance(image, list | tuple) else [image]
        self._log_media(key, step, *map(take_image, images))

    def log_table(self, key: str, table: object, step: int | None = None) -> None:
        """Log a table.

        Args:
            key: As a metric's.
            table: A pandas or polars data frame (the index is left out), a mapping from names of
                columns to their values, or a list of rows, each a mapping. What JSON has no form
                for is kept as a text.
            step: As for ``log_histogram``.

        Raises:
            InvalidValue, LimitExceeded: it cannot be kept. Nothing was logged.
            Closed: the run has ended.
        """
        from seafloor.sdk.logged_media import take_table

        self._log_media(key, step, take_table(table))

    def log_text(self, key: str, text: object, step: int | None = None) -> None:
        """Log a text of any length.

        Args:
            key: As a metric's.
            text: Kept as ``str(text)``.
            step: As for ``log_histogram``.

        Raises:
            InvalidValue, LimitExceeded: it cannot be kept. Nothing was logged.
            Closed: the run has ended.
        """
        from seafloor.sdk.logged_media import take_text

        self._log_media(key, step, take_text(text))

    def log_audio(
        self,
        key: str,
        audio: object,
        step: int | None = None,
        *,
        sample_rate: int | None = None,
    ) -> None:
        """Log a sound.

        Args:
            key: As a metric's.
            audio: Samples, as an array or tensor (samples,), (samples, channels) or (channels,
                samples) of floats -1 to 1 or of int16, int32 or uint8, or a list of floats; kept
                as WAV of 16 bits. Or the path of a WAV, MP3, Ogg or FLAC, or its bytes.
            step: As for ``log_histogram``.
            sample_rate: Of samples, Hz.

        Raises:
            InvalidValue, LimitExceeded: it cannot be kept. Nothing was logged.
            Closed: the run has ended.
        """
        from seafloor.sdk.logged_media import take_audio

        self._log_media(key, step, take_audio(audio, sample_rate))

    def _log_media(self, key: str, step: int | None, *things: Taken) -> None:
        """Log what belongs together at one step."""
        now_ms = time.time_ns() // 1_000_000
        number = None if step is None else check_step(step)
        records = [
            check_media(MediaRecord(key, number or 0, now_ms, thing.content, thing.blob, place))
            for place, thing in enumerate(things)
        ]
        sources = [
            self._files.keep(thing.data)
            if thing.data is not None and len(thing.data) > _IN_RECORD_BYTES_MAX
            else None
            for thing in things
        ]
        with self._lock:
            self._check_open()
            at = _step_of(key, number, self._next_media_steps)
            self._next_media_steps[key] = at + 1
            for record, thing, source in zip(records, things, sources, strict=True):
                data = None if source is not None else thing.data
                if data is not None and len(data) > _IN_RECORD_AT_WORST_BYTES_MAX:
                    self._open_writer().drop()  # the disk had no room for it
                    continue
                stepped = msgspec.structs.replace(record, step=at)
                self._append(LoggedMedia(stepped, data, source))

    def flush(self, wait_s: float = 30.0) -> bool:
        """Wait until the server has all that was logged before this call.

        Args:
            wait_s: At most.

        Returns:
            Whether it has.
        """
        with self._lock:
            sender = self._sender
        return sender is not None and sender.flush(wait_s=wait_s)

    def end(self, state: EndState = "succeeded", *, reason: str = "") -> None:
        """End the run and bring what is left, for at most SEAFLOOR_EXIT_WAIT_S (10 s).

        What could not be brought stays in the spool for ``seafloor sync``. In a launched run
        only the bringing is done: the run ends when its command does. Ending twice is harmless.

        Args:
            state: How it ended.
            reason: One sentence, shown with it. What a server does not take is left out.

        Raises:
            InvalidValue: there is no such state. The run goes on.
        """
        if state not in _END_STATES:
            raise InvalidValue(
                f'A run ends as {", ".join(_END_STATES[:-1])} or {_END_STATES[-1]}, not "{state}".',
                field="state",
            )
        reason = _clean(reason)
        with self._lock:
            if self._ended:
                self._on_end(self)  # a call that was stopped may not have come to that
                return
            if self._writer is None:
                self._ended = True  # a forked child that logged nothing, or a run that never began
                self._on_end(self)
                return
            with contextlib.suppress(Closed):  # the handler of a signal ended it meanwhile
                self._append(End(state, reason, time.time_ns()))
            self._ended = True
            sender, writer = self._sender, self._writer
        self._on_end(self)
        if sender is not None and sender.finish(wait_s=self._settings.exit_wait_s):
            return
        with self._lock:
            lost_records = writer.finish()
            on_disk = writer.size_bytes > 0
        error = None if sender is None else sender.last_error
        _say_left(self, error, lost_records, on_disk=on_disk)

    def _append(self, record: Record) -> None:
        """Write a record. The lock is held."""
        self._check_open()
        self._open_writer().append(record)

    def _check_open(self) -> None:
        if self._ended:
            raise Closed(f"Run {self.name or self.id} has ended: it takes no more.")

    def _open_writer(self) -> SpoolWriter:
        writer = self._writer
        return self._begin() if writer is None else writer

    def _begin(self) -> SpoolWriter:
        pid = os.getpid()
        begin = Begin(
            run=self._start.run,
            owner=pid == self._owner_pid,
            launched=self._start.launched,
            resumed=self._start.resumed,
            pid=pid,
            host=socket.gethostname(),
        )
        writer = self._writer = SpoolWriter(self._settings.spool / self.id, begin, room=self._room)
        look_back = partial(tell_abandoned, self._settings, but=self.id)
        sender = Sender(writer, self._lock, self._settings, self.id, at_start=look_back)
        try:
            sender.start()
        except RuntimeError:
            return writer  # the interpreter is ending: the spool keeps it
        self._sender = sender
        return writer

    def begin(self) -> None:
        """Have the run be known to the server before anything is logged to it."""
        with self._lock:
            writer = self._begin()
            writer.open()

    def begin_anew(self) -> None:
        """Begin anew in a forked child: its parent's file, thread and lock are not its own."""
        self._lock = threading.RLock()
        if self._writer is not None:
            self._writer.abandon()
        self._writer = None
        self._sender = None


def _step_of(key: str, given: int | None, next_steps: Mapping[str, int]) -> int:
    """The step of what is logged now: the given one, or the key's next."""
    if given is not None:
        return given
    step = next_steps.get(key, 0)
    if step > STEP_MAX:
        raise InvalidValue(
            f'"{key}" was logged at the last step there is: give a step, or log it under another '
            "key.",
            field="step",
        )
    return step


def verdict_of(error: BaseException | None) -> tuple[EndState, str]:
    """Say how a run ended that an exception left, or none."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "succeeded", ""
    if isinstance(error, KeyboardInterrupt):
        return "stopped", "interrupted from the keyboard"
    if isinstance(error, SystemExit):
        return "failed", f"exited with {_text(error.code)}"
    text = f"{type(error).__name__}: {_text(error)}".rstrip(": ")
    return "failed", text if len(text) <= 500 else text[:499] + "…"


def _text(thing: object) -> str:
    """``str`` of anything: traceback has words for what raises when it is asked for its own."""
    return str(TracebackException(Exception, Exception(thing), None))


def _clean(reason: str) -> str:
    """A reason as every server takes it: an end that is refused is one that never comes."""
    text = reason.encode("utf-8", "replace").decode().translate(_NOT_IN_REASON)
    return text if len(text) <= _REASON_CHARS_MAX else text[: _REASON_CHARS_MAX - 1] + "…"


def _say_left(run: Run, error: Exception | None, lost_records: int, *, on_disk: bool) -> None:
    _log.warning(
        "seafloor: what run %s logged is not all on the server%s%s",
        run.id,
        f" ({error})" if error is not None else "",
        "; the rest is on this disk: send it with `seafloor sync`" if on_disk else "",
    )
    if lost_records:
        _log.warning(
            "seafloor: %d records of run %s are lost: there was no room for them",
            lost_records,
            run.id,
        )
