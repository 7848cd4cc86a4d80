"""What every command shares: the options that name a server, and the client made of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from seafloor.sdk.client import Client
    from seafloor.sdk.settings import Settings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass
class Given:
    """What was given on the command line, before or after the command's name."""

    url: str | None = None
    token: str | None = None
    data: Path | None = None
    json: bool = False

    @cached_property
    def settings(self) -> Settings:
        """The settings in effect: options before variables before defaults.

        Raises:
            InvalidValue: one of them cannot be.
        """
        # Imported when a command needs it: `--help` and usage errors do not.
        from seafloor.sdk.settings import check_url, read_settings

        settings = read_settings()
        origins = dict(settings.origins)
        if self.data is not None:
            # Whoever names a data folder means the server that runs on it.
            settings = replace(settings, data=self.data.expanduser().absolute(), url=None)
            origins |= {"data": "--data", "url": "--data"}
        if self.url is not None:
            settings = replace(settings, url=check_url(self.url, field="--url"))
            origins["url"] = "--url"
        if self.token is not None:
            settings = replace(settings, token=self.token)
            origins["token"] = "--token"  # noqa: S105 - the name of an option
        return replace(settings, origins=origins)

    @cached_property
    def client(self) -> Client:
        """The server.

        Raises:
            StoreUnavailable: none can be found.
        """
        from seafloor.sdk.client import Client
        from seafloor.sdk.discovery import require_server
        from seafloor.sdk.transport import TransportOptions

        return Client(
            require_server(self.settings),
            self.settings.token or "",
            options=TransportOptions(repeat_s=5.0, on_quiet=_say_quiet),
        )


def _say_quiet() -> None:
    from seafloor.cli.output import say
    from seafloor.sdk.transport import TransportOptions

    waited = TransportOptions()
    say(
        f"The server has said nothing for {waited.quiet_s:.0f} s: waiting, for "
        f"{waited.read_s:.0f} s at most. Ctrl-C leaves it."
    )


pass_given = click.make_pass_decorator(Given, ensure=True)


def _keep(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value is not None and value is not False:
        setattr(context.ensure_object(Given), parameter.name or "", value)


def server_options(command: Decorated) -> Decorated:
    """Give a command the options ``--url``, ``--token`` and ``--data``."""
    options = (
        click.option(
            "--url",
            metavar="URL",
            expose_value=False,
            callback=_keep,
            help="Address of the server (SEAFLOOR_URL).",
        ),
        click.option(
            "--token",
            metavar="TOKEN",
            expose_value=False,
            callback=_keep,
            help="Token to present (SEAFLOOR_TOKEN).",
        ),
        data_option,
    )
    for option in reversed(options):
        command = option(command)
    return command


data_option = click.option(
    "--data",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    expose_value=False,
    callback=_keep,
    help="Data folder of the server on this machine (SEAFLOOR_DATA; ~/.seafloor/data).",
)

json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_keep,
    help="Print one JSON document and nothing else.",
)
