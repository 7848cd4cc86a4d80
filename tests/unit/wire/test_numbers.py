"""Numbers on the wire."""

from __future__ import annotations

import math
import struct

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import InvalidValue
from seafloor.wire.metrics import PointIn, PointsAppend
from seafloor.wire.numbers import number_in, number_out


@given(st.floats(allow_nan=False))
def test_number__sent_and_received__has_the_same_bits(value: float) -> None:
    sent = msgspec.json.encode(number_out(value))
    back = number_in(msgspec.json.decode(sent, type=float | str))
    assert struct.pack("<d", back) == struct.pack("<d", value)


def test_number__that_is_none__travels_as_a_text() -> None:
    assert number_out(math.nan) == "NaN"
    assert math.isnan(number_in("NaN"))
    assert (number_in("Infinity"), number_in("-Infinity")) == (math.inf, -math.inf)


@pytest.mark.parametrize("text", ["nan", "inf", "1", "", "x" * 9999, "٣"])
def test_number_in__of_another_text__is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match='send a number, "NaN"') as refused:
        number_in(text, field="points")
    assert refused.value.field == "points"
    assert len(refused.value.message) < 150


@pytest.mark.parametrize(
    "body",
    [
        b'{"points": [["x", 1, 9223372036854775808, 1]]}',
        b'{"points": [["x", 1, 1, -1]]}',
        b'{"points": [["x", 1, 1, 9223372036855]]}',
        b'{"points": [["x", 1e400, 1, 1]]}',
        b'{"points": [["x", 1, 1]]}',
        b'{"points": [{"key": "x"}]}',
        b'{"points": [], "more": 1}',
    ],
)
def test_points__out_of_bounds__are_not_decoded(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(body, type=PointsAppend)


def test_points__as_the_client_makes_them__are_small_lists() -> None:
    encoded = msgspec.json.encode(PointsAppend([PointIn("loss", 0.5, 3, 1000)]))
    assert encoded == b'{"points":[["loss",0.5,3,1000]]}'
