"""How people name a run: its id, some digits of it, ``@last``, or its name."""

from __future__ import annotations

from seafloor.domain.errors import InvalidValue, NotFound
from seafloor.sdk.client import Client
from seafloor.sdk.runs import RunQuery
from seafloor.wire.runs import RunView

LAST = "@last"
_HEX = frozenset("0123456789abcdef")
_DIGITS_MIN = 4
_SHOWN_MAX = 5


def find_run(client: Client, text: str) -> RunView:
    """Find a run.

    Args:
        client: The server.
        text: An id, at least four digits of its beginning or end, ``@last`` for the newest run,
            or the name of one run.

    Raises:
        NotFound: there is none.
        InvalidValue: several runs are meant.
    """
    if text == LAST:
        newest = client.runs.page(limit=1).items
        if not newest:
            raise NotFound("There is no run yet: start one with `seafloor run -- COMMAND`.")
        return client.runs.get(newest[0].id)
    digits = text.lower()
    if len(digits) >= _DIGITS_MIN and set(digits) <= _HEX:
        try:
            return client.runs.get(digits)
        except NotFound:
            pass  # it may be a name: "feed", "cafe"
    return client.runs.get(_find_by_name(client, text).id)


def _find_by_name(client: Client, name: str) -> RunView:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    query = RunQuery(filter=f'attributes.name = "{quoted}"')
    found = client.runs.page(query, limit=_SHOWN_MAX + 1).items
    if not found:
        raise NotFound(
            f'No run is called "{name}", and no id begins or ends with it. '
            "`seafloor runs list` shows them."
        )
    first, *others = found
    if others:
        ids = ", ".join(run.id[-8:] for run in found[:_SHOWN_MAX])
        more = ", …" if len(found) > _SHOWN_MAX else ""
        raise InvalidValue(f'Several runs are called "{name}": {ids}{more}. Name one by its id.')
    return first
