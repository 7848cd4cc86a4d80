"""``seafloor copy``."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from seafloor.cli.session import Given, json_option, pass_given

_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command()
@click.option("--from", "source", metavar="DIR", type=_FOLDER, required=True, help="Data folder.")
@click.option("--to", "target", metavar="DIR", type=_FOLDER, required=True, help="Its copy.")
@click.option("--metadata", metavar="URL", help="Database of the copy; default: as for `up`.")
@click.option("--objects", metavar="URL", help="Object store of the copy; default: as for `up`.")
@click.option("--skip-damaged", is_flag=True, help="Go on without what the source has lost.")
@json_option
@pass_given
def copy(
    given: Given,
    source: Path,
    target: Path,
    metadata: str | None,
    objects: str | None,
    *,
    skip_damaged: bool,
) -> None:
    """Copy a whole installation to another place, such as a database server and a bucket.

    Nothing in the source is changed, and no server may run on it. The target must be empty. When
    the copy is interrupted the same command goes on where it stopped; a server refuses to start on
    a copy that is not whole. At the end every row and every digest is the same on both sides, and
    the URLs are written into [stores] of seafloor.toml in the target's data folder.
    """
    command = [sys.executable, "-m", "seafloor.boot", "copy"]
    command += ["--from", str(source), "--to", str(target)]
    for option, value in (("--metadata", metadata), ("--objects", objects)):
        if value is not None:
            command += [option, value]
    if skip_damaged:
        command.append("--skip-damaged")
    if given.json:
        command.append("--json")
    os.execv(sys.executable, command)  # noqa: S606 - what has the server's packages takes our place
