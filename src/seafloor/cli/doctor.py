"""``seafloor doctor``."""

from __future__ import annotations

import click

from seafloor.cli.output import print_json, styled
from seafloor.cli.session import Given, json_option, pass_given, server_options

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("fail", "red")}


@click.command()
@click.option("--metadata", metavar="URL", help="Try this database instead of the settings'.")
@click.option("--objects", metavar="URL", help="Try this object store instead of the settings'.")
@server_options
@json_option
@pass_given
def doctor(given: Given, metadata: str | None, objects: str | None) -> int:
    """Check this machine, its stores and the server; say what to do about what is wrong.

    The database and the object store are tried for real: what is written is read, listed, signed
    and deleted again. Exits with 1 when a check failed; warnings do not count.
    """
    from seafloor.cli.checks import check_all
    from seafloor.wire.exit_codes import ANSWER_IS_NO, OK

    found = check_all(given.settings, metadata=metadata, objects=objects)
    if given.json:
        print_json({"items": found})
    else:
        for check in found:
            mark, colour = _MARKS[check.state]
            click.echo(f"{styled(mark, colour)}  {check.name:<20} {check.said}")
            if check.fix:
                click.echo(f"                           → {check.fix}")
    return ANSWER_IS_NO if any(check.state == "fail" for check in found) else OK
