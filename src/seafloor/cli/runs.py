"""``seafloor runs``: list, show, compare, stop, retry, remove, restore, usage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from seafloor.cli.groups import LazyGroup
from seafloor.cli.output import (
    Column,
    plain,
    print_json,
    print_table,
    say,
    styled,
    styled_state,
)
from seafloor.cli.quantities import shown_age, shown_duration, shown_number, shown_time
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from seafloor.domain.workloads import Attempt, Ending, Task
    from seafloor.sdk.client import Client
    from seafloor.wire.runs import ComparedValue, MetricView, RunView

_STATES = (
    "queued",
    "preparing",
    "running",
    "stopping",
    "succeeded",
    "failed",
    "stopped",
    "lost",
)
_METRIC_COLUMNS_MAX = 3

_HOMES = {
    "list": ("seafloor.cli.runs:list_runs", "List runs, the newest first."),
    "show": ("seafloor.cli.runs:show", "Show all that is known of a run."),
    "compare": ("seafloor.cli.runs:compare", "Lay 2 to 20 runs side by side."),
    "stop": ("seafloor.cli.runs:stop", "Stop runs."),
    "retry": ("seafloor.cli.runs:retry", "Give a run that ended a further attempt."),
    "rm": ("seafloor.cli.runs:remove", "Remove runs; they can be restored."),
    "restore": ("seafloor.cli.runs:restore", "Bring removed runs back."),
    "usage": ("seafloor.cli.usage:usage", "Show the bytes that runs take."),
}


@click.group(cls=LazyGroup, homes=_HOMES)
def runs() -> None:
    """List, show, compare, stop, retry, remove runs.

    RUN is an id, at least four digits of its beginning or end, @last, or a name that one run has.
    """


@dataclass(frozen=True)
class ListOptions:
    """Which runs are listed.

    Args:
        project, experiment: Names.
        state: States.
        filter, order: As the API reads them.
        deleted: The removed ones.
        limit: How many.
    """

    project: str | None
    experiment: str | None
    state: tuple[str, ...]
    filter: str | None
    order: str | None
    deleted: bool
    limit: int


@click.command("list")
@click.option("--project", metavar="NAME", help="Only of this project.")
@click.option("--experiment", metavar="NAME", help="Only of this experiment.")
@click.option("--state", multiple=True, type=click.Choice(_STATES), help="Only in this state.")
@click.option("--filter", metavar="TEXT", help='Such as: metrics.loss < 0.1 and params.lr = "0.01"')
@click.option("--order", metavar="TEXT", help="Such as: metrics.loss desc")
@click.option("--deleted", is_flag=True, help="The removed ones instead.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=50, help="How many; 50.")
@server_options
@json_option
@pass_given
def list_runs(given: Given, **which: object) -> None:
    """List runs, the newest first."""
    from seafloor.sdk.runs import RunQuery

    options = ListOptions(**which)  # pyright: ignore[reportArgumentType]
    client = given.client
    experiment_id = None
    if options.experiment is not None:
        experiment_id = experiment_id_of(client, options.experiment, options.project)
    query = RunQuery(
        project=options.project,
        experiment_id=experiment_id,
        states=options.state,
        filter=options.filter,
        order=options.order,
        deleted=options.deleted,
    )
    found = list(client.runs.iterate(query, limit=options.limit + 1))
    more = len(found) > options.limit
    del found[options.limit :]
    if given.json:
        print_json({"items": found})
        return
    if not found:
        say("No runs.")
        return
    _print_list(found)
    if more:
        say(f"These are {options.limit}; more with --limit.")


@click.command()
@click.argument("run", metavar="RUN")
@server_options
@json_option
@pass_given
def show(given: Given, run: str) -> None:
    """Show all that is known of a run."""
    from seafloor.cli.references import find_run

    client = given.client
    found = find_run(client, run)
    page = client.runs.attempts(found.id)
    attempts = page.items
    events = [*client.runs.iterate_events(found.id)]
    if given.json:
        document: dict[str, object] = {"run": found, "attempts": attempts, "events": events}
        print_json({**document, "tasks": page.tasks} if page.tasks else document)
        return
    receipts = [fact for attempt in attempts[-1:] for fact in _receipts(attempt)]
    for name, value in [*_facts(found), *receipts]:
        click.echo(f"{styled(name.ljust(12), 'bright_black')} {value}")
    _print_pairs("params", sorted(found.params.items()))
    _print_pairs("tags", sorted(found.tags.items()))
    if found.metrics:
        click.echo("\nmetrics")
        print_table(METRIC_COLUMNS, metric_rows(found.metrics))
    if attempts:
        _print_ends("attempts", {str(attempt.number): attempt for attempt in attempts})
    if page.tasks:
        newest = {task.name: task for task in page.tasks if task.attempt == found.attempt}
        _print_ends("tasks", newest)
    if events:
        click.echo("\nevents")
        for event in events:
            told = f"{styled(shown_time(event.time_ns), 'bright_black')}  {plain(event.message)}"
            click.echo(told)


def _print_ends(title: str, found: Mapping[str, Attempt | Task]) -> None:
    """Print how attempts, or the tasks of one, stand or ended."""
    click.echo(f"\n{title}")
    first = Column("#", "right") if title == "attempts" else Column("task")
    columns = [first, Column("state"), Column("started"), Column("ended", wrap=True)]
    rows = [
        (name, one.state.value, shown_time(one.started_ns), _shown_end(one.ending))
        for name, one in found.items()
    ]
    print_table(columns, rows)


def _shown_end(ending: Ending | None) -> str:
    if ending is None or ending.reason or ending.exit_code is None:
        return "" if ending is None else ending.reason
    return f"exit code {ending.exit_code}"


@click.command()
@click.argument("runs", metavar="RUN RUN…", nargs=-1, required=True)
@click.option("--all", "everything", is_flag=True, help="Also what is the same in all.")
@server_options
@json_option
@pass_given
def compare(given: Given, runs: tuple[str, ...], *, everything: bool) -> None:
    """Lay 2 to 20 runs side by side: what differs between them."""
    from seafloor.cli.references import find_run

    client = given.client
    comparison = client.runs.compare([find_run(client, run).id for run in runs])
    if given.json:
        print_json(comparison)
        return
    columns = [Column(""), *(Column(f"{run.name} {run.id[-6:]}") for run in comparison.runs)]
    rows: list[list[str]] = []
    for title, values in (
        ("", comparison.attributes),
        ("params.", comparison.params),
        ("metrics.", comparison.metrics),
    ):
        rows += [
            [f"{title}{value.key}", *_compared(value)]
            for value in values
            if everything or value.differs
        ]
    print_table(columns, rows)


@click.command()
@click.argument("runs", metavar="RUN…", nargs=-1, required=True)
@server_options
@json_option
@pass_given
def stop(given: Given, runs: tuple[str, ...]) -> None:
    """Stop runs: SIGTERM to the command and, after ten seconds, SIGKILL."""
    from seafloor.cli.references import find_run

    client = given.client
    # All are found before any is stopped: a name that is wrong stops none.
    stopped = [client.runs.stop(run_id) for run_id in [find_run(client, run).id for run in runs]]
    if given.json:
        print_json({"items": stopped})
        return
    for run in stopped:
        click.echo(f"{run.id[-8:]} {run.name} {styled_state(run.state.value)}")


@click.command()
@click.argument("run", metavar="RUN")
@click.option("--follow", "-f", is_flag=True, help="Print its log, and exit as it does.")
@server_options
@json_option
@pass_given
def retry(given: Given, run: str, *, follow: bool) -> int:
    """Give a run that ended a further attempt, of the same code and environment."""
    from seafloor.cli.exit_codes import code_of_run
    from seafloor.cli.following import RunFollower, follow_with_interrupts
    from seafloor.cli.references import find_run
    from seafloor.wire.exit_codes import INTERRUPTED, OK

    client = given.client
    again = client.runs.retry(find_run(client, run).id)
    say(f"attempt {again.attempt} of {again.name}: {again.url}")
    if follow:
        ended = follow_with_interrupts(RunFollower(client, again, show_log=not given.json))
        if ended is None:
            return INTERRUPTED
        again = ended
    if given.json:
        print_json(again)
    return code_of_run(again.state, again.ending) if follow else OK


@click.command("rm")
@click.argument("runs", metavar="RUN…", nargs=-1, required=True)
@click.option("--purge", is_flag=True, help="For good, with logs, metrics and files.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask before --purge.")
@server_options
@json_option
@pass_given
def remove(given: Given, runs: tuple[str, ...], *, purge: bool, yes: bool) -> None:
    """Remove runs; `seafloor runs restore` brings them back unless they are purged."""
    from seafloor.cli.references import find_run

    client = given.client
    found = [find_run(client, run) for run in runs]
    if purge and not yes:
        names = ", ".join(f"{run.name} ({run.id[-8:]})" for run in found)
        click.confirm(
            f"Remove for good, with all logs, metrics and files: {names}?", abort=True, err=True
        )
    removed = [client.runs.delete(run.id, purge=purge) for run in found]
    if given.json:
        print_json({"items": removed})
        return
    for run, result in zip(found, removed, strict=True):
        what = "purged" if result.purged else "removed; `seafloor runs restore` brings it back"
        click.echo(f"{run.id[-8:]} {run.name} {what}")


@click.command()
@click.argument("runs", metavar="RUN…", nargs=-1, required=True)
@server_options
@json_option
@pass_given
def restore(given: Given, runs: tuple[str, ...]) -> None:
    """Bring removed runs back, named by id."""
    client = given.client
    restored = [client.runs.restore(run) for run in runs]
    if given.json:
        print_json({"items": restored})
        return
    for run in restored:
        click.echo(f"{run.id[-8:]} {run.name} is back")


METRIC_COLUMNS = [
    Column("key"),
    Column("last", "right"),
    Column("at step", "right"),
    Column("min", "right"),
    Column("max", "right"),
    Column("points", "right"),
]


def metric_rows(metrics: dict[str, MetricView]) -> list[list[str]]:
    """Rows of a table of summaries, with the columns of ``runs show``."""
    return [
        [
            key,
            shown_number(metric.last),
            str(metric.last_step),
            shown_number(metric.min),
            shown_number(metric.max),
            str(metric.points),
        ]
        for key, metric in sorted(metrics.items())
    ]


def experiment_id_of(client: Client, name: str, project: str | None) -> int:
    from seafloor.domain.errors import NotFound, nearest

    experiments = client.experiments.list(project=project).items
    for experiment in experiments:
        if experiment.name == name:
            return experiment.id
    known = [experiment.name for experiment in experiments]
    raise NotFound(f'There is no experiment "{name}".{nearest(name, known)}', field="--experiment")


def _print_list(found: list[RunView]) -> None:
    counts: dict[str, int] = {}
    for run in found:
        for key in run.metrics:
            counts[key] = counts.get(key, 0) + 1
    keys = sorted(sorted(counts), key=lambda key: -counts[key])[:_METRIC_COLUMNS_MAX]
    columns = [
        Column("id", whole=True),
        Column("name"),
        Column("experiment"),
        Column("state", whole=True),
        Column("started"),
        Column("took", "right"),
        *(Column(key, "right") for key in keys),
    ]
    rows = [
        [
            run.id[-8:],
            run.name,
            run.experiment.name,
            run.state.value,
            shown_age(run.started_ns or run.created_ns),
            shown_duration(run.duration_s),
            *(shown_number(run.metrics[key].last) if key in run.metrics else "" for key in keys),
        ]
        for run in found
    ]
    print_table(columns, rows)


def _facts(run: RunView) -> list[tuple[str, str]]:
    ending = run.ending.reason if run.ending is not None else ""
    facts = [
        ("run", f"{run.name}  {run.id}"),
        ("state", f"{styled_state(run.state.value)}{f'  {plain(ending)}' if ending else ''}"),
        ("experiment", f"{run.experiment.name}  (project {run.project})"),
        ("page", run.url),
        ("by", plain(run.user)),
        ("started", shown_time(run.started_ns)),
        ("took", shown_duration(run.duration_s)),
        ("environment", run.environment or ""),
        ("code", plain(shown_code(run))),
    ]
    return [(name, value) for name, value in facts if value]


def shown_code(run: RunView) -> str:
    """Show where the code of a run is from."""
    from seafloor.domain.code import ArchiveCode, GitCode, ImageCode

    code = run.code
    if code is None:
        return ""
    if isinstance(code, ImageCode):
        return f"in the image, at {code.path}" if code.path else "in the image"
    if isinstance(code, ArchiveCode):
        return f"{code.url} {f'sha256 {code.sha256}' if code.sha256 else f'etag {code.etag}'}"
    if isinstance(code, GitCode):
        return f"{code.url} {code.ref or ''} commit {code.commit}".replace("  ", " ")
    commit = f", on commit {code.git_commit[:12]}" if code.git_commit is not None else ""
    edits = " with edits" if code.git_dirty else ""
    return f"folder {code.folder}, snapshot {code.sha256[:12]}{commit}{edits}"


def _receipts(attempt: Attempt) -> list[tuple[str, str]]:
    """What was localised for an attempt, and the proof of it."""
    facts: list[tuple[str, str]] = []
    for folder, receipt in attempt.receipts.items():
        proof = (
            f"tree {receipt.tree}" if receipt.tree is not None else f"sha256 {receipt.sha256 or ''}"
        )
        said = [
            f"/code/{folder}",
            proof,
            shown_count(receipt.files, "file"),
            shown_count(receipt.size_bytes, "byte"),
            f"{receipt.duration_s:.2f} s{' from the cache' if receipt.cached else ''}",
        ]
        facts.append(("receipt", ", ".join(said)))
    return facts


def _print_pairs(title: str, pairs: list[tuple[str, str]]) -> None:
    if not pairs:
        return
    click.echo(f"\n{title}")
    width = max(len(key) for key, _ in pairs)
    for key, value in pairs:
        click.echo(f"{plain(key).ljust(width)}  {plain(value)}")


def _compared(value: ComparedValue) -> list[str]:
    return [cell if isinstance(cell, str) else shown_number(cell) for cell in value.values]
