"""The one shape of an error."""

from __future__ import annotations

import msgspec


class ErrorBody(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every refused request gets.

    Args:
        code: Stable name of the error (``domain.errors``).
        message: What happened and what to do, for the user.
        field: Dotted path of the offending field.
        request_id: To find the request in the server's log.
        next_offset: With ``out_of_order``: where the store wants the next append to begin.
    """

    code: str
    message: str
    field: str | None = None
    request_id: str | None = None
    next_offset: int | None = None
