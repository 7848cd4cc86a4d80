"""``seafloor plan``."""

from __future__ import annotations

from pathlib import Path

import click

from seafloor.cli.output import print_json, say, styled
from seafloor.cli.session import Given, json_option, pass_given, server_options


@click.command(context_settings={"allow_interspersed_args": False})
@click.option(
    "--file", "-f", type=click.Path(path_type=Path), metavar="SPEC", help="A spec (YAML)."
)
@click.option("--env", "environment", metavar="NAME[@VERSION]", help="Environment to run in.")
@click.option("--git", metavar="URL", help="Repository to run from, instead of this folder.")
@click.option("--ref", metavar="REF", help="Branch, tag or commit of it.")
@click.option("--secret", metavar="NAME", help="Secret of the server that reaches it.")
@server_options
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_given
def plan(given: Given, **what: object) -> None:
    """Say what `seafloor run` with the same arguments would do, and do nothing.

    A snapshot of the folder is taken for its digest, and thrown away.
    """
    from seafloor.cli.submissions import SubmissionOptions, make_submission, resolve_code
    from seafloor.wire.server import PlanCreate

    submission = make_submission(SubmissionOptions(**what))  # pyright: ignore[reportArgumentType]
    code = resolve_code(submission, warn=say, client=None)
    made = given.client.plan(PlanCreate(submission.body, code))
    if given.json:
        print_json(made)
        return
    for number, step in enumerate(made.steps, start=1):
        click.echo(f"{number}. {step}")
    for warning in made.warnings:
        say(f"warning: {warning}")
    if made.code_path is not None:
        click.echo(f"\ncode   {made.code_path}")
    for title, values in (("limits", made.limits), ("variables", made.variables)):
        click.echo(f"\n{title}")
        for name, value in values.items():
            click.echo(f"  {styled(name, 'bright_black')}={value}")
