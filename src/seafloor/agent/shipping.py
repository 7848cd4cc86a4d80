"""Delivery: what is on disk goes to the server, in its own thread and at the server's pace."""

from __future__ import annotations

import json
import os
import random
import struct
import threading
import time
from typing import Any, Callable, Dict, List, Optional

from . import client_spool
from .event_files import EventFiles
from .folder import TaskFolder
from .outputs import Outputs, Uploaded
from .progress import Progress
from .server import Refused, Request, Server, ServerAway, WorkloadGone
from .spool import Spool
from .tails import Tail, shown_name
from .task import Abandoned, Task

DONE_FILE = "done.json"
SHIPPED_FILE = "shipped"
TURN_S = 0.2
EVENTS_INTERVAL_S = 0.5
EVENTS_S = 0.5
"""How long events may be sent at a time before the log has its turn."""
PAUSE_MIN_S, PAUSE_MAX_S = 0.2, 5.0
LOOK_S = 0.2
"""How often the file with the server's address is looked at while the server is away."""
MUCH_BYTES = 256 << 10
_PIECES_PER_TURN = 8
_SAID_FAILURES_MAX = 50
_NAMED_FAILURES_MAX = 100
"""A report of all of a hundred thousand names could be too large for the server to take."""


class Shipping:
    """Delivers one task's log, events, outputs and ending.

    The server may be away for any time: everything waits on disk and nothing here holds up the
    command. Every request may be repeated, so no state is kept between two lives of an agent.

    Args:
        patience_s: Give up when nothing got through for so long; None: never.
    """

    def __init__(
        self, folder: TaskFolder, task: Task, spool: Spool, *, patience_s: Optional[float] = None
    ) -> None:
        self._folder = folder
        self._task = task
        self._spool = spool
        self._patience_s = patience_s
        self._server = self._connect()
        self._log = Tail(self._server, task.task_path + "/logs", spool.read_at)
        self._events = EventFiles(self._server, task.events_dir, task.attempt_path)
        self._events_due_s = 0.0
        self._start_report: Optional[Dict[str, Any]] = None
        self._to_say: List[str] = []  # while the command runs, only its capture writes to the spool
        self._end_document: Optional[Dict[str, Any]] = None
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._abandoned = threading.Event()
        self._shipped_fd: Optional[int] = None

    def command_started(
        self, *, time_ns: int, pid: int, receipts: Optional[Dict[str, Any]] = None
    ) -> None:
        """Have the start reported: when (UTC), as which process, and what code it has."""
        self._start_report = {"time_ns": time_ns, "pid": pid, "host": os.uname().nodename}
        if receipts:
            self._start_report["receipts"] = receipts

    def written(self) -> None:
        """Be told that the spool has grown."""
        if self._spool.size_bytes - (self._log.offset or 0) >= MUCH_BYTES:
            self._wake.set()

    def command_ended(self, ended: Optional[Dict[str, Any]]) -> None:
        """Have the rest delivered; the spool is this object's from now on.

        Args:
            ended: ``exit.json``; None when nobody knows how the command ended.
        """
        self._end_document = ended
        self._ended.set()
        self._wake.set()

    def abandon(self) -> None:
        """End as soon as the request under way is over."""
        self._abandoned.set()
        self._ended.set()
        self._wake.set()

    def run(self) -> None:
        """Deliver until all is done, or until it never can be; then ``done.json`` says so.

        Raises:
            Abandoned: it was told to end, has lost patience, or the folder is gone.
        """
        gone = False
        try:
            while not self._ended.is_set():
                self._patiently(self._turn)
                self._wake.wait(TURN_S)
                self._wake.clear()
            reason = self._finish()
        except WorkloadGone as error:
            # Unless its records are brought back, which whoever finds this may know.
            gone, reason = True, "The workload is gone: {}".format(error)
        except Abandoned:
            if not self._folder.exists():
                return
            raise
        finally:
            self._server.close()
        try:
            done = {"delivered": reason == "", "reason": reason, "gone": gone}
            self._folder.write(DONE_FILE, done)
        except OSError as error:
            raise Abandoned("done.json cannot be written: {}".format(error.strerror)) from error

    def _turn(self) -> None:
        """Send some of what there is."""
        self._report_start()
        self._send_log(pieces_max=_PIECES_PER_TURN)
        now_s = time.monotonic()
        if now_s >= self._events_due_s:
            whole = self._events.send(until_s=now_s + EVENTS_S)
            self._events_due_s = time.monotonic() + (EVENTS_INTERVAL_S if whole else 0)
            if not whole:
                self._wake.set()

    def _report_start(self) -> None:
        report = self._start_report
        if report is None:
            return
        try:
            self._post("/start", report)
        except Refused as error:
            if "receipts" in report:
                # Whoever localised wrote what this server does not take; the start is one all the
                # same.
                self._to_say.append("The receipt of the code was not kept: " + error.message)
                self._start_report = {k: v for k, v in report.items() if k != "receipts"}
                self._report_start()
                return
            # A refusal says that the attempt is over already: the server knows better.
        self._start_report = None

    def _send_log(self, *, pieces_max: int) -> bool:
        before = self._log.offset
        try:
            return self._log.send(self._spool.size_bytes, pieces_max=pieces_max)
        finally:
            if self._log.offset != before and self._log.offset is not None:
                self._note_shipped(self._log.offset)

    def _note_shipped(self, offset: int) -> None:
        """Leave a hint of how far the server is, for who finds this agent dead."""
        try:
            if self._shipped_fd is None:
                path = self._folder.file(SHIPPED_FILE)
                self._shipped_fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.pwrite(self._shipped_fd, struct.pack("<Q", offset), 0)
        except OSError:
            # The disk is full; without the hint only a number in a message is too large.
            return

    def _finish(self) -> str:
        """Deliver the rest and report the ending; return why not, empty when all was taken."""
        self._patiently(self._report_start)
        # A server that was killed may have less than it said; it is asked once more.
        self._log.ask_again()
        self._events.ask_again()
        self._patiently(self._send_whole_log)  # who follows the log need not wait for uploads
        self._patiently(self._send_all_events)
        self._patiently(self._send_client_spool)
        uploaded = Outputs(
            self._task.output_dir,
            self._task.api_path,
            connect=self._connect,
            patiently=self._patiently,
            progress=Progress(self._say_now),
        ).upload()
        for sentence in self._to_say + self._events.problems() + _said_failures(uploaded):
            self._spool.say(sentence)
        self._patiently(self._send_whole_log)
        refusals: List[str] = [self._log.refusal] if self._log.refusal else []
        if self._end_document is None:
            return " ".join(refusals)
        report = self._report_of(self._end_document, uploaded)

        def report_end() -> None:
            try:
                self._post("/end", report)
            except Refused as error:
                refusals.append(error.message)

        self._patiently(report_end)
        return " ".join(refusals)

    def _send_client_spool(self) -> None:
        said = client_spool.deliver(self._task)
        if said is not None:
            self._spool.say(said)

    def _say_now(self, sentence: str) -> None:
        """Say something that who follows the log is to read while files are still on their way."""
        self._spool.say(sentence)
        try:
            self._send_log(pieces_max=_PIECES_PER_TURN)
        except (ServerAway, WorkloadGone):
            # Whoever sends the files meets the same and sees to it; this goes with the rest.
            return

    def _send_whole_log(self) -> None:
        while not self._send_log(pieces_max=_PIECES_PER_TURN):
            pass

    def _send_all_events(self) -> None:
        self._events.send()

    def _report_of(self, ended: Dict[str, Any], uploaded: Uploaded) -> Dict[str, Any]:
        named = uploaded.failed[:_NAMED_FAILURES_MAX]
        report = {
            "time_ns": ended["time_ns"],
            "ending": ended["ending"],
            "lines": self._spool.lines,
            "lines_lost": self._spool.lines_lost,
            "log_bytes": self._spool.size_bytes,
            "event_files": len(self._events),
            "output_files": uploaded.files,
            "output_failed": [shown_name(name) for name, _ in named],
        }
        if len(uploaded.failed) > len(named):  # servers before this field refuse it
            report["output_failed_more"] = len(uploaded.failed) - len(named)
        return report

    def _post(self, what: str, document: Dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        headers = {"Content-Type": "application/json"}
        self._server.send(Request("POST", self._task.task_path + what, body, headers, "state"))

    def _connect(self) -> Server:
        return Server(self._task.server_file, self._task.token)

    def _patiently(self, step: Callable[[], None]) -> None:
        """Do a step, again and again while the server is away.

        Raises:
            Abandoned: told to end, out of patience, or the task's folder is gone.
        """
        pause_s = PAUSE_MIN_S
        give_up_s = None if self._patience_s is None else time.monotonic() + self._patience_s
        while True:
            if self._abandoned.is_set():
                raise Abandoned("told to end")
            try:
                step()
                return
            except ServerAway as error:
                if give_up_s is not None and time.monotonic() >= give_up_s:
                    raise Abandoned(str(error)) from error
            if not self._folder.exists():
                raise Abandoned("the folder of the task is gone")
            pause_s = PAUSE_MIN_S if self._pause(pause_s) else min(PAUSE_MAX_S, pause_s * 2)

    def _pause(self, pause_s: float) -> bool:
        """Wait; return early, and True, when a server has announced itself."""
        announced = self._announced()
        # Agents that lost the same server must not all come back at the same moment.
        due_s = time.monotonic() + pause_s * random.uniform(0.5, 1.0)  # noqa: S311
        while not self._abandoned.is_set():
            left_s = due_s - time.monotonic()
            if left_s <= 0:
                return False
            self._abandoned.wait(min(left_s, LOOK_S))
            if self._announced() != announced:
                return True
        return False

    def _announced(self) -> int:
        """When the file with the server's address was last written; 0 when there is none."""
        try:
            return os.stat(self._task.server_file).st_mtime_ns
        except OSError:
            return 0


def _said_failures(uploaded: Uploaded) -> List[str]:
    said = [
        "The output file {} was not kept: {}.".format(shown_name(name), why.rstrip("."))
        for name, why in uploaded.failed[:_SAID_FAILURES_MAX]
    ]
    more = len(uploaded.failed) - len(said)
    if more > 0:
        said.append("{} more output files were not kept.".format(more))
    return said
