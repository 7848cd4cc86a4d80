"""Numbers on the wire: JSON has no NaN and no infinities, and values must arrive as they were.

They travel as the texts ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, as in MLflow's API.
"""

from __future__ import annotations

import math

from seafloor.domain.errors import InvalidValue

WireNumber = float | str
"""A finite float, or one of the three texts."""

SPECIAL_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def number_out(value: float) -> WireNumber:
    """Make a float fit for JSON.

    >>> number_out(1.5), number_out(float("-inf"))
    (1.5, '-Infinity')
    """
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def number_in(value: float | str, *, field: str = "value") -> float:
    """Read a float that came by JSON.

    Raises:
        InvalidValue: a text other than the three.

    >>> number_in("Infinity")
    inf
    """
    if isinstance(value, str):
        found = SPECIAL_NUMBERS.get(value)
        if found is None:
            raise InvalidValue(
                f'"{value[:40]}" is not a number: send a number, "NaN", "Infinity" or "-Infinity".',
                field=field,
            )
        return found
    return float(value)
