"""``seafloor config``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from seafloor.cli.groups import LazyGroup
from seafloor.cli.output import Column, print_json, print_table, say
from seafloor.cli.session import Given, json_option, pass_given, server_options

if TYPE_CHECKING:
    from seafloor.sdk.settings import Settings

_HOMES = {"show": ("seafloor.cli.config:show", "Show the settings in effect.")}
_HIDDEN = "(set)"


@click.group(cls=LazyGroup, homes=_HOMES)
def config() -> None:
    """Show the settings in effect."""


@click.command()
@click.option("--origin", is_flag=True, help="Also where each is from.")
@click.option("--url-only", is_flag=True, help="Only the address of the server.")
@server_options
@json_option
@pass_given
def show(given: Given, *, origin: bool, url_only: bool) -> None:
    """Show the settings in effect: of this client, and of the server if it answers."""
    from seafloor.domain.errors import SeafloorError
    from seafloor.sdk.discovery import find_server, require_server

    settings = given.settings
    if url_only:
        click.echo(require_server(settings))
        return
    url = find_server(settings)
    problem = None
    server: dict[str, Any] = {}
    if url is not None:
        try:
            server = given.client.server().settings
        except SeafloorError as error:
            problem = error.message
    if given.json:
        client = {name: {"value": value, "origin": where} for name, value, where in _rows(settings)}
        print_json({"client": client, "server_url": url, "server": server})
        return
    rows = [("client", name, value, where) for name, value, where in _rows(settings)]
    rows += [("server", *row) for row in _server_rows(server)]
    columns = [Column(""), Column("setting"), Column("value", wrap=True)]
    if origin:
        columns.append(Column("from", wrap=True))
    print_table(columns, [row[: len(columns)] for row in rows])
    if url is None:
        say(f"No server runs on {settings.data}.")
    elif problem is not None:
        say(problem)


def _rows(settings: Settings) -> list[tuple[str, str, str]]:
    from seafloor.sdk.settings import VARIABLES

    rows: list[tuple[str, str, str]] = []
    for name in VARIABLES:
        value = getattr(settings, name)
        shown = _HIDDEN if name == "token" and value else _shown(value)
        rows.append((name, shown, settings.origins.get(name, "default")))
    return rows


def _server_rows(settings: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The server's settings, each ``{"value": …, "origin": …}`` as it answers them."""
    rows: list[tuple[str, str, str]] = []
    for name, entry in sorted(settings.items()):
        if isinstance(entry, dict):
            found: dict[str, Any] = entry  # pyright: ignore[reportUnknownVariableType]
            rows.append((name, _shown(found.get("value")), str(found.get("origin", ""))))
        else:
            rows.append((name, _shown(entry), ""))
    return rows


def _shown(value: object) -> str:
    """A value as a file of settings has it."""
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
