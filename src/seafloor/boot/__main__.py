"""``python -m seafloor.boot up|config|check|copy|localize|…``: what the CLI starts."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import sys
from collections.abc import Generator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import msgspec

from seafloor.boot.settings import Settings, environment, load
from seafloor.domain.errors import InvalidValue, SeafloorError
from seafloor.wire.exit_codes import BUG, INTERRUPTED, code_of_error

if TYPE_CHECKING:
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]  # it has no other name


def main(arguments: list[str] | None = None) -> int:
    """Run a command; errors are one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m seafloor.boot", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the server until SIGTERM or SIGINT")
    config = commands.add_parser("config", help="print the settings in effect as JSON")
    check = commands.add_parser("check", help="try the stores end to end; findings as JSON")
    check.add_argument("--code", action="store_true", help="try what tasks need instead")
    for command in (up, config, check):
        command.add_argument("--data", type=Path)
        command.add_argument("--host")
        command.add_argument("--port", type=int)
        command.add_argument("--metadata", metavar="URL")
        command.add_argument("--objects", metavar="URL")
    _add_copy(commands)
    _add_localize(commands)
    fetch = commands.add_parser("fetch-environment", help="put a stored environment into a folder")
    fetch.add_argument("--digest", required=True)
    fetch.add_argument("--to", type=Path, required=True)
    _add_render(commands)
    _add_secret(commands)
    given = parser.parse_args(arguments)
    try:
        if given.command in _ALONE:
            _ALONE[given.command](given)
        else:
            _of_server(given)
    except SeafloorError as error:
        # The log may be on a disk that is full; the exit code says it all the same.
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), _line(f"error: {error.message}"))
        return code_of_error(error)
    except KeyboardInterrupt:
        if given.command == "copy":
            sys.stderr.write("Interrupted: the same command goes on where it stopped.\n")
        return INTERRUPTED
    except Exception as error:
        if given.command == "up":  # its log is where a server's details are looked for
            raise
        return _bug(error)
    return 0


def _line(text: str) -> bytes:
    # What a user names need not be UTF-8.
    return f"{text}\n".encode("utf-8", "backslashreplace")


def _bug(error: Exception) -> int:
    from seafloor.sdk.crashes import keep_details

    with contextlib.suppress(OSError):
        os.write(sys.stderr.fileno(), _line(f"error: {keep_details(error)}"))
    return BUG


def _of_server(given: argparse.Namespace) -> None:
    """Run a command that needs the settings of a server."""
    settings = load(
        data_dir=given.data,
        flags={
            "server.host": given.host,
            "server.port": given.port,
            "stores.metadata": given.metadata,
            "stores.objects": given.objects,
        },
        variables=environment(),
    )
    if given.command == "config":
        json.dump(settings.shown(), sys.stdout, indent=2)
        sys.stdout.write("\n")
    elif given.command == "check":
        _check(settings, code=given.code)
    else:
        _up(settings, port_given="server.port" in settings.origins)


def _add_copy(commands: _Commands) -> None:
    copy = commands.add_parser("copy", help="copy an installation to another place")
    copy.add_argument("--from", dest="source", type=Path, required=True)
    copy.add_argument("--to", dest="target", type=Path, required=True)
    copy.add_argument("--metadata", metavar="URL")
    copy.add_argument("--objects", metavar="URL")
    copy.add_argument("--skip-damaged", action="store_true")
    copy.add_argument("--json", action="store_true")


def _add_localize(commands: _Commands) -> None:
    localize = commands.add_parser("localize", help="put code into a folder, with a receipt")
    localize.add_argument("source")
    localize.add_argument("--to", type=Path, required=True)
    localize.add_argument("--cache", type=Path, required=True)
    localize.add_argument("--name")
    localize.add_argument("--sha256")
    localize.add_argument("--etag")
    localize.add_argument("--strip-components", type=int, default=0)
    localize.add_argument("--secret")
    localize.add_argument("--secret-for", action="append", default=[])
    localize.add_argument("--json", action="store_true")


def _localize(given: argparse.Namespace) -> None:
    with _server_packages():
        from seafloor.boot.localize import LocalizeCommand, run
        from seafloor.domain.specs import parse_secrets_for

        run(
            LocalizeCommand(
                source=given.source,
                to=given.to,
                cache=given.cache,
                sha256=given.sha256,
                etag=given.etag,
                name=given.name,
                strip_components=given.strip_components,
                secret=given.secret,
                secrets=parse_secrets_for(given.secret_for),
                json=given.json,
            ),
            environment(),
        )


