"""Leases: which of several servers does a thing that one alone may do.

A lease ends by itself when it is not renewed. Whoever was paused past its end does not know that,
so every write that the lease allows carries its *fence*: a number that rises with each change of
holder and is compared in the transaction of the write.
"""

from __future__ import annotations

from typing import Final

import msgspec

RECONCILER: Final = "reconciler"
"""Kind of the leases of places: who has ``reconciler/<place>`` drives the tasks of that place."""


class Fence(msgspec.Struct, frozen=True):
    """What a write shows to prove that its lease is still the newest.

    Args:
        name: Of the lease.
        number: Of the holder; the write is refused when the lease has another by now.
    """

    name: str
    number: int


class Lease(msgspec.Struct, frozen=True):
    """A lease as the store knows it.

    Args:
        name: ``<kind>/<what>``.
        holder: Who has it, or had it last; ``""``: it was taken from its last holder.
        fence: Rises with each change of holder, from 1.
        taken_ns: When the holder got it, UTC, by the store's clock.
        expires_ns: When it ends unless renewed, UTC, by the store's clock.
        left_ns: Until then, when this was read; zero or less: it ended so long ago.
    """

    name: str
    holder: str
    fence: int
    taken_ns: int
    expires_ns: int
    left_ns: int

    @property
    def proof(self) -> Fence:
        """What its holder's writes carry."""
        return Fence(self.name, self.fence)


class Claim(msgspec.Struct, frozen=True):
    """In whose name a reconciler changes an attempt.

    Args:
        place: Whose launcher has, or gets, the attempt.
        number: Fence of the lease ``reconciler/<place>``.
    """

    place: str
    number: int

    @property
    def fence(self) -> Fence:
        """The fence to be checked."""
        return Fence(lease_of_place(self.place), self.number)


def lease_of_place(place: str) -> str:
    """Name the lease of the reconciler of a place.

    >>> lease_of_place("0192f0c1d2e37a4b8c5d6e7f80910a1b")
    'reconciler/0192f0c1d2e37a4b8c5d6e7f80910a1b'
    """
    return f"{RECONCILER}/{place}"


def place_of_lease(name: str) -> str:
    """The place of a reconciler's lease."""
    return name.removeprefix(f"{RECONCILER}/")
