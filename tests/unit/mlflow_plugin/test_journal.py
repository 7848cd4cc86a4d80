"""Journals that the handler of a signal logs to in the middle of a call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar

import pytest

from seafloor.mlflow_plugin.journal import Journals
from seafloor.sdk import spool
from seafloor.sdk.settings import read_settings
from seafloor.sdk.spool import list_segments
from seafloor.sdk.wal import Record, Tags, WalReader

RUN = "0" * 32


class FileWithSignal(FileIO):
    """A file during whose next write a handler runs."""

    handlers: ClassVar[list[Callable[[], None]]] = []

    def write(self, content: Any, /) -> int:
        if self.handlers:
            self.handlers.pop()()
        return super().write(content)


@pytest.mark.timeout(60)
def test_append__a_handler_logs_and_flushes_in_the_middle__does_not_wait_for_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAFLOOR_HOME", str(tmp_path))
    monkeypatch.setattr(spool, "FileIO", FileWithSignal)
    journals = Journals(replace(read_settings(), url="http://127.0.0.1:9", exit_wait_s=0.0))
    journal = journals.open(RUN)
    journal.append(Tags({"n": "before"}))
    flushed: list[bool] = []

    def handle() -> None:
        journals.open(RUN).append(Tags({"n": "handler"}))
        flushed.append(journal.flush(wait_s=5.0))

    FileWithSignal.handlers.append(handle)
    journal.append(Tags({"n": "during"}))
    assert flushed == [False]  # there is no server
    journals.close_all()
    (segment,) = list_segments(tmp_path / "spool" / RUN)
    with segment.path.open("rb") as file:
        logged: list[Record] = [found.record for found in WalReader(file).records()][1:]
    assert logged == [Tags({"n": name}) for name in ("before", "handler", "during")]
