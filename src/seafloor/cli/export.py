"""``seafloor export``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from seafloor.cli.output import ProgressLine, plain, print_json, say
from seafloor.cli.quantities import shown_size
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.sdk.exports.exporter import Exported

_SHOWN_MAX = 12


@click.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--project", metavar="NAME", help="Only of this project.")
@click.option(
    "--experiment", "experiments", metavar="NAME", multiple=True, help="Only this experiment."
)
@click.option("--run", "runs", metavar="RUN", multiple=True, help="Only this run.")
@click.option(
    "--artifacts/--no-artifacts", default=True, help="Whether the bytes of files come along."
)
@server_options
@json_option
@pass_given
def export(
    given: Given,
    folder: Path,
    project: str | None,
    experiments: tuple[str, ...],
    runs: tuple[str, ...],
    *,
    artifacts: bool,
) -> int:
    """Write experiments and runs to a folder of Parquet files.

    DuckDB, pandas and Spark read the tables directly; `seafloor import seafloor DIR` brings them to
    a server again. DIR is whole when it has a manifest.json, which is written last. An export that
    was interrupted is repeated by the same command, and files that had come are not fetched again.
    What the server itself cannot give any more is named, here and in manifest.json, and the exit
    code is 1.
    """
    from seafloor.sdk.exports.exporter import ExportOptions
    from seafloor.sdk.exports.exporter import export as write
    from seafloor.wire.exit_codes import ANSWER_IS_NO, OK

    client = given.client
    client.health()
    options = ExportOptions(project, experiments, runs, artifacts)
    say(f"Exporting {client.url} to {folder} …")
    progress = ProgressLine()

    def told(done: Exported) -> None:
        progress.tell(
            lambda: (
                f"{shown_count(done.runs, 'run')}, {shown_count(done.points, 'point')}, "
                f"{shown_count(done.files, 'file')} "
                f"({shown_size(done.file_bytes + done.coming_bytes)})"
            )
        )

    try:
        manifest, done = write(client, folder, options, told)
    finally:
        progress.end()
    code = ANSWER_IS_NO if done.missing else OK
    if given.json:
        print_json(manifest)
        return code
    click.echo(
        f"{shown_count(done.runs, 'run')} of {shown_count(done.experiments, 'experiment')}, "
        f"{shown_count(done.points, 'point')}, {done.media:,} media, "
        f"{shown_count(done.models, 'model')}, {shown_count(done.traces, 'trace')}, "
        f"{shown_count(done.files, 'file')} "
        f"({shown_size(done.file_bytes)}): {folder}"
    )
    for name in done.vanished:
        say(f"removed from the server while it was exported: {name}")
    for name in done.missing[:_SHOWN_MAX]:
        say(f"not in the export, for the server cannot give it: {plain(name)}")
    if len(done.missing) > _SHOWN_MAX:
        say(f"not in the export: {len(done.missing) - _SHOWN_MAX:,} more, see its manifest.json")
    return code
