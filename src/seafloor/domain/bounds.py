"""Integers as they come from outside: within what every store keeps and every reader reads.

A JSON number has no bounds; a database's integer and another language's have. So each integer
that a request carries has one of these types, which decoding enforces and the OpenAPI document
tells.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

INT64_MAX = (1 << 63) - 1
INT64_MIN = -(1 << 63)

Int64 = Annotated[int, msgspec.Meta(ge=INT64_MIN, le=INT64_MAX)]
Count = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
"""How many, or how many bytes."""

TimeNs = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
"""Nanoseconds since 1970-01-01 UTC."""

TimeMs = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX // 1_000_000 - 1)]
"""Milliseconds since 1970-01-01 UTC; as nanoseconds they fit 64 bits."""
