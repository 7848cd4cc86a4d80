"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable, Iterable, Sequence
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


_UNSEEN = (*range(0x20), *range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SEEN = {code: repr(chr(code))[1:-1] for code in _UNSEEN}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Args:
        title: Above it.
        align: Numbers stand right.
        wrap: Whether a long text is folded rather than cut.
        whole: Whether it keeps its width in a narrow terminal: what is cut names nothing.
    """

    title: str
    align: Literal["left", "right"] = "left"
    wrap: bool = False
    whole: bool = False


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
        _print_plain(columns, [list(map(plain, row)) for row in rows])
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    lines = [list(map(plain, row)) for row in rows]
    for at, column in enumerate(columns):
        overflow = "fold" if column.wrap else "ellipsis"
        widest = max((len(line[at]) for line in lines), default=0) if column.whole else 0
        table.add_column(
            column.title,
            justify=column.align,
            overflow=overflow,
            no_wrap=not column.wrap,
            # What gives way is the long column, not every title.
            min_width=max(len(column.title), widest),
        )
    for line in lines:
        table.add_row(*(Text(cell, style=STATE_COLOURS.get(cell, "")) for cell in line))
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


def plain(text: str) -> str:
    """A text of somebody else's as one line that a terminal does nothing about.

    Escape sequences, line ends and marks that turn the direction of writing are shown as Python
    writes them: who logs a param may not be who looks at it.

    >>> plain("a\\x1b[2Jb\\nc")
    'a\\\\x1b[2Jb\\\\nc'
    """
    return text if text.isprintable() else text.translate(_SEEN)


class ProgressLine:
    """Tells how far something is: in place on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._in_place = sys.stderr.isatty()
        self._every_s = 0.2 if self._in_place else 10.0
        self._last_s = time.monotonic()

    def tell(self, text: Callable[[], str]) -> None:
        """Tell it, if it is time to."""
        now_s = time.monotonic()
        if now_s - self._last_s < self._every_s:
            return
        self._last_s = now_s
        if self._in_place:
            # A line that the terminal folds cannot be taken back.
            width = shutil.get_terminal_size().columns - 1
            _move(f"\r\033[K{plain(text())[:width]}")
        else:
            say(plain(text()))

    def end(self) -> None:
        """Leave the line."""
        if self._in_place:
            _move("\r\033[K")


def _move(text: str) -> None:
    # What leads back to the beginning of a line is no colour: it is wanted without them, too.
    click.echo(text, nl=False, err=True, color=True)


def styled(text: str, colour: str) -> str:
    """Colour a text; ``click.echo`` takes the colour out where there is no terminal."""
    return click.style(text, fg=colour)


def styled_state(state: str) -> str:
    """Colour the name of a state."""
    return styled(state, STATE_COLOURS.get(state, "white"))
