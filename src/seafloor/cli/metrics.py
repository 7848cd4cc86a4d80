"""``seafloor metrics``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seafloor.cli.output import print_json, print_table, say
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.sdk.client import Client
    from seafloor.wire.runs import MetricView

_PLOTS_MAX = 8


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("keys", metavar="[KEY]…", nargs=-1)
@click.option("--plot", is_flag=True, help="Draw each as a line; extremes are exact.")
@click.option("--points", is_flag=True, help="Print every point instead of a summary.")
@server_options
@json_option
@pass_given
def metrics(given: Given, run: str, keys: tuple[str, ...], *, plot: bool, points: bool) -> None:
    """Print or plot the metrics of a run; without a KEY all of them."""
    from seafloor.cli.references import find_run
    from seafloor.cli.runs import METRIC_COLUMNS, metric_rows

    if plot and points:
        raise click.UsageError("--plot and --points exclude each other.")
    client = given.client
    found = find_run(client, run)
    chosen = _choose(client.metrics.list(found.id).items, keys)
    if not chosen and not given.json:
        say("This run has no metrics.")
    elif points:
        _print_points(given, found.id, list(chosen))
    elif plot:
        _plot(given, found.id, list(chosen))
    elif given.json:
        print_json({"run": found.id, "items": chosen})
    else:
        print_table(METRIC_COLUMNS, metric_rows(chosen))


def _choose(known: dict[str, MetricView], keys: tuple[str, ...]) -> dict[str, MetricView]:
    from seafloor.domain.errors import NotFound, nearest

    for key in keys:
        if key not in known:
            raise NotFound(f'The run has no metric "{key}".{nearest(key, known)}', field="KEY")
    return {key: known[key] for key in keys} if keys else known


def _print_points(given: Given, run_id: str, keys: list[str]) -> None:
    client = given.client
    if given.json:
        items = {key: list(client.metrics.iterate(run_id, key)) for key in keys}
        print_json({"run": run_id, "items": items})
        return
    for key in keys:
        for point in client.metrics.iterate(run_id, key):
            click.echo(f"{key}\t{point.step}\t{point.time_ms}\t{point.value}")


def _plot(given: Given, run_id: str, keys: list[str]) -> None:
    from seafloor.cli.plots import buckets_for_width, draw, outline_of, plot_width

    client: Client = given.client
    width = plot_width()
    charts = {
        key: client.metrics.chart(run_id, key, buckets=buckets_for_width(width))
        for key in keys[:_PLOTS_MAX]
    }
    if given.json:
        print_json({"run": run_id, "items": charts})
        return
    for key, chart in charts.items():
        outline = outline_of(chart.buckets)
        if outline.values:
            click.echo(draw(key, outline, width=width))
        else:
            say(f"{key}: none of its points can be drawn.")
        if outline.left_out:
            say(f"{key}: not drawn, as NaN: {shown_count(outline.left_out, 'point')}.")
    if len(keys) > _PLOTS_MAX:
        say(f"Not drawn: {len(keys) - _PLOTS_MAX} more. Name the ones you want.")
