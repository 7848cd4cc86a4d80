"""Going on after a row: the sort keys of a search as SQL.

Of a row that was seen last its keys are known; what comes after it in the order is a condition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, FromClause, and_, or_

from seafloor.stores.metadata.sort_keys import VALUE, SortKey, SortKeys


@dataclass(frozen=True)
class Key:
    """One order key: a rank (value, NaN or missing), then the value.

    Args:
        joined: The table that has the value, if it is another, and how it is joined.
        always: There is always a value: then the rank is not spoken of, and an index can be
            followed.
    """

    rank: ColumnElement[int]
    value: ColumnElement[Any]
    descending: bool
    joined: tuple[FromClause, ColumnElement[bool]] | None = None
    always: bool = False

    @property
    def order(self) -> tuple[ColumnElement[Any], ...]:
        """What to order by."""
        value = self.value.desc() if self.descending else self.value
        return (value,) if self.always else (self.rank, value)

    def beyond(self, at: SortKey) -> ColumnElement[bool]:
        """What comes after a position, as far as this key says."""
        rank, value = at
        if rank != VALUE:
            return self.rank > rank
        further = self.value < value if self.descending else self.value > value
        if self.always:
            return further
        return or_(self.rank > rank, and_(self.rank == rank, further))

    def equal(self, at: SortKey) -> ColumnElement[bool]:
        """What stands at a position, as far as this key says."""
        rank, value = at
        return self.rank == rank if rank != VALUE else self.value == value


def comes_after(keys: Sequence[Key], at: SortKeys) -> ColumnElement[bool]:
    """What comes after a position, in lexicographic order of the keys.

    Said flatly, since not every parser goes as deep as there may be keys.
    """
    places = list(zip(keys, at, strict=True))
    return or_(
        *(
            and_(*(key.equal(where) for key, where in places[:number]), place[0].beyond(place[1]))
            for number, place in enumerate(places)
        )
    )
