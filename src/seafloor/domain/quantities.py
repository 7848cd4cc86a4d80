"""Quantities that users write: memory, processors, durations."""

from __future__ import annotations

import re

from seafloor.domain.errors import InvalidValue

_MEMORY_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_DURATION_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([A-Za-z]*)\Z")
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)([a-z]*)")


def parse_memory(text: str | int, *, field: str) -> int:
    """Read an amount of memory, in the notation of Kubernetes.

    Returns:
        Bytes, >= 1.

    Raises:
        InvalidValue: it is not one.

    >>> parse_memory("20Gi", field="memory")
    21474836480
    """
    found = _MEMORY.match(str(text).strip())
    factor = _MEMORY_UNITS.get(found.group(2)) if found else None
    if found is None or factor is None:
        raise InvalidValue(
            f'"{text}" is not an amount of memory: write bytes, or "512Mi", "20Gi".',
            field=field,
        )
    size_bytes = int(float(found.group(1)) * factor)
    if size_bytes < 1:
        raise InvalidValue("An amount of memory must be more than 0.", field=field)
    return size_bytes


def parse_cpu(text: str | float, *, field: str) -> float:
    """Read a number of processors: ``3``, ``0.5`` or ``"500m"``.

    Raises:
        InvalidValue: it is not one, or not more than 0.
    """
    shown = str(text).strip()
    try:
        cpu = float(shown[:-1]) / 1000 if shown.endswith("m") else float(shown)
    except ValueError as error:
        raise InvalidValue(
            f'"{text}" is not a number of processors: write 3, 0.5 or "500m".', field=field
        ) from error
    if not 0 < cpu < 1e6:
        raise InvalidValue("A number of processors must be more than 0.", field=field)
    return cpu


def parse_duration(text: str | float, *, field: str) -> float:
    """Read a duration: seconds, or ``30m``, ``1h30m``, ``2d``.

    Returns:
        Seconds, > 0.

    Raises:
        InvalidValue: it is not one.

    >>> parse_duration("1h30m", field="timeout")
    5400.0
    """
    shown = str(text).strip()
    total_s, end = 0.0, 0
    for part in _DURATION_PART.finditer(shown):
        factor = _DURATION_UNITS.get(part.group(2))
        if part.start() != end or factor is None:
            break
        total_s += float(part.group(1)) * factor
        end = part.end()
    if not shown or end != len(shown):
        raise InvalidValue(
            f'"{text}" is not a duration: write seconds or "30m", "1h30m", "2d".', field=field
        )
    if total_s <= 0:
        raise InvalidValue("A duration must be more than 0.", field=field)
    return total_s
