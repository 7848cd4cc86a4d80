"""``seafloor open``."""

from __future__ import annotations

import webbrowser

import click

from seafloor.cli.output import print_json, say
from seafloor.cli.session import Given, json_option, pass_given, server_options


@click.command("open")
@click.argument("run", metavar="[RUN]", required=False)
@server_options
@json_option
@pass_given
def open_page(given: Given, run: str | None) -> None:
    """Open the page of a run, or of the server, in a browser, and print its address."""
    from seafloor.cli.references import find_run

    client = given.client
    url = client.url if run is None else find_run(client, run).url
    opened = webbrowser.open(url)
    if given.json:
        print_json({"url": url, "opened": opened})
        return
    click.echo(url)
    if not opened:
        say("No browser could be opened here: open the address yourself.")
