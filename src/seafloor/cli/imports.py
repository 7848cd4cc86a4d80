"""``seafloor import``: what other programs kept, brought to a server."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seafloor.cli.groups import LazyGroup
from seafloor.cli.output import ProgressLine, plain, print_json, say
from seafloor.cli.quantities import shown_size
from seafloor.cli.session import Decorated, Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.sdk.imports.records import ExperimentRecord, Source
    from seafloor.sdk.imports.report import Report

_HOMES = {
    "mlflow": ("seafloor.cli.imports:mlflow", "From an MLflow server, database or folder."),
    "wandb": ("seafloor.cli.imports:wandb", "From the offline runs of wandb."),
    "tensorboard": ("seafloor.cli.imports:tensorboard", "From a folder of tf.events files."),
    "neptune": ("seafloor.cli.imports:neptune", "From what neptune-exporter wrote."),
    "aim": ("seafloor.cli.imports:aim", "From a repository of Aim."),
    "seafloor": ("seafloor.cli.imports:seafloor", "From a folder that `seafloor export` wrote."),
}
_SHOWN_MAX = 12


@click.group("import", cls=LazyGroup, homes=_HOMES)
def imports() -> None:
    """Bring here what other programs kept.

    What is here already is not touched, so an import that was interrupted goes on where it stopped
    when the same command is given again. What had no place is counted, and kept in a report.
    """


def import_options(command: Decorated) -> Decorated:
    """Give a command the options that every import has."""
    options = (
        click.option("--project", metavar="NAME", help="Where experiments go; default: default."),
        click.option(
            "--experiment",
            "experiments",
            metavar="NAME",
            multiple=True,
            help="Only this experiment.",
        ),
        click.option("--no-files", is_flag=True, help="Leave out artifacts."),
        click.option(
            "--report",
            metavar="FILE",
            type=click.Path(dir_okay=False, path_type=Path),
            help="Where the report is kept; default: in ~/.seafloor/imports.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@click.argument("place", metavar="URL|FILE|DIR")
@click.option(
    "--artifacts",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder that the server keeps artifacts in, for a database.",
)
@click.option(
    "--user", envvar="MLFLOW_TRACKING_USERNAME", help="Of MLflow (MLFLOW_TRACKING_USERNAME)."
)
@click.option("--password", envvar="MLFLOW_TRACKING_PASSWORD", help="Its password (…_PASSWORD).")
@click.option(
    "--bearer", envvar="MLFLOW_TRACKING_TOKEN", help="Token for MLflow (MLFLOW_TRACKING_TOKEN)."
)
@import_options
@server_options
@json_option
@pass_given
def mlflow(
    given: Given,
    place: str,
    artifacts: Path | None,
    user: str | None,
    password: str | None,
    bearer: str | None,
    **options: Any,
) -> int:
    """Import from MLflow: http://…, sqlite:///mlflow.db, or the path of a database or of mlruns.

    Experiments, runs with params, tags, every point of every metric, datasets, logged models and
    artifacts come under the ids that they have. Nothing is written to MLflow.
    """
    from seafloor.sdk.imports.mlflow.api import Credentials
    from seafloor.sdk.imports.mlflow.open import open_mlflow

    credentials = Credentials(user, password, bearer)

    def opened(report: Report) -> Source:
        return open_mlflow(place, artifacts=artifacts, credentials=credentials, report=report)

    return bring(given, "mlflow", opened, **options)


@click.command()
@click.argument("place", metavar="DIR|FILE", type=click.Path(path_type=Path))
@import_options
@server_options
@json_option
@pass_given
def wandb(given: Given, place: Path, **options: Any) -> int:
    """Import from wandb: the folder "wandb" of a project, one run's folder, or its run-ID.wandb.

    Projects come as experiments; runs with config, history, media, system metrics, output, files
    and logged artifacts. wandb need not be installed, and nothing is written to its files.
    """
    from seafloor.sdk.imports.wandb.source import WandbSource

    def opened(report: Report) -> Source:
        return WandbSource(place, report)

    return bring(given, "wandb", opened, **options)


@click.command()
@click.argument("place", metavar="DIR|FILE", type=click.Path(path_type=Path))
@import_options
@server_options
@json_option
@pass_given
def tensorboard(given: Given, place: Path, **options: Any) -> int:
    """Import from TensorBoard: the folder that --logdir is given.

    Each folder with tf.events files is a run, named by its path; all are of one experiment, named
    as the folder. Scalars, histograms, images, audio, texts and hparams are read; the files are
    kept byte for byte.
    """
    from seafloor.sdk.imports.tensorboard.source import TensorBoardSource

    def opened(report: Report) -> Source:
        return TensorBoardSource(place, report)

    return bring(given, "tensorboard", opened, **options)


@click.command()
@click.argument("place", metavar="DIR", type=click.Path(path_type=Path))
@import_options
@server_options
@json_option
@pass_given
def seafloor(given: Given, place: Path, *, project: str | None, **options: Any) -> int:
    """Import what `seafloor export` wrote.

    Runs and models come under the ids that they have, experiments by name into the projects that
    they were in; --project NAME puts all of them there.
    """
    from seafloor.sdk.imports.seafloor.source import ExportSource

    def opened(report: Report) -> Source:
        return ExportSource(place, report, project=project)

    return bring(given, "seafloor", opened, project=project, **options)


@click.command()
@click.argument("place", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--files",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The exporter's --files-path; default: the folder files in DIR or beside it.",
)
@import_options
@server_options
@json_option
@pass_given
def neptune(given: Given, place: Path, files: Path | None, **options: Any) -> int:
    """Import from Neptune: the folder that neptune-exporter was given as --data-path.

    Projects come as experiments; runs with attributes, series of numbers, texts, histograms and
    pictures, and files.
    """
    from seafloor.sdk.imports.neptune.source import NeptuneSource

    def opened(report: Report) -> Source:
        return NeptuneSource(place, files, report)

    return bring(given, "neptune", opened, **options)


@click.command()
@click.argument("place", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--python", metavar="PATH", help="A Python that has Aim; default: the one that runs this."
)
@import_options
@server_options
@json_option
@pass_given
def aim(given: Given, place: Path, python: str | None, **options: Any) -> int:
    """Import from Aim: the folder that holds .aim.

    Experiments come by name; runs with params, every point of every metric, images, texts,
    distributions, audio, figures, what they printed, and artifacts. Aim reads its repository
    itself, in a process of its own.
    """
    from seafloor.sdk.imports.aim.source import AimSource

    def opened(report: Report) -> Source:
        return AimSource(place, python, report)

    return bring(given, "aim", opened, **options)


def bring(
    given: Given,
    kind: str,
    opened: Callable[[Report], Source],
    *,
    project: str | None,
    experiments: tuple[str, ...],
    no_files: bool,
    report: Path | None,
) -> int:
    """Import from a source, and tell of it while and when it is done.

    Returns:
        The exit code: 1 when something should have come and did not.
    """
    from seafloor.domain.errors import SeafloorError
    from seafloor.sdk.imports.importer import Importer, ImportOptions
    from seafloor.sdk.imports.report import Report
    from seafloor.wire.exit_codes import ANSWER_IS_NO, OK

    client = given.client
    client.health()
    told = Report(source=kind, server=client.url)
    source = opened(told)
    told.source = source.label
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    # Several may begin in the same second.
    path = report or given.settings.home / "imports" / f"{kind}-{stamp}-{os.getpid()}.json"
    options = ImportOptions(
        project=project or given.settings.project, experiments=experiments, files=not no_files
    )
    told.write(path)  # where none can be kept, nothing is brought
    say(f"Importing {source.label} to {client.url} …")
    progress = ProgressLine()

    def far(experiment: ExperimentRecord) -> None:
        progress.tell(
            lambda: (
                f"{shown_count(told.runs, 'run')} (here already: {told.runs_known:,}), "
                f"{shown_count(told.points, 'point')}, {shown_count(told.files, 'file')}; "
                f"at experiment {experiment.name[:40]}"
            )
        )

    first = ""
    try:
        Importer(client, source, told, options, far).bring_all()
    except SeafloorError as error:
        first = "" if error.retryable else "mend what is said below, and "
        raise
    finally:
        progress.end()
        if not told.whole:
            say(f"Not all of it was brought: {first}the same command goes on where it stopped.")
        told.write(path)
    if given.json:
        print_json(told)
    else:
        _print(told, path)
    return ANSWER_IS_NO if told.failures else OK


def _print(report: Report, path: Path) -> None:
    click.echo(
        f"{shown_count(report.runs, 'run')} of {shown_count(report.experiments, 'experiment')}, "
        f"{shown_count(report.points, 'point')}, {report.media:,} media, "
        f"{shown_count(report.params, 'param')}, {shown_count(report.tags, 'tag')}, "
        f"{shown_count(report.datasets, 'dataset')}, {shown_count(report.models, 'model')}, "
        f"{shown_count(report.traces, 'trace')}, {shown_count(report.spans, 'span')}, "
        f"{shown_count(report.assessments, 'assessment')}, {shown_count(report.files, 'file')} "
        f"({shown_size(report.file_bytes)})"
    )
    if report.runs_known:
        click.echo(f"here already: {shown_count(report.runs_known, 'run')}")
    if report.traces_known:
        click.echo(f"here already: {shown_count(report.traces_known, 'trace')}")
    if report.left_out:
        click.echo("had no place here, or not as it was:")
        for one in report.left_out:
            click.echo(f"{one.count:>9,}  {plain(one.what)}")
    for failure in report.failures[:_SHOWN_MAX]:
        say(f"did not come: {plain(failure.name)}: {plain(failure.reason)}")
    if len(report.failures) > _SHOWN_MAX:
        say(f"did not come: {len(report.failures) - _SHOWN_MAX:,} more")
    click.echo(f"report: {path}")
