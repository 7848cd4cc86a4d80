"""Line plots in the terminal."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from typing import Any, Final

from seafloor.wire.metrics import BucketOut
from seafloor.wire.numbers import WireNumber, number_in

_HEIGHT: Final = 14
_WIDTH_MAX: Final = 120
_WIDTH_MIN: Final = 30
_AXIS_WIDTH: Final = 10


@dataclass(frozen=True)
class Outline:
    """What is drawn of a series.

    Args:
        steps, values: Of the points of the line, in order.
        left_out: How many points are not numbers that can be drawn.
    """

    steps: list[float]
    values: list[float]
    left_out: int


def plot_width() -> int:
    """Columns that a plot takes."""
    return max(_WIDTH_MIN, min(_WIDTH_MAX, shutil.get_terminal_size().columns))


def buckets_for_width(width: int) -> int:
    """Into how many buckets a series goes: two dots stand side by side in a character."""
    return 2 * (width - _AXIS_WIDTH)


def outline_of(buckets: Sequence[BucketOut]) -> Outline:
    """Make a line that goes through the first, least, greatest and last value of each bucket.

    >>> outline_of([BucketOut(0, 2, 0, 0, 1.0, 2.0, 0.5, 3.0, 3, 0)])
    Outline(steps=[0, 1.0, 1.0, 2], values=[1.0, 0.5, 3.0, 2.0], left_out=0)
    """
    steps: list[float] = []
    values: list[float] = []
    left_out = 0
    for bucket in buckets:
        left_out += bucket.nans
        middle = (bucket.step_first + bucket.step_last) / 2
        corners: tuple[tuple[float, WireNumber | None], ...] = (
            (bucket.step_first, bucket.first),
            (middle, bucket.min),
            (middle, bucket.max),
            (bucket.step_last, bucket.last),
        )
        for step, value in corners if bucket.points > 1 else corners[:1]:
            number = None if value is None else number_in(value)
            if number is not None and abs(number) < float("inf"):
                steps.append(step)
                values.append(number)
    return Outline(steps, values, left_out)


def draw(title: str, outline: Outline, *, width: int) -> str:
    """Draw a line; with colours, which ``click.echo`` takes out where there is no terminal."""
    # Imported here: it takes longer than all the rest of a command.
    import plotext  # pyright: ignore[reportMissingTypeStubs]

    figure: Any = plotext.figure  # it has no types
    figure.clear()
    signal = figure.signal(outline.steps, outline.values, marker="braille")
    figure.draw(signal.lines())
    figure.plot_size(width, _HEIGHT)
    figure.title(title)
    # Of values that no axis can tell apart, it says on standard error that they are one spot: as
    # the plot shows.
    with redirect_stderr(io.StringIO()):
        drawn = str(figure.build())
    figure.clear()
    return drawn.rstrip("\n")
