"""``seafloor run``: submit, follow, and exit as the command did."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from seafloor.cli.output import print_json, say, styled_state
from seafloor.cli.session import Decorated, Given, json_option, pass_given, server_options

if TYPE_CHECKING:
    from seafloor.cli.submissions import SubmissionOptions
    from seafloor.sdk.client import Client
    from seafloor.wire.runs import RunCreated, RunView


@dataclass(frozen=True)
class RunOptions:
    """How to run, apart from what.

    Args:
        detach: Return when it is submitted.
        follow: Print its log.
        params: ``KEY=VALUE``, each.
    """

    detach: bool
    follow: bool
    params: tuple[str, ...]


def submission_options(command: Decorated) -> Decorated:
    """Give a command the options that say what is to run, and where its code comes from."""
    options = (
        click.option(
            "--file", "-f", type=click.Path(path_type=Path), metavar="SPEC", help="A spec (YAML)."
        ),
        click.option(
            "--env", "environment", metavar="NAME[@VERSION]", help="Environment to run in."
        ),
        click.option(
            "--git", metavar="URL", help="Repository to run from, instead of this folder."
        ),
        click.option("--ref", metavar="REF", help="Branch, tag or commit of it."),
        click.option("--secret", metavar="NAME", help="Secret of the server that reaches it."),
        click.option(
            "--secret-for",
            "secrets",
            multiple=True,
            metavar="PREFIX=NAME",
            help="Secret for submodules and large files whose address begins so.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command(
    # What follows the first word of the command is the command's own.
    context_settings={"allow_interspersed_args": False},
    epilog="Exits as the command did.",
)
@submission_options
@click.option("--name", metavar="TEXT", help="Name of the run.")
@click.option("--experiment", metavar="TEXT", help="Its experiment; the folder's name without one.")
@click.option("--timeout", metavar="TIME", help="End it after: 90, 30m, 1h30m, 2d.")
@click.option("--retries", metavar="N", type=int, help="Further attempts after a failure.")
@click.option(
    "--set-env", "-e", "env", multiple=True, metavar="K=V", help="Variable of the command."
)
@click.option("--param", "params", multiple=True, metavar="K=V", help="Param of the run.")
@click.option("--detach", "-d", is_flag=True, help="Return when it is submitted.")
@click.option("--follow/--no-follow", default=True, help="Print its log, or only wait for its end.")
@server_options
@json_option
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@pass_given
def run(
    given: Given, *, detach: bool, follow: bool, params: tuple[str, ...], **what: object
) -> int:
    """Run a command, and follow it to its end.

    \b
    seafloor run -- python train.py --epochs 10     the folder you are in, as it is now
    seafloor run -f train.yaml                      as a spec says

    Without a server it starts one on this machine. Ctrl-C stops following, and a second one
    within two seconds stops the run.
    """
    from seafloor.cli.submissions import SubmissionOptions

    options = RunOptions(detach=detach, follow=follow and not given.json, params=params)
    return submit(given, SubmissionOptions(**what), options)  # pyright: ignore[reportArgumentType]


def submit(given: Given, what: SubmissionOptions, options: RunOptions) -> int:
    """Submit a run and, unless it is detached, follow it.

    Returns:
        The exit code.
    """
    return follow(given, _create(given, what, options), options)


def follow(given: Given, created: RunCreated, options: RunOptions) -> int:
    """Say that a run was submitted and, unless it is detached, follow it.

    Returns:
        The exit code.
    """
    for warning in created.warnings:
        say(f"warning: {warning}")
    say(f"run {created.id[-8:]} {created.name} of {created.experiment.name}: {created.url}")
    if options.detach:
        if given.json:
            print_json(created)
        return 0

    from seafloor.cli.exit_codes import code_of_run
    from seafloor.cli.following import RunFollower, follow_with_interrupts
    from seafloor.wire.exit_codes import INTERRUPTED

    ended = follow_with_interrupts(RunFollower(given.client, created, show_log=options.follow))
    if ended is None:
        return INTERRUPTED
    if given.json:
        print_json(ended)
    say(_verdict(ended))
    return code_of_run(ended.state, ended.ending)


def _create(given: Given, what: SubmissionOptions, options: RunOptions) -> RunCreated:
    from seafloor.cli.submissions import make_submission, parse_params, resolve_code
    from seafloor.wire.runs import RunCreate

    submission = make_submission(what)
    params = parse_params(options.params)
    ready = _ServerWhenReady(given)
    code = resolve_code(submission, warn=say, client=ready.client)
    return ready.client().runs.create(
        RunCreate(
            spec=submission.body,
            code=code,
            idempotency_key=os.urandom(16).hex(),
            name=submission.spec.run_name,
            user=user_name(),
            params=params,
        )
    )


def user_name() -> str:
    """Who submits; a container's user need not have a name."""
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return ""


class _ServerWhenReady:
    """The server; one is started when there is none, while the code is looked at."""

    def __init__(self, given: Given) -> None:
        from seafloor.sdk.discovery import find_server

        self._given = given
        self._starting = None
        if find_server(given.settings) is None:
            from seafloor.cli.server_process import ServerOptions, StartingServer

            self._starting = StartingServer(ServerOptions(given.settings.data))

    def client(self) -> Client:
        """Wait until it answers."""
        if self._starting is not None:
            found = self._starting.wait(self._given.settings.token)
            self._starting = None
            say(
                f"No server ran, so one was started at {found.url} (process {found.pid}); "
                "stop it with `seafloor down`."
            )
        return self._given.client


def _verdict(run: RunView) -> str:
    reason = f": {run.ending.reason}" if run.ending is not None and run.ending.reason else ""
    return f"{styled_state(run.state.value)}{reason} {run.url}"
