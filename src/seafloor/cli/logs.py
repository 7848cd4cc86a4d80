"""``seafloor logs``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import click

from seafloor.cli.output import print_json, say
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.sdk.client import Client
    from seafloor.sdk.logs import LogQuery
    from seafloor.wire.logs import LogView
    from seafloor.wire.runs import RunView

_PAGE_LINES = 5_000


@dataclass(frozen=True)
class LogOptions:
    """How to print a log.

    Args:
        follow: Go on as lines come.
        raw: The bytes as printed.
        stream: Only this one; None: all.
    """

    follow: bool
    raw: bool
    stream: str | None


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--follow", "-f", is_flag=True, help="Go on until the log has ended.")
@click.option(
    "--attempt", type=click.IntRange(min=0), metavar="N", help="Which; the newest without."
)
@click.option("--task", metavar="NAME", help="Which of several; the first without.")
@click.option(
    "--setup", metavar="NAME", help="Of what prepared the task in a cluster, as git-localize."
)
@click.option("--stream", type=click.Choice(["out", "err", "agent"]), help="Only this one.")
@click.option("--tail", type=click.IntRange(1, 10_000), metavar="N", help="Only the last N lines.")
@click.option(
    "--from", "from_line", type=click.IntRange(min=1), metavar="N", help="From line N on."
)
@click.option("--raw", is_flag=True, help="The bytes exactly as they were printed.")
@server_options
@json_option
@pass_given
def logs(
    given: Given,
    run: str,
    *,
    attempt: int | None,
    task: str | None,
    setup: str | None,
    tail: int | None,
    from_line: int | None,
    **how: object,
) -> None:
    """Print the log of a run.

    What the task printed on standard error is printed on standard error, and before it what the
    containers printed that prepared its pod, each line after the container's name. --setup prints
    one of these alone; --json, --raw, --stream, --tail and --from leave them out. With --json: one
    JSON document a line.
    """
    from seafloor.cli.following import say_task
    from seafloor.cli.references import find_run
    from seafloor.sdk.logs import LogQuery

    options = LogOptions(**how)  # pyright: ignore[reportArgumentType]
    if tail is not None and from_line is not None:
        raise click.UsageError("--tail and --from exclude each other.")
    if options.raw and (options.follow or tail or from_line or given.json):
        raise click.UsageError("--raw prints all bytes at once: leave the other options out.")
    found = find_run(given.client, run)
    if found.origin != "tracked":
        _check_named(found, attempt, task)
    first = from_line or (-tail if tail is not None else 1)
    query = LogQuery(
        attempt=found.attempt if attempt is None else attempt,
        task=task,
        setup=setup,
        stream=options.stream,
        from_line=first,
    )
    if options.raw:
        given.client.logs.raw(found.id, sys.stdout.buffer, query)
        return
    if found.origin == "tracked":
        # Its process prints where it runs: nothing will come that could be followed.
        say("Seafloor did not start this run, so it has no log of it.")
        return
    say_task(found.spec, task, found.id)
    whole = (setup, options.stream, tail, from_line) == (None, None, None, None)
    _print_lines(given, found.id, query, options, whole=whole)


def _check_named(run: RunView, attempt: int | None, task: str | None) -> None:
    """Refuse what the run does not have: the empty log of it would be taken for a command's.

    Raises:
        NotFound: there is no such attempt or task.
    """
    from seafloor.domain.errors import NotFound, nearest
    from seafloor.domain.members import task_names_of

    if attempt is not None and not 1 <= attempt <= run.attempt:
        raise NotFound(
            f"The run has no attempt {attempt}: its newest is {run.attempt}.", field="--attempt"
        )
    names = task_names_of(run.spec)
    if task is not None and task not in names:
        raise NotFound(f'The run has no task "{task}".{nearest(task, names)}', field="--task")


def _print_lines(
    given: Given, run_id: str, query: LogQuery, options: LogOptions, *, whole: bool
) -> None:
    from seafloor.cli.following import SetupPrinter, print_lines

    setups = SetupPrinter(given.client, run_id, query) if whole and not given.json else None
    missing = 0
    for at, view in enumerate(_views(given.client, run_id, query, follow=options.follow)):
        if setups is not None and (at == 0 or view.finished):
            setups.print_new()
        missing = view.lines_missing
        # A live log comes with all streams.
        lines = [line for line in view.lines if options.stream in (None, line.stream)]
        if given.json:
            for line in lines:
                print_json(line)
        else:
            print_lines(lines)
    if missing:
        say(f"Missing of this log: {shown_count(missing, 'line')}, lost on the way.")


def _views(client: Client, run_id: str, query: LogQuery, *, follow: bool) -> Iterator[LogView]:
    if follow and query.stream is not None and query.from_line < 0:
        # What is followed has the lines of all streams, of which that many would be told.
        for view in client.logs.iterate(run_id, query, limit=_PAGE_LINES):
            yield view
            if view.finished:
                return
            query = replace(query, attempt=view.attempt, from_line=view.next_line)
    if follow:
        yield from client.logs.follow(run_id, query)
    else:
        yield from client.logs.iterate(run_id, query, limit=_PAGE_LINES)
