"""Following a run: its log on standard output, what happens to it on standard error."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Final

import click

from seafloor.cli.output import say, styled
from seafloor.domain.errors import NotFound, SeafloorError, StoreUnavailable
from seafloor.domain.logs import LogLine
from seafloor.domain.members import task_names_of
from seafloor.domain.workloads import WorkloadState
from seafloor.sdk.client import Client
from seafloor.sdk.logs import LogQuery
from seafloor.wire.runs import RunView

_EVENTS_EVERY_S: Final = 0.5
_STATE_EVERY_S: Final = 0.1
_VERDICT_WITHIN_S: Final = 60.0
_RETRY_WITHIN_S: Final = 10.0
_SETUP_PAGE_LINES: Final = 5_000


def print_lines(lines: Iterable[LogLine]) -> None:
    """Print lines where the task printed them, as it did; what Seafloor says is grey."""
    for stream, group in groupby(lines, key=lambda line: line.stream):
        text = "".join(
            line.text + (line.end if line.end or line.continued else "\n") for line in group
        )
        if stream == "agent":
            click.echo(styled(text, "bright_black"), nl=False, err=True)
        else:
            # The task's own colours stay, also in a file.
            click.echo(text, nl=False, err=stream == "err", color=True)


@dataclass
class SetupPrinter:
    """Prints on standard error what the containers that prepare a task print, each line once.

    Args:
        query: Whose: its attempt and task.
    """

    client: Client
    run_id: str
    query: LogQuery
    _next: dict[str, int] = field(default_factory=dict[str, int])

    def print_new(self) -> None:
        """Print what there is now that was not printed yet."""
        which = self.query
        try:
            found = self.client.logs.setups(
                self.run_id, attempt=which.attempt, task=which.task
            ).items
        except NotFound:  # a server of a version before
            return
        for one in found:
            begin = self._next.get(one.setup, 1)
            if begin > one.lines:
                continue
            query = replace(which, setup=one.setup, stream=None, from_line=begin)
            for view in self.client.logs.iterate(self.run_id, query, limit=_SETUP_PAGE_LINES):
                self._next[one.setup] = view.next_line
                for line in view.lines:
                    said = styled(f"{one.setup}: {line.text}", "bright_black")
                    click.echo(said, err=True)


def say_task(spec: Mapping[str, Any], task: str | None, run_id: str) -> None:
    """Say whose log is printed of a run with several tasks, when nobody asked for one."""
    first, *others = task_names_of(spec)
    if task is None and others:
        say(
            f"This is the log of {first}, of {len(others) + 1} tasks. Another's: "
            f"`seafloor logs {run_id[-8:]} --task {others[-1]}`."
        )


@dataclass
class RunFollower:
    """Follows one run to its end.

    Args:
        client: The server.
        run: As it was submitted.
        show_log: Whether its log is printed.
    """

    client: Client
    run: RunView
    show_log: bool = True
    _printing: threading.Lock = field(default_factory=threading.Lock)
    _in_line: bool = False

    def follow(self) -> RunView:
        """Print until the run has ended.

        Returns:
            The run as it ended.

        Raises:
            StoreUnavailable: the server was away for too long. The run goes on.
        """
        ended = threading.Event()
        teller = threading.Thread(target=self._tell_events, args=(ended,), daemon=True)
        teller.start()
        try:
            return self._follow_attempts()
        finally:
            ended.set()
            teller.join(timeout=5.0)

    def await_end(self) -> RunView:
        """Wait until the run has ended, without printing."""
        run = self.run
        while not run.state.is_final:
            run = self._await_verdict(run.attempt)
        return run

    def _follow_attempts(self) -> RunView:
        run = self.run
        while True:
            number = run.attempt
            if self.show_log:
                say_task(run.spec, None, run.id)
                self._print_log(number)
            run = self._await_verdict(number)
            if run.attempt == number and run.state.is_final:
                return run

    def _print_log(self, attempt: int) -> None:
        query = LogQuery(attempt=attempt)
        setups = SetupPrinter(self.client, self.run.id, query)
        try:
            for at, view in enumerate(self.client.logs.follow(self.run.id, query)):
                with self._printing:
                    if at == 0 or view.finished:
                        setups.print_new()
                    print_lines(view.lines)
                    if view.lines:
                        last = view.lines[-1]
                        self._in_line = last.continued or last.end == "\r"
        except NotFound as error:
            click.echo(f"no log: {error}", err=True)

    def _await_verdict(self, attempt: int) -> RunView:
        """Wait until an attempt has ended, or a further one has begun.

        With its log finished that is a matter of moments; without a log it is the whole run.
        """
        deadline_s = time.monotonic() + _VERDICT_WITHIN_S if self.show_log else None
        away_until_s: float | None = None
        ended_s: float | None = None
        while True:
            try:
                run = self.client.runs.get(self.run.id)
                away_until_s = None
            except StoreUnavailable:
                now_s = time.monotonic()
                away_until_s = now_s + 300.0 if away_until_s is None else away_until_s
                if now_s > away_until_s:
                    raise
            else:
                if run.attempt != attempt:
                    return run
                if run.state.is_final:
                    ended_s = time.monotonic() if ended_s is None else ended_s
                    if not _may_go_on(run) or time.monotonic() - ended_s > _RETRY_WITHIN_S:
                        return run
                elif deadline_s is not None and time.monotonic() > deadline_s:
                    deadline_s = None
                    click.echo("the log has ended; waiting for the run to end", err=True)
            time.sleep(_STATE_EVERY_S)

    def _tell_events(self, ended: threading.Event) -> None:
        after = 0
        last = False
        while not last:
            try:
                events = self.client.runs.events(self.run.id, after=after).items
            except SeafloorError:
                events = ()  # the follower itself says what is wrong
            for event in events:
                after = event.sequence
                mark = "!" if event.kind == "warning" else "·"
                self._say(f"{mark} {event.message}")
            # Once more after the end: the last event is the verdict.
            last = ended.is_set()
            if not last:
                ended.wait(_EVENTS_EVERY_S)

    def _say(self, text: str) -> None:
        with self._printing:
            # Not into the middle of a progress bar.
            click.echo("\n" * self._in_line, nl=False, err=True)
            self._in_line = False
            click.echo(styled(text, "bright_black"), err=True)


def _may_go_on(run: RunView) -> bool:
    """Whether the server is about to begin a further attempt."""
    retries = run.spec.get("retries", 0)
    failed = run.state in (WorkloadState.FAILED, WorkloadState.LOST)
    return failed and isinstance(retries, int) and run.attempt <= retries


def follow_with_interrupts(follower: RunFollower) -> RunView | None:
    """Follow a run; Ctrl-C stops following, and a second one within two seconds the run.

    Returns:
        The run as it ended, or None when it was left to go on.
    """
    try:
        try:
            return follower.follow()
        except KeyboardInterrupt:
            # Whoever reads it may answer before the next line begins.
            _say_left(follower.run.id[-8:])
            if sys.stdin.isatty() or sys.stderr.isatty():
                threading.Event().wait(2.0)
    except KeyboardInterrupt:
        click.echo("\nStopping the run …", err=True)
        follower.client.runs.stop(follower.run.id)
        return follower.await_end()
    return None


def _say_left(run_id: str) -> None:
    click.echo(
        f"\nNot following any more; the run goes on. Follow it again: `seafloor logs -f {run_id}`. "
        f"Stop it: Ctrl-C again now, or `seafloor runs stop {run_id}`.",
        err=True,
    )
