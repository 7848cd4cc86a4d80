"""``seafloor doctor``."""

from __future__ import annotations

import click

from seafloor.cli.output import print_json, styled
from seafloor.cli.session import Given, json_option, pass_given, server_options

_MARKS = {"ok": ("ok  ", "green"), "warn": ("warn", "yellow"), "fail": ("fail", "red")}


@click.command()
@server_options
@json_option
@pass_given
def doctor(given: Given) -> int:
    """Check this machine and the server; say what to do about what is wrong.

    Exits with 1 when a check failed; warnings do not count.
    """
    from seafloor.cli.checks import check_all
    from seafloor.cli.exit_codes import ANSWER_IS_NO, OK

    found = check_all(given.settings)
    if given.json:
        print_json({"items": found})
    else:
        for check in found:
            mark, colour = _MARKS[check.state]
            click.echo(f"{styled(mark, colour)}  {check.name:<12} {check.said}")
            if check.fix:
                click.echo(f"                   → {check.fix}")
    return ANSWER_IS_NO if any(check.state == "fail" for check in found) else OK
