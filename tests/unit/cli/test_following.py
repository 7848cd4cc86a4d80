"""Ctrl-C while a run is followed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import click
import pytest

from seafloor.cli.following import RunFollower, follow_with_interrupts

RUN_ID = "0" * 24 + "7f3a91c2"


class Followed:
    """A run whose user presses Ctrl-C at once."""

    def __init__(self) -> None:
        self.run = SimpleNamespace(id=RUN_ID)
        self.client = SimpleNamespace(runs=self)
        self.stopped: list[str] = []

    def follow(self) -> None:
        raise KeyboardInterrupt

    def stop(self, run_id: str) -> None:
        self.stopped.append(run_id)

    def await_end(self) -> str:
        return "as it ended"


def test_interrupt__second_while_the_first_is_answered__stops_the_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    def echo(text: str, **_: Any) -> None:
        said.append(text)
        if len(said) == 1:  # what is read is answered before this returns
            raise KeyboardInterrupt

    monkeypatch.setattr(click, "echo", echo)
    followed = Followed()
    ended = follow_with_interrupts(cast(RunFollower, followed))
    assert ended == "as it ended"
    assert followed.stopped == [RUN_ID]
    assert "Ctrl-C again now" in said[0]


def test_interrupt__only_one__leaves_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(click, "echo", lambda text, **_: said.append(text))
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: False))
    monkeypatch.setattr("sys.stderr", SimpleNamespace(isatty=lambda: False))
    followed = Followed()
    assert follow_with_interrupts(cast(RunFollower, followed)) is None
    assert followed.stopped == []
    assert len(said) == 1
