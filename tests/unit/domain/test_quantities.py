"""Quantities: what users write for memory, processors and durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import InvalidValue
from seafloor.domain.quantities import parse_cpu, parse_duration, parse_memory


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        (1, 1),
        ("512Mi", 512 * 2**20),
        ("20Gi", 20 * 2**30),
        ("1.5k", 1500),
        (" 2T ", 2 * 10**12),
        ("0.5Ki", 512),
    ],
)
def test_parse_memory__of_an_amount__gives_bytes(text: str | int, size_bytes: int) -> None:
    assert parse_memory(text, field="memory") == size_bytes


@pytest.mark.parametrize(
    ("text", "meant"), [("20GB", "G"), ("20gb", "G"), ("1gib", "Gi"), ("5mb", "M"), ("5MIB", "Mi")]
)
def test_parse_memory__with_a_near_unit__names_the_right_one(text: str, meant: str) -> None:
    with pytest.raises(InvalidValue, match=f'is written "{meant}"'):
        parse_memory(text, field="memory")


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1 Gi", "0", "0.1", "٣Gi", "9" * 400, "1e3", "9" * 20]
)
def test_parse_memory__of_what_is_none__is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_memory(text, field="resources.memory")
    assert refused.value.field == "resources.memory"


@pytest.mark.parametrize(("text", "cpu"), [(3, 3.0), (0.5, 0.5), ("500m", 0.5), ("2", 2.0)])
def test_parse_cpu__of_a_number__gives_processors(text: str | float, cpu: float) -> None:
    assert parse_cpu(text, field="cpu") == cpu


@pytest.mark.parametrize(
    "text", ["", "m", "0", "0m", -1, "nan", "inf", "1e3", "1_0", 10**7, "9" * 99]
)
def test_parse_cpu__of_what_is_none__is_refused(text: str | float) -> None:
    with pytest.raises(InvalidValue):
        parse_cpu(text, field="cpu")


@pytest.mark.parametrize(
    ("text", "duration_s"),
    [(30, 30.0), ("30", 30.0), ("30m", 1800.0), ("1h30m", 5400.0), ("2d", 172_800.0), (0.5, 0.5)],
)
def test_parse_duration__of_one__gives_seconds(text: str | float, duration_s: float) -> None:
    assert parse_duration(text, field="timeout") == duration_s


@pytest.mark.parametrize(
    "text", ["", "0", "x", "1x", "h", "1h x", "-1", "1h-1m", "9" * 30, "9" * 19]
)
def test_parse_duration__of_what_is_none__is_refused(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_duration(text, field="timeout")
    assert refused.value.field == "timeout"


@given(st.text(max_size=30))
def test_parse__of_any_text__refuses_or_is_in_bounds(text: str) -> None:
    for parse in (parse_memory, parse_cpu, parse_duration):
        try:
            found = parse(text, field="x")
        except InvalidValue:
            continue
        assert 0 < found < 2**63
