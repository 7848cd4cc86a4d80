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
_NUMBER = r"([0-9]{1,20}(?:\.[0-9]{1,20})?)"
_CPU = re.compile(rf"{_NUMBER}(m?)\Z")
_MEMORY = re.compile(rf"{_NUMBER}([A-Za-z]*)\Z")
_DURATION_PART = re.compile(rf"{_NUMBER}([a-z]*)")
CPU_MAX = 1_000_000
MEMORY_BYTES_MAX = 2**63 - 1
DURATION_S_MAX = 10 * 365 * 86400.0


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
        near = _near_unit(found.group(2)) if found else ""
        raise InvalidValue(
            f'"{_cut(text)}" is not an amount of memory: write bytes, or "512Mi", "20Gi".{near}',
            field=field,
        )
    size_bytes = int(float(found.group(1)) * factor)
    if not 1 <= size_bytes <= MEMORY_BYTES_MAX:
        raise InvalidValue(
            f'"{_cut(text)}" must be more than 0 and at most {MEMORY_BYTES_MAX} bytes.',
            field=field,
        )
    return size_bytes


def _near_unit(unit: str) -> str:
    """Say which unit was meant by ``GB``, ``gib``, ``mi``: nobody means another one."""
    short = unit.lower().removesuffix("b")
    meant = next((known for known in _MEMORY_UNITS if known and known.lower() == short), None)
    return f' The unit "{unit}" is written "{meant}".' if meant else ""


def parse_cpu(text: str | float, *, field: str) -> float:
    """Read a number of processors: ``3``, ``0.5`` or ``"500m"``.

    Raises:
        InvalidValue: it is not one, or not more than 0.
    """
    found = _CPU.match(str(text).strip())
    if found is None:
        raise InvalidValue(
            f'"{_cut(text)}" is not a number of processors: write 3, 0.5 or "500m".', field=field
        )
    cpu = float(found.group(1)) / (1000 if found.group(2) else 1)
    if not 0 < cpu <= CPU_MAX:
        raise InvalidValue(
            f'"{_cut(text)}": a number of processors is more than 0 and at most {CPU_MAX}.',
            field=field,
        )
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
            f'"{_cut(text)}" is not a duration: write seconds or "30m", "1h30m", "2d".', field=field
        )
    if not 0 < total_s <= DURATION_S_MAX:
        raise InvalidValue(
            f'"{_cut(text)}" must be more than 0 and at most 3650d (ten years).', field=field
        )
    return total_s


def _cut(text: object) -> str:
    shown = str(text)
    return shown if len(shown) <= 40 else shown[:39] + "…"


def shown_count(count: int, what: str) -> str:
    """Show how many there are of something that takes an s.

    >>> shown_count(1, "run"), shown_count(1200, "run")
    ('1 run', '1,200 runs')
    """
    return f"{count:,} {what}{'' if count == 1 else 's'}"
