"""Writes ``cli.md`` from the commands themselves: ``python docs/reference/make_cli.py``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from seafloor.cli.exit_codes import MEANINGS, RUN_MEANINGS
from seafloor.cli.main import cli

TARGET = Path(__file__).with_name("cli.md")

_HEAD = """\
# The command line

*Made by `python docs/reference/make_cli.py`; a test compares it with the commands.*

`--json` prints one JSON document on standard output and nothing else there; `logs --json` prints
one document a line. Everything that is not the result (progress, what a command is doing, errors)
goes to standard error. Colours are for terminals only.

A RUN is an id, at least four digits of its beginning or end, `@last` for the newest run, or a name
that one run has.

`--url`, `--token`, `--data` and `--json` may stand before or after the command's name. `--data`
names the server that runs on that data folder.

## Exit codes

An error is one line on standard error, `error: …`, with the field and what to do. Its class is
the exit code:

"""

_RUN_CODES = """
`seafloor run` (and `runs retry --follow`) exits as the command did. Where that says nothing:

"""


def make_page() -> str:
    """The whole page."""
    parts = [_HEAD, _codes(MEANINGS), _RUN_CODES, _codes(RUN_MEANINGS)]
    parts.append("| 128 + n | signal n ended the command (137: SIGKILL, also out of memory) |\n")
    for path, command in _commands(cli, ("seafloor",)):
        parts.append(_section(path, command))
    return "".join(parts)


def _codes(meanings: Mapping[int, str]) -> str:
    rows = "".join(f"| {code} | {text} |\n" for code, text in meanings.items())
    return f"| code | meaning |\n|---|---|\n{rows}"


def _commands(
    group: click.Group, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None:
            raise LookupError(name)
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from _commands(command, (*path, name))


def _section(path: tuple[str, ...], command: click.Command) -> str:
    context = click.Context(command, info_name=" ".join(path))
    usage = " ".join([" ".join(path), *command.collect_usage_pieces(context)])
    text = "\n\n".join(_paragraph(part) for part in _paragraphs(command))
    lines = [f"\n## {' '.join(path)}\n\n```\n{usage}\n```\n\n{text}\n"]
    rows = [
        (parameter.opts, parameter.secondary_opts, parameter.make_metavar(context), parameter)
        for parameter in command.params
        if isinstance(parameter, click.Option)
    ]
    if rows:
        lines.append("\n| option | |\n|---|---|\n")
    for opts, others, metavar, option in rows:
        names = ", ".join(f"`{name}`" for name in [*opts, *others])
        value = "" if option.is_flag else f" `{metavar}`"
        repeat = " May be repeated." if option.multiple else ""
        lines.append(f"| {names}{value} | {(option.help or '').replace('|', '/')}{repeat} |\n")
    return "".join(lines)


def _paragraphs(command: click.Command) -> list[str]:
    return [*inspect.cleandoc(command.help or "").split("\n\n"), *filter(None, [command.epilog])]


def _paragraph(text: str) -> str:
    """Keep the lines of what click is told not to fold."""
    if not text.startswith("\b\n"):
        return text
    return "```\n" + text.removeprefix("\b\n") + "\n```"


if __name__ == "__main__":
    TARGET.write_text(make_page(), encoding="utf-8")
    sys.stdout.write(f"{TARGET}\n")
