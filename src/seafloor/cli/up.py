"""``seafloor up`` and ``seafloor down``."""

from __future__ import annotations

import os
import sys

import click

from seafloor.cli.output import print_json, say
from seafloor.cli.session import Given, data_option, json_option, pass_given


@click.command()
@data_option
@click.option("--host", metavar="H", help="Address; any but loopback needs a token.")
@click.option("--port", metavar="N", type=click.IntRange(0, 65535), help="Port; 0: a free one.")
@click.option("--metadata", metavar="URL", help="Database; default: SQLite in the data folder.")
@click.option("--objects", metavar="URL", help="Object store; default: in the data folder.")
@click.option("--detach", "-d", is_flag=True, help="Start it in the background and return.")
@json_option
@pass_given
def up(
    given: Given,
    host: str | None,
    port: int | None,
    metadata: str | None,
    objects: str | None,
    *,
    detach: bool,
) -> None:
    """Start the server of this machine.

    Without --port it listens where it did last, else on 7340, else on a free port. What it keeps
    is in its data folder, which one server at a time has open, unless a database and an object
    store are named: postgresql://…, mariadb://…; s3://…, gs://…, az://…, abfs://…, hdfs://….
    To have them for good, write them into [stores] of seafloor.toml in the data folder.
    """
    from seafloor.cli.ports import check_port_is_free
    from seafloor.cli.server_process import ServerOptions, StartingServer, running_server
    from seafloor.sdk.discovery import ServerFile

    _refuse_url(given)
    settings = given.settings
    options = ServerOptions(settings.data, host, port, metadata, objects)
    if not detach:
        check_port_is_free(host, port)
        os.execv(sys.executable, options.command())  # noqa: S606 - the server takes our place

    found: ServerFile | None = running_server(settings.data, settings.token)
    if found is not None:
        say(f"The server runs already (process {found.pid}).")
    else:
        check_port_is_free(host, port)
        found = StartingServer(options).wait(settings.token)
        say(f"The server runs in the background (process {found.pid}); `seafloor down` ends it.")
    if given.json:
        print_json(found)
    else:
        click.echo(found.url)


@click.command()
@data_option
@json_option
@pass_given
def down(given: Given) -> None:
    """Stop the server of this machine.

    Runs go on: they keep what they print and log, and deliver it when the server is up again.
    """
    from seafloor.cli.server_process import stop_server

    _refuse_url(given)
    stopped = stop_server(given.settings.data)
    if given.json:
        print_json({"stopped": stopped})
    elif stopped is None:
        say(f"No server runs on {given.settings.data}.")
    else:
        say(f"The server (process {stopped.pid}) has ended. Runs go on without it.")


def _refuse_url(given: Given) -> None:
    """Refuse the address of a server: it may be another than that of this machine."""
    if given.url is not None:
        raise click.UsageError(
            "This command is for the server of this machine, which --data names: leave --url out."
        )
