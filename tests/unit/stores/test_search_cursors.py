"""Cursors of searches: bound to their query, whatever it compares with."""

from __future__ import annotations

import base64

import msgspec
import pytest

from seafloor.domain.errors import InvalidValue
from seafloor.domain.search import AllOf, Comparison, Identifier, Operator, Subject, WorkloadQuery
from seafloor.stores.metadata.cursors import Position, decode_cursor, encode_cursor

POSITION = Position(keys=((0, 0.5), (2, None)), begun=1, id="0" * 32)


def compared_with(number: float) -> WorkloadQuery:
    loss = Identifier(Subject.METRIC, "loss")
    return WorkloadQuery(filter=AllOf((Comparison(loss, Operator.NE, number),)))


@pytest.mark.parametrize("number", [0, -0.5, 1 << 70, -(1 << 200), 1.7e308])
def test_cursor__of_any_number__comes_back_and_is_of_its_query_only(number: float) -> None:
    query = compared_with(number)
    cursor = encode_cursor(query, POSITION)
    assert decode_cursor(msgspec.structs.replace(query, cursor=cursor, limit=7)) == POSITION
    with pytest.raises(InvalidValue, match="another search"):
        decode_cursor(msgspec.structs.replace(compared_with(number + 1e307), cursor=cursor))


@pytest.mark.parametrize(
    "position",
    [
        Position(keys=(), begun=1, id="0" * 32),
        Position(keys=((0, 0.5), (2, None), (2, None)), begun=1, id="0" * 32),
        Position(keys=((0, "x"), (2, None)), begun=1, id="0" * 32),
        Position(keys=((0, 0.5), (2, None)), begun=1 << 63, id="0" * 32),
        Position(keys=((0, 0.5), (2, None)), begun=1, id="1" * 32),
    ],
    ids=["no keys", "one more", "another type", "beyond 64 bits", "another id"],
)
def test_cursor__whose_position_was_changed__is_refused(position: Position) -> None:
    query = compared_with(1)
    cursor = encode_cursor(query, POSITION)
    digest, _, *rest = msgspec.msgpack.decode(base64.urlsafe_b64decode(cursor + "=="))
    document = msgspec.msgpack.encode([digest, position, *rest])
    changed = base64.urlsafe_b64encode(document).decode().rstrip("=")
    with pytest.raises(InvalidValue, match="another search"):
        decode_cursor(msgspec.structs.replace(query, cursor=changed))
