"""The command ``seafloor``: its groups, and the edge at which every error becomes one line."""

from __future__ import annotations

import errno
import sys
from contextlib import suppress
from typing import Any, Final

import click

from seafloor import __version__
from seafloor.cli.groups import LazyGroup
from seafloor.cli.session import json_option, server_options

_HOMES = {
    "up": ("seafloor.cli.up:up", "Start the server of this machine."),
    "down": ("seafloor.cli.up:down", "Stop the server of this machine."),
    "run": ("seafloor.cli.run:run", "Run a command, and follow it to its end."),
    "rerun": ("seafloor.cli.rerun:rerun", "Start a run again, as it was or with a change."),
    "reproduce": (
        "seafloor.cli.reproduce:reproduce",
        "Say what of a run can be had again exactly.",
    ),
    "runs": ("seafloor.cli.runs:runs", "List, show, compare, stop, retry, remove runs."),
    "logs": ("seafloor.cli.logs:logs", "Print the log of a run."),
    "metrics": ("seafloor.cli.metrics:metrics", "Print or plot the metrics of a run."),
    "artifacts": ("seafloor.cli.artifacts:artifacts", "List, fetch and keep files of a run."),
    "volume": ("seafloor.cli.volume:volume", "Folders that outlive runs, with snapshots."),
    "env": ("seafloor.cli.env:env", "Create, list, show, remove environments."),
    "localize": ("seafloor.cli.localize:localize", "Put code into a folder, with a receipt."),
    "code": ("seafloor.cli.code:code", "Get and compare the code of runs."),
    "plan": ("seafloor.cli.plan:plan", "Say what a spec would do, and do nothing."),
    "render": ("seafloor.cli.render:render", "Print what a spec is in Kubernetes, as YAML."),
    "open": ("seafloor.cli.open:open_page", "Open the page of a run in a browser."),
    "secret": ("seafloor.cli.secret:secret", "Keep named secrets on the server's machine."),
    "sync": ("seafloor.cli.sync:sync", "Send what was logged while no server could be reached."),
    "export": ("seafloor.cli.export:export", "Write experiments and runs to Parquet files."),
    "import": (
        "seafloor.cli.imports:imports",
        "Bring here what other programs kept, or an export.",
    ),
    "copy": ("seafloor.cli.copy:copy", "Copy a whole installation to another place."),
    "config": ("seafloor.cli.config:config", "Show the settings in effect."),
    "doctor": ("seafloor.cli.doctor:doctor", "Check this machine and the server."),
    "version": ("seafloor.cli.version:version", "Print versions."),
}

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
_EPILOG = "Exit codes and every option: docs/reference/cli.md."


class _Unread(Exception):
    """A broken pipe; click would make an exit with 1 of it."""


class _Commands(LazyGroup):
    def invoke(self, ctx: click.Context) -> Any:
        """Call the command that is meant."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _Unread from error


@click.group(
    cls=_Commands,
    homes=_HOMES,
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@server_options
@json_option
@click.version_option(__version__, message="seafloor %(version)s", help="Print the version.")
def cli() -> None:
    """Seafloor: one home for the code, environments, logs, metrics and files of experiments."""


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: None: those of this process.

    Returns:
        The exit code. Errors are one line on standard error, never a traceback.
    """
    _open_closed()
    try:
        code = cli.main(
            args=arguments, prog_name="seafloor", standalone_mode=False, color=_colour()
        )
        sys.stdout.flush()
    except click.ClickException as error:
        return _usage(error)
    except (KeyboardInterrupt, click.Abort):
        _tell("")
        return 130
    except (_Unread, BrokenPipeError):
        # Whoever read has enough (`seafloor logs … | head`).
        _mute_stdout()
        return 0
    except Exception as error:  # noqa: BLE001 - the CLI's edge
        if isinstance(error, OSError) and error.filename is None and error.errno in _NO_ROOM:
            return _full(error)
        return _failure(error)
    return code if isinstance(code, int) else 0


def _colour() -> bool | None:
    """Whether there are colours; None: where there is a terminal. See https://no-color.org."""
    import os

    return False if os.environ.get("NO_COLOR") else None  # noqa: TID251 - of every program


def _open_closed() -> None:
    """Give what is printed a place where whoever called closed its own (``>&-``)."""
    import os

    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - then it is
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as long as this
    if sys.stderr is None:  # pyright: ignore[reportUnnecessaryComparison]
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115


def _full(error: OSError) -> int:
    """Say that what was printed, or is kept meanwhile, found no room."""
    from seafloor.wire.exit_codes import STORE

    _mute_stdout()
    said = f"What the command prints or keeps could not be written: {error.strerror}."
    _tell(f"error: {said} Make room, or print to another place.")
    return STORE


def _usage(error: click.ClickException) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):  # a group without a command
        _tell(error.format_message())
        return 2
    text = " ".join(error.format_message().split())
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f" See `{error.ctx.command_path} --help`."
    _tell(f"error: {text}{hint}")
    return 2


def _failure(error: Exception) -> int:
    from seafloor.cli.output import plain
    from seafloor.domain.errors import SeafloorError
    from seafloor.wire.exit_codes import BUG, code_of_error

    if isinstance(error, SeafloorError):
        where = f"{error.field}: " if error.field and error.field not in error.message else ""
        _tell(f"error: {where}{plain(' '.join(error.message.split()))}")
        return code_of_error(error)
    from seafloor.sdk.crashes import keep_details

    _tell(f"error: {keep_details(error)}")
    return BUG


def _tell(text: str) -> None:
    """Say it on standard error; where that takes nothing, the exit code says it alone."""
    with suppress(OSError):
        click.echo(text, err=True)


def _mute_stdout() -> None:
    # The interpreter flushes once more when it ends, and would complain.
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
