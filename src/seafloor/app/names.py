"""Names for runs that were given none: two words and a number, easy to say."""

from __future__ import annotations

import secrets

_FIRST = (
    "amber", "brave", "calm", "clear", "coral", "deep", "dusky", "early", "fair", "foamy",
    "gentle", "golden", "hidden", "high", "keen", "late", "light", "lone", "low", "lucid",
    "mild", "misty", "neap", "noble", "north", "pale", "quiet", "rapid", "salty", "sandy",
    "silent", "silver", "slow", "south", "spring", "steady", "still", "swift", "warm", "wide",
)  # fmt: skip
_SECOND = (
    "anchor", "bay", "beacon", "bell", "brine", "buoy", "cape", "channel", "cove", "current",
    "delta", "drift", "eddy", "fathom", "fjord", "gull", "harbor", "isle", "kelp", "lagoon",
    "mast", "oyster", "pearl", "pier", "reef", "ridge", "sail", "seal", "shoal", "shore",
    "sound", "spray", "strait", "surf", "swell", "tern", "tide", "trench", "wave", "whale",
)  # fmt: skip


def made_up_name() -> str:
    """Make up a name, such as ``quiet-reef-482``."""
    return f"{secrets.choice(_FIRST)}-{secrets.choice(_SECOND)}-{100 + secrets.randbelow(900)}"
