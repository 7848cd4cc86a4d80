"""``seafloor secret``: named secrets on the server's machine."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import click

from seafloor.cli.groups import LazyGroup
from seafloor.cli.session import Given, json_option, pass_given, server_options

_HOMES = {
    "set": ("seafloor.cli.secret:set_value", "Set one value, read from standard input or a file."),
    "list": ("seafloor.cli.secret:list_secrets", "List names and keys, never a value."),
    "rm": ("seafloor.cli.secret:remove", "Remove a secret, or one key of it."),
}


@click.group(cls=LazyGroup, homes=_HOMES)
def secret() -> None:
    """Keep named secrets on the server's machine, in its data folder.

    A spec names a secret (`code: {url: …, secret: forge}`) and never holds its values. For git the
    keys are hosts (which hosts may have it, between spaces), token or username and password,
    ssh-privatekey and known_hosts, ca.crt.
    """


@click.command("set")
@click.argument("name", metavar="NAME")
@click.argument("key", metavar="KEY")
@click.option(
    "--from-file",
    "source",
    metavar="FILE",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="Take its content.",
)
@server_options
@pass_given
def set_value(given: Given, name: str, key: str, source: Path | None) -> int:
    """Set one value, read from standard input or a file.

    \b
    echo github.com | seafloor secret set forge hosts
    seafloor secret set forge token                       asks for it, and shows nothing
    seafloor secret set forge ssh-privatekey --from-file ~/.ssh/deploy

    A value is never an argument: every process of the machine could read it there.
    """
    command = [*_command(given), "set", name, key]
    if source is None and sys.stdin.isatty():
        value = click.prompt(f"{name}/{key}", hide_input=True, err=True).encode()
        return subprocess.run(command, input=value, check=False).returncode
    # Handed on unread: who keeps it takes as much as a value may have, and no more.
    with nullcontext(sys.stdin.buffer) if source is None else source.open("rb") as stream:
        return subprocess.run(command, stdin=stream, check=False).returncode


@click.command("list")
@server_options
@json_option
@pass_given
def list_secrets(given: Given) -> None:
    """List names and keys, never a value."""
    _become(given, "list", *(["--json"] if given.json else []))


@click.command("rm")
@click.argument("name", metavar="NAME")
@click.argument("key", metavar="KEY", required=False)
@server_options
@pass_given
def remove(given: Given, name: str, key: str | None) -> None:
    """Remove a secret, or one key of it."""
    _become(given, "rm", name, *([] if key is None else [key]))


def _command(given: Given) -> list[str]:
    data = str(given.settings.data)
    return [sys.executable, "-m", "seafloor.boot", "secret", "--data", data]


def _become(given: Given, *arguments: str) -> None:
    os.execv(sys.executable, [*_command(given), *arguments])  # noqa: S606 - what may read them takes our place
