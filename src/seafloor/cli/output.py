"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import click

if TYPE_CHECKING:
    from rich.console import Console

STATE_COLOURS = {
    "queued": "yellow",
    "preparing": "yellow",
    "running": "cyan",
    "stopping": "yellow",
    "succeeded": "green",
    "failed": "red",
    "stopped": "magenta",
    "lost": "red",
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        title: Above it.
        align: Numbers stand right.
        wrap: Whether a long text is folded rather than cut.
    """

    title: str
    align: Literal["left", "right"] = "left"
    wrap: bool = False


def console() -> Console:
    """Standard output; without colours unless it is a terminal."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """Print one JSON document on one line."""
    import msgspec

    click.echo(msgspec.json.encode(value))


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; in a pipe one line a row with all of every cell."""
    from rich.table import Table
    from rich.text import Text

    if not sys.stdout.isatty():
        _print_plain(columns, [list(row) for row in rows])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        overflow = "fold" if column.wrap else "ellipsis"
        table.add_column(
            column.title,
            justify=column.align,
            overflow=overflow,
            no_wrap=not column.wrap,
            min_width=len(column.title),  # what gives way is the long column, not every title
        )
    for row in rows:
        table.add_row(*(Text(cell, style=STATE_COLOURS.get(cell, "")) for cell in row))
    console().print(table)


def _print_plain(columns: Sequence[Column], rows: list[list[str]]) -> None:
    lines = [[column.title for column in columns], *rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if column.align == "right" else cell.ljust(width)
            for cell, width, column in zip(line, widths, columns, strict=True)
        ]
        click.echo("  ".join(cells).rstrip())


def say(text: str) -> None:
    """Tell the user something that is not the result."""
    click.echo(text, err=True)


def styled(text: str, colour: str) -> str:
    """Colour a text; ``click.echo`` takes the colour out where there is no terminal."""
    return click.style(text, fg=colour)


def styled_state(state: str) -> str:
    """Colour the name of a state."""
    return styled(state, STATE_COLOURS.get(state, "white"))
