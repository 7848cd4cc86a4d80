"""``python -m seafloor.boot up|config``: what the CLI starts."""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import sys
from pathlib import Path

from seafloor.boot.settings import Settings, environment, load
from seafloor.domain.errors import (
    Conflict,
    Forbidden,
    InvalidValue,
    SeafloorError,
    StoreError,
    StoreUnavailable,
)

# The first class that fits counts. The same codes as those of the CLI (docs/reference/cli.md).
_EXIT_CODES: tuple[tuple[type[SeafloorError], int], ...] = (
    (InvalidValue, 2),
    (Conflict, 4),
    (StoreUnavailable, 5),
    (Forbidden, 7),
    (StoreError, 8),
)
_EXIT_FAILED = 1


def main(arguments: list[str] | None = None) -> int:
    """Run a command; errors are one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m seafloor.boot", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="run the server until SIGTERM or SIGINT")
    config = commands.add_parser("config", help="print the settings in effect as JSON")
    for command in (up, config):
        command.add_argument("--data", type=Path)
        command.add_argument("--host")
        command.add_argument("--port", type=int)
    given = parser.parse_args(arguments)
    try:
        settings = load(
            data_dir=given.data,
            flags={"server.host": given.host, "server.port": given.port},
            variables=environment(),
        )
        if given.command == "config":
            json.dump(settings.shown(), sys.stdout, indent=2)
            sys.stdout.write("\n")
        else:
            _up(settings, port_given="server.port" in settings.origins)
    except SeafloorError as error:
        # The log may be on a disk that is full; the exit code says it all the same.
        with contextlib.suppress(OSError):
            os.write(sys.stderr.fileno(), f"error: {error.message}\n".encode())
        return _exit_code(error)
    return 0


def _up(settings: Settings, *, port_given: bool) -> None:
    # What a start makes lives as long as the server: looking through it again and again for what
    # could be thrown away takes a fifth of the start. `serve` turns this on again.
    gc.disable()
    # Imported late: `config` must answer at once, and a missing server extra be told in one line.
    try:
        from seafloor.boot.serve import configure_logs, serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("seafloor"):
            raise
        raise InvalidValue(
            f"The server's packages are not installed ({error.name}): "
            "run `pip install 'seafloor[server]'`."
        ) from error
    configure_logs(settings.server.log_level)
    serve(settings, port_given=port_given)


def _exit_code(error: SeafloorError) -> int:
    found = (code for cls, code in _EXIT_CODES if isinstance(error, cls))
    return next(found, _EXIT_FAILED)


if __name__ == "__main__":
    sys.exit(main())
