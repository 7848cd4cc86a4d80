"""Searches that are evaluated here: over experiments and logged models, of which there are few."""

from __future__ import annotations

import base64
import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import TypeVar, cast

import msgspec

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.search import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Identifier,
    Not,
    Operator,
    Order,
)
from seafloor.stores.metadata.comparisons import ORDERS_MAX
from seafloor.stores.metadata.sort_keys import (
    MISSING,
    NAN,
    VALUE,
    SortKey,
    SortKeys,
    compare_sort_keys,
)

Value = float | int | str | None

_T = TypeVar("_T")


class _Token(msgspec.Struct, frozen=True, array_like=True):
    """Where a page ended, and a digest of that and of the search that it is of."""

    digest: bytes
    keys: SortKeys


def page_of(
    items: Iterable[_T],
    orders: Sequence[Order],
    value_of: Callable[[_T, Identifier], Value],
    *,
    limit: int,
    token: str,
    asked: object,
) -> tuple[list[_T], str | None]:
    """Put items in order: values, then NaN, then missing, in both directions; and cut a page.

    Args:
        items: All that are found.
        orders: The last one tells every two items apart.
        value_of: What an item has.
        token: Of the page before, or empty.
        asked: What the items are searched by; a token is good for this only.

    Returns:
        The page, and the token of the next one if there is one.

    Raises:
        InvalidValue: the token is not of this search, or was changed.
        LimitExceeded: too many orders, each of which would be in the token.
    """
    if len(orders) > ORDERS_MAX:
        raise LimitExceeded(f"A search orders by at most {ORDERS_MAX} keys.", field="order_by")
    search = repr((asked, orders)).encode()
    compare = functools.cmp_to_key(functools.partial(compare_sort_keys, orders))
    keyed = [(tuple(_key(value_of(item, order.by)) for order in orders), item) for item in items]
    keyed.sort(key=lambda one: compare(one[0]))
    if token:
        after = compare(_read(token, search))
        keyed = [one for one in keyed if compare(one[0]) > after]
    page = keyed[:limit]
    following = None
    if len(keyed) > limit:
        keys = page[-1][0]
        document = msgspec.msgpack.encode(_Token(_digest(search, keys), keys))
        following = base64.urlsafe_b64encode(document).decode()
    return [item for _, item in page], following


def _digest(search: bytes, keys: SortKeys) -> bytes:
    """Name a search and a place in it: keys that were changed may be none that it can compare."""
    return hashlib.sha256(search + msgspec.msgpack.encode(keys)).digest()[:12]


def _read(token: str, search: bytes) -> SortKeys:
    try:
        document = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        found = msgspec.msgpack.decode(document, type=_Token)
    except ValueError as error:  # msgspec's and base64's errors too
        message = "Invalid page token, could not base64-decode"
        raise InvalidValue(message, field="page_token") from error
    if found.digest != _digest(search, found.keys):
        raise InvalidValue(
            "Invalid page token: it is of another filter or order.", field="page_token"
        )
    return found.keys


def _key(value: Value) -> SortKey:
    if value is None:
        return (MISSING, None)
    if isinstance(value, float) and math.isnan(value):
        return (NAN, None)
    return (VALUE, value)


def matches(found: Filter | None, look_up: Callable[[Identifier], Value]) -> bool:
    """Say whether a filter holds; a missing value matches nothing but IS NULL."""
    if found is None:
        return True
    if isinstance(found, AllOf):
        return all(matches(part, look_up) for part in found.parts)
    if isinstance(found, AnyOf):
        return any(matches(part, look_up) for part in found.parts)
    if isinstance(found, Not):
        return not matches(found.part, look_up)
    return _holds(found, look_up(found.left))


def _holds(comparison: Comparison, value: Value) -> bool:
    operator, wanted = comparison.operator, comparison.value
    if operator is Operator.IS_NULL:
        return value is None
    if value is None:
        return False
    if operator is Operator.IS_NOT_NULL:
        return True
    if operator in (Operator.IN, Operator.NOT_IN):
        return (value in cast(tuple[str, ...], wanted)) is (operator is Operator.IN)
    if operator in (Operator.LIKE, Operator.ILIKE):
        return like(str(value), str(wanted), fold=operator is Operator.ILIKE)
    if operator is Operator.EQ:
        return value == wanted
    if operator is Operator.NE:
        return value != wanted
    left, right = float(value), float(cast(float, wanted))
    return {
        Operator.LT: left < right,
        Operator.LE: left <= right,
        Operator.GT: left > right,
        Operator.GE: left >= right,
    }[operator]


def like(value: str, pattern: str, *, fold: bool) -> bool:
    """SQL's LIKE: ``%`` is any text, ``_`` any character.

    Cost: about as many steps as both are long together, each over a bit per character of the
    value; a regular expression's is their product at best.
    """
    if fold:
        value, pattern = value.casefold(), pattern.casefold()
    first, *rest = pattern.split("%")
    if not _fits(value, first, at=0):
        return False
    if not rest:
        return len(value) == len(first)
    at = len(first)
    *middle, last = rest
    # Once for all parts, of which there may be as many as characters.
    places = _places(value, {char for part in middle if "_" in part for char in part} - {"_"})
    for part in middle:
        found = _find(value, part, places, at=at) if "_" in part else value.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    end = len(value) - len(last)
    return end >= at and _fits(value, last, at=end)


def _fits(value: str, part: str, *, at: int) -> bool:
    """Say whether a part without ``%`` stands at a place."""
    if "_" not in part:
        return value.startswith(part, at)
    if at + len(part) > len(value):
        return False
    return all(char in ("_", value[at + i]) for i, char in enumerate(part))


def _places(value: str, chars: Set[str]) -> dict[str, int]:
    """Where characters stand: of each a number with these bits set, the first place's lowest."""
    places: dict[str, int] = {}
    if chars:
        for at, char in enumerate(value):
            if char in chars:
                places[char] = places.get(char, 0) | 1 << at
    return places


def _find(value: str, part: str, places: Mapping[str, int], *, at: int) -> int:
    """Say where a part without ``%`` stands first, from a place on; -1: nowhere.

    All beginnings are tried at once, as the bits of a number: each character of the part leaves
    those where it stands so much further on.
    """
    begins = (1 << max(0, len(value) - len(part) + 1 - at)) - 1
    for further, char in enumerate(part, start=at):
        if char != "_":
            begins &= places.get(char, 0) >> further
        if not begins:
            return -1
    return at + (begins & -begins).bit_length() - 1
