"""Times, sizes and numbers as people read them."""

from __future__ import annotations

import datetime as dt
import time


def shown_duration(seconds: float | None) -> str:
    """Show a duration.

    >>> shown_duration(0.25), shown_duration(75), shown_duration(7260), shown_duration(None)
    ('0.2s', '1m15s', '2h01m', '')
    """
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"


def shown_age(time_ns: int | None) -> str:
    """Show how long ago something was."""
    if time_ns is None:
        return ""
    return f"{shown_duration(max(0.0, (time.time_ns() - time_ns) / 1e9))} ago"


def shown_time(time_ns: int | None) -> str:
    """Show a time in the user's zone, to the second."""
    if time_ns is None:
        return ""
    moment = dt.datetime.fromtimestamp(time_ns / 1e9, tz=dt.UTC).astimezone()
    return moment.isoformat(sep=" ", timespec="seconds")


def shown_size(size_bytes: int) -> str:
    """Show a size.

    >>> shown_size(999), shown_size(1_500_000)
    ('999 B', '1.4 MiB')
    """
    if size_bytes < 1024:
        return f"{size_bytes} B"
    size = float(size_bytes)
    for unit in ("KiB", "MiB", "GiB"):
        size /= 1024
        if size < 1024:
            return f"{size:.1f} {unit}"
    return f"{size / 1024:.1f} TiB"


def shown_number(value: float | str | None) -> str:
    """Show a number that came by JSON: six digits, ``NaN`` and infinities as texts.

    >>> shown_number(0.123456789), shown_number("NaN"), shown_number(None)
    ('0.123457', 'NaN', '')
    """
    if value is None:
        return ""
    return value if isinstance(value, str) else f"{value:.6g}"
