"""Takeover: brings what processes that are gone left in the spool for this server."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import Final

from seafloor.domain.errors import SeafloorError
from seafloor.sdk.client import Client
from seafloor.sdk.settings import Settings
from seafloor.sdk.spool import list_segments
from seafloor.sdk.sync import sync_run, waiting_runs
from seafloor.sdk.transport import TransportOptions
from seafloor.sdk.wal import read_begin

_BACK_OFF_FIRST_S: Final = 0.5
_BACK_OFF_MAX_S: Final = 15.0
_OPTIONS: Final = TransportOptions(connect_s=3.0, read_s=30.0, repeat_s=0.0)


class Takeover:
    """Looks, from a daemon thread, for runs of this server that nobody sends any more.

    Only runs that mlflow made on this very server are taken: `seafloor sync` is for the others.

    Args:
        settings: Where the spool and the server are; with ``url``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.RLock()  # a signal's handler may close a journal in here
        self._wanted = 0
        self._thread: threading.Thread | None = None

    def look(self) -> None:
        """Look at once, and again while something is left that a later attempt may bring."""
        with self._lock:
            self._wanted += 1
            if self._thread is not None:
                return
            thread = threading.Thread(target=self._run, name="seafloor-takeover", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                return  # the interpreter is ending
            self._thread = thread

    def _run(self) -> None:
        back_off_s = _BACK_OFF_FIRST_S
        while True:
            wanted = self._wanted
            if not self._bring():
                time.sleep(back_off_s)
                back_off_s = min(2 * back_off_s, _BACK_OFF_MAX_S)
                continue
            back_off_s = _BACK_OFF_FIRST_S
            with self._lock:
                if wanted == self._wanted:
                    self._thread = None
                    return

    def _bring(self) -> bool:
        """Bring what there is; say whether nothing is left that may be brought later."""
        try:
            runs = [run for run in waiting_runs(self._settings) if self._is_ours(run)]
            if not runs:
                return True
            options = replace(_OPTIONS, tls=self._settings.tls)
            client = Client(self._settings.url, self._settings.token, options=options)
        except (SeafloorError, OSError):
            return True
        try:
            reports = [sync_run(client, self._settings, run) for run in runs]
        finally:
            client.close()
        return not any(report.retryable for report in reports)

    def _is_ours(self, run_id: str) -> bool:
        try:
            segments = list_segments(self._settings.spool / run_id)
            begins = [read_begin(segment.path) for segment in segments]
        except (OSError, SeafloorError):
            # Somebody has just sent it; or it is another user's, or of another version.
            return False
        return bool(begins) and all(
            begin is not None and begin.adopted == self._settings.url for begin in begins
        )
