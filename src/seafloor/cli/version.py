"""``seafloor version``."""

from __future__ import annotations

import platform

import click

from seafloor import __version__
from seafloor.cli.output import print_json
from seafloor.cli.session import Given, json_option, pass_given, server_options


@click.command()
@server_options
@json_option
@pass_given
def version(given: Given) -> None:
    """Print the versions of this program, of Python, and of the server if there is one."""
    from seafloor.domain.errors import SeafloorError

    try:
        server = given.client.server().version
    except SeafloorError:
        server = None
    if given.json:
        print_json({"seafloor": __version__, "python": platform.python_version(), "server": server})
        return
    click.echo(f"seafloor {__version__} (python {platform.python_version()})")
    if server is not None:
        click.echo(f"server   {server} at {given.client.url}")
