"""``seafloor runs usage``: what takes space."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seafloor.cli.output import Column, print_json, print_table, say
from seafloor.cli.quantities import shown_size
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from seafloor.sdk.client import Client
    from seafloor.wire.runs import RunView
    from seafloor.wire.usage import RunUsage

_PARTS = ("artifacts", "models", "metrics", "media", "event_files", "logs", "other")


@click.command()
@click.argument("runs", metavar="[RUN…]", nargs=-1)
@click.option("--project", metavar="NAME", help="All runs of this project.")
@click.option("--experiment", metavar="NAME", help="All runs of this experiment.")
@click.option("--limit", "-n", type=click.IntRange(min=1), default=50, help="Show so many; 50.")
@server_options
@json_option
@pass_given
def usage(
    given: Given,
    runs: tuple[str, ...],
    project: str | None,
    experiment: str | None,
    limit: int,
) -> None:
    """Show the bytes that runs take, the largest first.

    Removed runs are counted too: they take space until `seafloor runs rm --purge`. What the
    database holds is not counted. Without RUN: all runs of the experiment or project, or all there
    are; that takes a while where there are many.
    """
    from seafloor.cli.references import find_run

    client = given.client
    if runs:
        wanted = iter([find_run(client, run) for run in runs])
    else:
        wanted = _runs_of(client, project, experiment)
    found = [(run, client.runs.usage(run.id)) for run in wanted]
    found.sort(key=lambda pair: -pair[1].size_bytes)
    total_bytes = sum(taken.size_bytes for _, taken in found)
    if given.json:
        print_json({"size_bytes": total_bytes, "items": [taken for _, taken in found]})
        return
    if not found:
        say("No runs.")
        return
    columns = [Column("run"), Column("name"), Column("all", "right")]
    columns += [Column(part.replace("_", " "), "right") for part in _PARTS]
    print_table(columns, [_row(run, taken) for run, taken in found[:limit]])
    say(f"In {shown_count(len(found), 'run')}: {shown_size(total_bytes)}.")
    if len(found) > limit:
        say(f"These are the {limit} largest; more with --limit.")


def _runs_of(client: Client, project: str | None, experiment: str | None) -> Iterator[RunView]:
    from seafloor.cli.runs import experiment_id_of
    from seafloor.sdk.runs import RunQuery

    experiment_id = None
    if experiment is not None:
        experiment_id = experiment_id_of(client, experiment, project)
    return client.runs.iterate(RunQuery(project=project, experiment_id=experiment_id, deleted=None))


def _row(run: RunView, taken: RunUsage) -> list[str]:
    sizes = [getattr(taken, part).size_bytes for part in _PARTS]
    name = f"{run.name} (removed)" if run.deleted_ns is not None else run.name
    shown = [shown_size(size) if size else "" for size in sizes]
    return [run.id[-8:], name, shown_size(taken.size_bytes), *shown]
