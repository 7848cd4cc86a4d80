"""Sort keys: what the orders of a search say of one thing that was found."""

from __future__ import annotations

from collections.abc import Sequence

from seafloor.domain.search import Order

VALUE, NAN, MISSING = 0, 1, 2
"""Ranks: values come first, then NaN, then what is missing, in both directions."""

SortKey = tuple[int, float | int | str | None]
"""What one order says: a rank, and the value that ``VALUE`` has."""
SortKeys = tuple[SortKey, ...]


def compare_sort_keys(orders: Sequence[Order], one: SortKeys, other: SortKeys) -> int:
    """Say which comes first: below zero when ``one`` does, zero when they are equals."""
    for order, mine, its in zip(orders, one, other, strict=True):
        if mine == its:
            continue
        if mine[0] != its[0]:
            return mine[0] - its[0]
        is_less = mine[1] < its[1]  # pyright: ignore[reportOperatorIssue, reportUnknownVariableType]
        return -1 if is_less is not order.descending else 1
    return 0
