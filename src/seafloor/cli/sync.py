"""``seafloor sync``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from seafloor.cli.output import print_json, say, styled
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.sdk.sync import RunReport


@click.command()
@server_options
@json_option
@pass_given
def sync(given: Given) -> int:
    """Send what was logged while no server could be reached.

    Every record that can be read is sent; what is lost, refused or cannot be sent yet is counted
    and said. Exits with 1 when something is left or lost, with 5 when the server went away.
    """
    from seafloor.sdk.sync import remove_abandoned_copies, sync_all, waiting_runs
    from seafloor.wire.exit_codes import ANSWER_IS_NO, OK, UNREACHABLE

    settings = given.settings
    waiting = len(waiting_runs(settings))
    if not waiting:
        remove_abandoned_copies(settings)
        if given.json:
            print_json({"items": []})
        else:
            say("Nothing waits to be sent.")
        return OK
    client = given.client
    client.health()  # a server that is away is one error, not one for each run
    say(f"Sending {shown_count(waiting, 'run')} to {client.url} …")
    told = _say_problems if given.json else _tell
    reports = sync_all(client, settings, told=told)
    if given.json:
        print_json({"items": reports})
    if all(is_whole(report) for report in reports):
        return OK
    lacking = sum(not is_whole(report) for report in reports)
    say(f"Not whole on the server: {shown_count(lacking, 'run')}.")
    return UNREACHABLE if any(report.retryable for report in reports) else ANSWER_IS_NO


def is_whole(report: RunReport) -> bool:
    """Whether all that was logged is on the server, or on its way there."""
    lost = report.records_lost + report.records_dropped + len(report.refused)
    return report.state != "left" and not lost


def _tell(report: RunReport) -> None:
    marks = {"sent": styled("sent", "green"), "left": styled("left", "red"), "live": "live"}
    counts = (
        f"{shown_count(report.points, 'point')}, {shown_count(report.params, 'param')}, "
        f"{shown_count(report.tags, 'tag')}, {shown_count(report.files, 'file')}, "
        f"{report.media:,} media"
    )
    click.echo(f"{report.run_id[-8:]} {marks[report.state]}  {counts}")
    if report.state == "live":
        say("  its process lives and sends it itself")
    _say_problems(report)


def _say_problems(report: RunReport) -> None:
    if report.problem is not None:
        say(f"{report.run_id[-8:]} not sent: {report.problem}")
    if report.records_lost:
        say(f"  lost: {shown_count(report.records_lost, 'record')}, damaged on the disk")
    if report.records_dropped:
        say(
            f"  lost: {shown_count(report.records_dropped, 'record')} "
            f"({shown_count(report.points_dropped, 'point')}), for which there was no room when "
            "they were logged"
        )
    if report.bytes_torn:
        torn = shown_count(report.bytes_torn, "byte")
        say(f"  half written when a process died: {torn} at the end")
    for refusal in report.refused:
        say(f"  refused: {refusal.kind} {refusal.what}: {refusal.reason}")
