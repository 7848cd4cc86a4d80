"""Writes what tasks printed: byte for byte as a file, and line by line."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from seafloor.domain.errors import StoreCorrupt
from seafloor.sdk.client import Client
from seafloor.sdk.exports.damage import Losses, first_where
from seafloor.sdk.exports.folder import ExportFolder
from seafloor.sdk.logs import LogQuery
from seafloor.wire.logs import LogView

LINES_PER_CALL: Final = 1000


class LogWriter:
    """Writes logs, without what is damaged of them.

    Args:
        client: The server.
        folder: Gets them.
        losses: Told of what the server cannot give.
        wrote: Called when further lines were written.
    """

    def __init__(
        self,
        client: Client,
        folder: ExportFolder,
        losses: Losses,
        wrote: Callable[[], None],
    ) -> None:
        self._client = client
        self._folder = folder
        self._losses = losses
        self._wrote = wrote

    def write(self, run_id: str, name: str, query: LogQuery) -> None:
        """Write a log: its bytes up to any damage, and all lines that can be read.

        Raises:
            StoreUnavailable: the server went away.
        """
        which = f"log {name} of attempt {query.attempt} of run {run_id}"

        def fetch(target: Path) -> None:
            def raw() -> None:
                with target.open("wb") as file:
                    self._client.logs.raw(run_id, file, query)

            self._losses.had(f"{which}, bytes behind what is in the export", raw)

        sha256, size_bytes = self._folder.fetch_blob(fetch)
        self._folder["files"].add(run_id, "log", query.attempt, f"{name}.log", size_bytes, sha256)
        for view in self._views(run_id, query, which):
            for line in view.lines:
                self._folder["log_lines"].add(
                    run_id,
                    view.attempt,
                    name,
                    line.number,
                    line.time_ns,
                    line.stream,
                    line.text,
                    line.end,
                    line.continued,
                )
            self._wrote()

    def _views(self, run_id: str, query: LogQuery, which: str) -> Generator[LogView]:
        """Read all lines, and go around those that are damaged."""
        at: int | None = 1
        while at is not None:
            try:
                for view in self._client.logs.iterate(run_id, replace(query, from_line=at)):
                    yield view
                    at = view.next_line
                return
            except StoreCorrupt as error:
                whole = first_where(1, LINES_PER_CALL, partial(self._is_damaged, run_id, query, at))
                if whole is None:
                    raise
                if whole > 1:
                    view = self._client.logs.page(
                        run_id, replace(query, from_line=at), limit=whole - 1
                    )
                    yield view
                    at = view.next_line
                behind = self._behind(run_id, query, at)
                ends = "" if behind is None else f" up to line {behind - 1:,}"
                self._losses.tell(f"{which}, from line {at:,} on{ends}", error)
                at = behind

    def _behind(self, run_id: str, query: LogQuery, line: int) -> int | None:
        """The first line behind a damaged one that can be read."""
        if self._is_damaged(run_id, query, -1, 1):
            return None
        end = self._client.logs.page(run_id, replace(query, from_line=-1), limit=1)
        last = end.next_line - 1
        if last <= line:
            return None
        return first_where(line + 1, last, lambda one: not self._is_damaged(run_id, query, one, 1))

    def _is_damaged(self, run_id: str, query: LogQuery, from_line: int, limit: int) -> bool:
        try:
            self._client.logs.page(run_id, replace(query, from_line=from_line), limit=limit)
        except StoreCorrupt:
            return True
        return False