def _add_render(commands: _Commands) -> None:
    render = commands.add_parser("render", help="print a workload's manifests; it stands on stdin")
    render.add_argument("--policy", type=Path)
    render.add_argument("--namespace")
    render.add_argument("--owner-uid")
    render.add_argument("--json", action="store_true")
    render.add_argument("--summary", action="store_true")


def _render(given: argparse.Namespace) -> None:
    from seafloor.boot.render import RenderCommand, run

    command = RenderCommand(
        given.policy, given.namespace, given.owner_uid, given.json, given.summary
    )
    run(command, sys.stdin.buffer.read())


def _fetch_environment(given: argparse.Namespace) -> None:
    with _server_packages():
        from seafloor.boot.environment import FetchCommand, run
    run(FetchCommand(given.digest, given.to))


def _copy(given: argparse.Namespace) -> None:
    with _server_packages():
        from seafloor.boot.copy import CopyCommand, copy
    copy(
        CopyCommand(
            source=given.source,
            target=given.target,
            metadata=given.metadata,
            objects=given.objects,
            skip_damaged=given.skip_damaged,
            json=given.json,
        )
    )


def _add_secret(commands: _Commands) -> None:
    secret = commands.add_parser("secret", help="keep named secrets")
    secret.add_argument("--data", type=Path, required=True)
    verbs = secret.add_subparsers(dest="verb", required=True)
    for verb in ("set", "rm"):
        command = verbs.add_parser(verb)
        command.add_argument("name")
        command.add_argument("key", nargs=None if verb == "set" else "?")
    verbs.add_parser("list").add_argument("--json", action="store_true")


def _secret(given: argparse.Namespace) -> None:
    with _server_packages():
        from seafloor.boot.secrets import SecretCommand, run
    said = {name: getattr(given, name, None) for name in ("name", "key")}
    run(
        SecretCommand(
            data=given.data,
            verb=given.verb,
            name=said["name"] or "",
            key=said["key"],
            json=getattr(given, "json", False),
        )
    )


_ALONE = {
    "copy": _copy,
    "fetch-environment": _fetch_environment,
    "localize": _localize,
    "render": _render,
    "secret": _secret,
}
"""Commands that need no settings of a server."""


def _check(settings: Settings, *, code: bool) -> None:
    with _server_packages():
        from seafloor.boot.code_checks import check_code
        from seafloor.boot.examine import examine
        from seafloor.boot.kept_checks import check_kept
        from seafloor.boot.stranger_checks import check_strangers
    if code:
        left = [*check_kept(settings), *asyncio.run(check_strangers(settings))]
        found = [*check_code(settings), *left]
    else:
        found = asyncio.run(examine(settings, environment()))
    sys.stdout.write(msgspec.json.encode(found).decode() + "\n")


def _up(settings: Settings, *, port_given: bool) -> None:
    # What a start makes lives as long as the server: looking through it again and again for what
    # could be thrown away takes a fifth of the start. `serve` turns this on again.
    gc.disable()
    server = _load_server()
    access_log = server.configure_logs(settings.server.log_level)
    server.serve(settings, port_given=port_given, access_log=access_log)


def _load_server() -> ModuleType:
    with _server_packages(), _without_rich():
        from seafloor.boot import serve
    return serve


@contextlib.contextmanager
def _server_packages() -> Generator[None]:
    """Imports within are late: `config` must answer at once, and a missing extra be one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("seafloor"):
            raise
        raise InvalidValue(
            f"The server's packages are not installed ({error.name}): "
            "run `pip install 'seafloor[server]'`."
        ) from error


@contextlib.contextmanager
def _without_rich() -> Generator[None]:
    """Imports within find no rich: a tenth of the server's start, for what it never draws.

    structlog imports it where it is installed, for tracebacks on a terminal.
    """
    if "rich" in sys.modules:
        yield
        return
    # What stands here as None is not there for ``import``.
    sys.modules["rich"] = None  # pyright: ignore[reportArgumentType]
    try:
        yield
    finally:
        del sys.modules["rich"]


if __name__ == "__main__":
    sys.exit(main())
