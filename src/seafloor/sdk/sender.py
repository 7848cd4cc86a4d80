"""The sender: a thread of the process that logs, which brings its spool to the server.

It is the only one that waits for the disk or the network; the process itself never does.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from queue import Empty, SimpleQueue
from typing import Final

import msgspec

from seafloor.domain.errors import SeafloorError, StoreUnavailable
from seafloor.sdk.client import Client
from seafloor.sdk.courier import Account, Courier, Parcel, SegmentDelivery
from seafloor.sdk.discovery import require_server
from seafloor.sdk.leftovers import bring_segments, leftovers, remove_folder_if_empty
from seafloor.sdk.settings import Settings
from seafloor.sdk.spool import Segment, SpoolWriter, remove_segment, sync_copy
from seafloor.sdk.spool_room import NoRoom
from seafloor.sdk.transport import TransportOptions
from seafloor.sdk.wal import End, Record

_TICK_S: Final = 0.5
_BACK_OFF_FIRST_S: Final = 0.5
_BACK_OFF_MAX_S: Final = 15.0
_LEFTOVERS_EVERY_S: Final = 5.0
_OPTIONS: Final = TransportOptions(connect_s=3.0, read_s=30.0, repeat_s=0.0)
_PENDING_PER_CALL_MAX: Final = 5_000
_NETWORK: Final = ("urllib3", "seafloor.sdk.connections", "urllib.request", "encodings.idna")

_log = logging.getLogger("seafloor")

_loading = threading.Lock()
# A child that is forked while a thread imports a module has half of it for ever: forks wait.
os.register_at_fork(
    before=_loading.acquire,
    after_in_parent=_loading.release,
    after_in_child=_loading.release,
)


class Sender:
    """Brings what a ``SpoolWriter`` writes to a server, from a daemon thread.

    Args:
        writer: Used under ``lock`` only.
        lock: Of the run. Whoever waits here has let go of it, however often he holds it: the
            handler of a signal may wait in the middle of a call that logs.
        settings: Where the server is; looked for again whenever it is away.
        run_id: The run.
        at_start: Called once in the thread, before anything is sent.
    """

    def __init__(
        self,
        writer: SpoolWriter,
        lock: threading.RLock,
        settings: Settings,
        run_id: str,
        *,
        at_start: Callable[[], None] | None = None,
    ) -> None:
        self.account = Account()
        self.last_error: SeafloorError | OSError | None = None
        self._writer = writer
        self._lock = lock
        self._settings = settings
        self._run_id = run_id
        self._at_start = at_start
        self._folder = writer.segment.folder
        self._delivery = SegmentDelivery(writer.segment)
        self._client: Client | None = None
        self._said: set[str] = set()
        self._next_try_s = 0.0
        self._next_leftovers_s = 0.0
        self._next_save_s = 0.0
        self._back_off_s = _BACK_OFF_FIRST_S
        # What is set from handlers must not have a lock of its own that a handler could wait for.
        self._wakes = SimpleQueue[None]()
        self._round = threading.Condition(lock)
        self._rounds_begun = 0
        self._rounds_whole = 0
        self._rounds_failed = 0
        self._round_wanted = 0
        self._closing_until_s: float | None = None
        self._is_done = False
        self._delivered = False
        self._thread = threading.Thread(target=self._run, name="seafloor-sender", daemon=True)

    def start(self) -> None:
        """Begin.

        Raises:
            RuntimeError: no thread can be started (the interpreter is ending).
        """
        self._thread.start()

    def flush(self, *, wait_s: float, once: bool = False) -> bool:
        """Wait until the server has accepted all that was logged before this call.

        Args:
            wait_s: At most.
            once: Wait for one attempt only.
        """
        with self._round:
            # A round that has begun already may have looked before the last record was there.
            wanted = self._round_wanted = self._rounds_begun + 1
            self._wakes.put(None)

            def is_settled() -> bool:
                settled = max(self._rounds_whole, self._rounds_failed if once else 0)
                return settled >= wanted or self._is_done

            self._round.wait_for(is_settled, wait_s)
            return self._rounds_whole >= wanted or self._delivered

    def finish(self, *, wait_s: float) -> bool:
        """Bring what is left, and end.

        Args:
            wait_s: At most. A server that was never reached is tried once only.

        Returns:
            Whether all was brought. If not, it is in the spool.
        """
        self._closing_until_s = time.monotonic() + wait_s
        self._wakes.put(None)
        with self._round:
            self._round.wait_for(lambda: self._is_done, wait_s + 0.5)
            return self._delivered

    def _run(self) -> None:
        try:
            self._work()
        except Exception:  # noqa: BLE001 - the sender's edge: training goes on without it
            _log.exception(
                "seafloor: sending stopped by a bug; what is logged stays in the spool for "
                "`seafloor sync`"
            )
        finally:
            if self._client is not None:
                self._client.close()
            with self._round:
                self._is_done = True
                self._round.notify_all()

    def _work(self) -> None:
        _load_network()
        if self._at_start is not None:
            self._at_start()
        while True:
            closing_until_s = self._closing_until_s
            with self._round:
                self._rounds_begun += 1
                this_round = self._rounds_begun
                is_asked = self._round_wanted >= this_round or closing_until_s is not None
            self._save()
            if is_asked or time.monotonic() >= self._next_try_s:
                whole = self._try_to_bring(closing=closing_until_s is not None)
                with self._round:
                    if whole:
                        self._rounds_whole = this_round
                    else:
                        self._rounds_failed = this_round
                    self._round.notify_all()
                if closing_until_s is not None and (
                    whole or not self.account.reached or time.monotonic() >= closing_until_s
                ):
                    self._delivered = whole
                    return
            self._sleep()

    def _sleep(self) -> None:
        """Wait for the next tick, or until somebody asks for something."""
        with contextlib.suppress(Empty):
            self._wakes.get(timeout=_TICK_S)
            while True:
                self._wakes.get_nowait()

    def _save(self) -> None:
        """Have what was logged survive the machine; write what the disk did not take before."""
        self._next_save_s = time.monotonic() + _TICK_S
        room = self._writer.room
        if room is not None:
            room.measure()
        with self._lock:
            self._writer.retry(records_max=_PENDING_PER_CALL_MAX)
            copies = self._writer.unsynced_copies()
        synced = [sync_copy(copy) for copy in copies]
        with self._lock:
            for copy in synced:
                self._writer.synced(copy)
            problem, self._writer.problem = self._writer.problem, None
        if problem is None and room is not None:
            problem = room.problem
        if problem is not None:
            self._say_once(
                "disk",
                f"{self._folder} cannot be written ({problem.strerror}): what is logged is kept "
                "in memory and sent from there, files from where they are, and what finds no "
                f"room is lost and counted; {_advice(problem)}",
            )

    def _try_to_bring(self, *, closing: bool) -> bool:
        """Bring what there is; say whether all of it was."""
        try:
            self._bring(self._connect(), closing=closing)
        except (SeafloorError, OSError) as error:
            self._put_off(error)
            return False
        self.last_error = None
        self._next_try_s, self._back_off_s = 0.0, _BACK_OFF_FIRST_S
        for refusal in self.account.refused:
            self._say_once(
                f"{refusal.kind} {refusal.what}",
                f"the server refused {refusal.kind} {refusal.what}: {refusal.reason}",
            )
        return True

    def _put_off(self, error: SeafloorError | OSError) -> None:
        if isinstance(error, OSError) or not error.retryable:
            self._say_once(str(error), f"run {self._run_id} cannot be sent now: {error}")
        if isinstance(error, StoreUnavailable) and self._client is not None:
            # A server of this machine may come back at another address: look for it again.
            self._client.close()
            self._client = None
        self.last_error = error
        self._next_try_s = time.monotonic() + self._back_off_s
        self._back_off_s = min(self._back_off_s * 2, _BACK_OFF_MAX_S)

    def _connect(self) -> Courier:
        if self._client is None:
            url = require_server(self._settings)
            options = replace(_OPTIONS, tls=self._settings.tls)
            self._client = Client(url, self._settings.token, options=options)
        return Courier(self._client, self._run_id, self._folder / "files", self.account)

    def _bring(self, courier: Courier, *, closing: bool) -> None:
        self._bring_logged(courier)
        self._bring_leftovers(courier, now=closing)
        if closing:
            self._delivery.finish(courier)
            with self._lock:
                self._writer.close()
            # Another thread may have logged until this moment; now nobody can.
            self._bring_logged(courier)
            while self._writer.size_bytes > 0 and self._delivery.step(courier) > 0:
                pass
            self._tidy()

    def _tidy(self) -> None:
        """Remove what was brought. All is on the server, whatever becomes of it."""
        try:
            remove_segment(self._delivery.segment)
            remove_folder_if_empty(self._folder)
        except OSError as error:
            if self._writer.size_bytes > 0:
                self._say_once(
                    "tidy",
                    f"all of run {self._run_id} is on the server, but what is left of it here "
                    f"cannot be removed: {error}",
                )

    def _bring_logged(self, courier: Courier) -> None:
        """Bring all that was logged before this call: from the files, and what they do not take."""
        while True:
            with self._lock:
                segment, size_bytes = self._writer.segment, self._writer.size_bytes
            self._bring_files(courier, segment, size_bytes)
            with self._lock:
                if not self._writer.holds_back:
                    return
                before = self._writer.segment, self._writer.size_bytes
                self._writer.retry(records_max=_PENDING_PER_CALL_MAX)
                if before != (self._writer.segment, self._writer.size_bytes):
                    continue  # it is in the files now
                count = min(len(self._writer.pending), _PENDING_PER_CALL_MAX)
                payloads = [self._writer.pending[index] for index in range(count)]
            self._bring_payloads(courier, payloads)
            with self._lock:
                self._writer.forget_pending(payloads)

    def _bring_files(self, courier: Courier, last: Segment, size_bytes: int) -> None:
        """Bring records up to an offset of the last segment."""
        while self._delivery.segment != last or size_bytes > 0:
            is_last = self._delivery.segment == last
            if self._delivery.step(courier, size_bytes if is_last else None) > 0:
                if time.monotonic() >= self._next_save_s:
                    self._save()
            elif is_last:
                return
            else:
                remove_segment(self._delivery.segment)
                self._delivery = SegmentDelivery(self._delivery.segment.next)

    def _bring_payloads(self, courier: Courier, payloads: list[bytes]) -> None:
        begin = self._writer.begin
        parcel = Parcel(begin=begin)
        end: End | None = None
        for payload in payloads:
            record = msgspec.msgpack.decode(payload, type=Record)
            if isinstance(record, End):
                end = record
            else:
                parcel.add(record)
        courier.bring(parcel)
        courier.discard(parcel)
        if end is not None and begin.owner and not begin.launched:
            courier.end(end)

    def _bring_leftovers(self, courier: Courier, *, now: bool) -> None:
        """Bring what other processes of this run logged before they were gone."""
        now_s = time.monotonic()
        if now_s < self._next_leftovers_s and not now:
            return
        self._next_leftovers_s = now_s + _LEFTOVERS_EVERY_S
        if not os.access(self._folder, os.R_OK | os.X_OK, effective_ids=True):
            return  # another user's: nothing of ours is there, or nothing that we can bring
        with leftovers(self._folder, but=self._writer.name) as found:
            for segments in found:
                # How such a process ended is not how the run ends: the run is ours now.
                remove_segment(bring_segments(segments, courier).segment)

    def _say_once(self, what: str, text: str) -> None:
        if what not in self._said:
            self._said.add(what)
            _log.warning("seafloor: %s", text)


def _advice(problem: OSError) -> str:
    if isinstance(problem, NoRoom):
        return problem.advice
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return "free some space, or set SEAFLOOR_HOME"
    return "set SEAFLOOR_HOME to a folder that this user may write"


def _load_network() -> None:
    """Import all that sending needs, also what the standard library imports late."""
    with _loading:
        for name in _NETWORK:
            importlib.import_module(name)
