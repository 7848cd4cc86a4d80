"""Arrays of whatever library, without needing any: who has an array has NumPy."""

from __future__ import annotations

from typing import Any

from seafloor.domain.errors import InvalidValue


def array_of(value: object) -> Any:
    """Make a NumPy array of an array or tensor of any library; None when it is none.

    Raises:
        InvalidValue: it is one that cannot be read.
    """
    found: Any = value
    if not hasattr(found, "__array__"):
        return None
    try:
        import numpy as np

        # A tensor of torch may belong to a gradient, or lie on a device.
        for step in ("detach", "cpu"):
            if hasattr(found, step):
                found = getattr(found, step)()
        return np.asarray(found)
    except (ImportError, TypeError, ValueError, RuntimeError) as error:
        raise InvalidValue(f"This {type(value).__name__} cannot be read: {error}") from error
