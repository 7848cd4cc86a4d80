"""``seafloor localize``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from seafloor.cli.session import Given, json_option, pass_given, server_options

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.argument("source", metavar="SOURCE")
@click.option("--to", "to", metavar="DIR", type=_FOLDER, required=True, help="The code folder.")
@click.option("--name", metavar="NAME", help="Of the folder in it; by default the source's.")
@click.option("--sha256", metavar="DIGEST", help="What an archive must have.")
@click.option("--etag", metavar="TEXT", help="What an archive must be told by, without a sha256.")
@click.option(
    "--strip-components",
    metavar="N",
    type=click.IntRange(min=0),
    default=0,
    help="Take so many parts off the paths in an archive, as tar does.",
)
@click.option("--secret", metavar="NAME", help="What reaches a private repository or archive.")
@click.option(
    "--secret-for",
    "secrets",
    multiple=True,
    metavar="PREFIX=NAME",
    help="What reaches submodules and large files whose address begins so.",
)
@click.option("--cache", metavar="DIR", type=_FOLDER, help="Default: that of the data folder.")
@server_options
@json_option
@pass_given
def localize(
    given: Given,
    source: str,
    to: Path,
    name: str | None,
    sha256: str | None,
    etag: str | None,
    strip_components: int,
    secret: str | None,
    secrets: tuple[str, ...],
    cache: Path | None,
) -> None:
    """Put code into a folder, exactly as a run would get it, with a receipt.

    \b
    seafloor localize git+https://example.com/team/digits.git@v1.2 --to /code
    seafloor localize git+ssh://git@example.com/team/digits.git@main --to /code
    seafloor localize s3://bucket/digits.tar.gz --sha256 … --to /code

    SOURCE is a git repository (git+https://, git+ssh://, git+file://, with @REF or not), a tar or
    zip (s3://, gs://, abfs://, az://, hdfs://, https://, http://, file://), or snapshot:DIGEST.
    Afterwards DIR has the code in DIR/NAME, a link DIR/current to it, and DIR/.receipt.json, which
    is written last: a folder without it is not whole. The same source again is there at once;
    another one replaces it.
    """
    command = [sys.executable, "-m", "seafloor.boot", "localize", f"--to={to}"]
    # In one word with its option, a value that begins with a dash is a value.
    command.append(f"--cache={cache if cache is not None else given.settings.data / 'cache'}")
    told_options = {"--name": name, "--sha256": sha256, "--etag": etag, "--secret": secret}
    for option, value in told_options.items():
        if value is not None:
            command.append(f"{option}={value}")
    command += [f"--secret-for={pair}" for pair in secrets]
    if strip_components:
        command += ["--strip-components", str(strip_components)]
    if given.json:
        command.append("--json")
    # A token is told where no list of processes shows it.
    told = {
        "SEAFLOOR_URL": given.settings.url,
        "SEAFLOOR_TOKEN": given.settings.token,
        "SEAFLOOR_DATA": str(given.settings.data),
    }
    variables = {**os.environ, **{key: value for key, value in told.items() if value}}  # noqa: TID251 - handed on as it is
    if given.settings.url is None:
        variables.pop("SEAFLOOR_URL", None)
    os.execve(sys.executable, [*command, "--", source], variables)  # noqa: S606 - what has the server's packages takes our place
