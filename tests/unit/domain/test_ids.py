"""Ids and digests."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import (
    parse_git_commit,
    parse_sha256,
    parse_workload_id,
    workload_id_from_parts,
)

TIMES = st.integers(0, 2**48 - 1)
BITS = st.integers(0, 2**74 - 1)


@given(TIMES, BITS)
def test_workload_id__of_any_parts__is_a_uuid_of_version_7(time_ms: int, bits: int) -> None:
    made = workload_id_from_parts(time_ms=time_ms, random_bits=bits)
    assert parse_workload_id(made) == made
    found = uuid.UUID(made)
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert found.int >> 80 == time_ms


@given(TIMES, TIMES, BITS, BITS)
def test_workload_id__of_a_later_time__sorts_after(
    first: int, second: int, bits: int, others: int
) -> None:
    if first < second:
        earlier = workload_id_from_parts(time_ms=first, random_bits=bits)
        assert earlier < workload_id_from_parts(time_ms=second, random_bits=others)


@given(BITS, BITS)
def test_workload_id__of_other_bits__is_another(first: int, second: int) -> None:
    ids = {workload_id_from_parts(time_ms=1, random_bits=bits) for bits in (first, second)}
    assert len(ids) == len({first, second})


@pytest.mark.parametrize(("time_ms", "bits"), [(-1, 0), (2**48, 0), (0, -1), (0, 2**74)])
def test_workload_id__of_parts_out_of_bounds__is_refused(time_ms: int, bits: int) -> None:
    with pytest.raises(InvalidValue):
        workload_id_from_parts(time_ms=time_ms, random_bits=bits)


@pytest.mark.parametrize(
    "text", ["", "0" * 31, "0" * 33, "G" * 32, "A" * 32, "0" * 32 + "\n", "x" * 9999]
)
def test_parse_workload_id__of_what_is_none__names_the_field_and_stays_short(text: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_workload_id(text, field="run")
    assert refused.value.field == "run"
    assert len(refused.value.message) < 150


def test_parse_digests__of_their_lengths__accepts_them() -> None:
    assert parse_sha256("a" * 64) == "a" * 64
    assert parse_git_commit("a" * 40) == "a" * 40
    assert parse_git_commit("a" * 64) == "a" * 64
    for wrong in ("a" * 39, "a" * 41, "A" * 40, "a" * 40 + "\n"):
        with pytest.raises(InvalidValue):
            parse_git_commit(wrong)
    for wrong in ("a" * 63, "A" * 64, "a" * 64 + "\n"):
        with pytest.raises(InvalidValue):
            parse_sha256(wrong)
