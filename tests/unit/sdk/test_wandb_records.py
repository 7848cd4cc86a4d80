"""Whatever the records of a wandb run hold, reading them gives something or says it cannot."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.sdk.imports.wandb import messages
from seafloor.sdk.imports.wandb.run_files import Digest, flat, logged
from seafloor.sdk.imports.wandb.values import number_of, value_of
from seafloor.wire.protobuf import BadMessage
from wandb_file import T0_S, exit_record, history_record, run_record

KINDS = frozenset(kind for kind, _ in messages._KINDS.values())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
WHOLE = [
    run_record("id", "project", {"lr": 0.1, "layers": {"n": 3}}),
    history_record(3, {"loss": 0.5, "nested": {"a": 1}}),
    exit_record(1),
]


def read(record: bytes) -> None:
    message = messages.decode(record, KINDS)
    if message is not None:
        digest = Digest()
        digest.take(message)
        list(flat(digest.config))
        assert digest.ended_ns is None or isinstance(digest.ended_ns, int)


@given(st.sampled_from(WHOLE), st.data())
def test_decode__of_a_damaged_record__says_so_or_gives_something(
    record: bytes, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(record) - 1))
    made = bytearray(record)
    made[at] = data.draw(st.integers(0, 255))
    try:
        read(bytes(made))
        read(bytes(made[:at]))
    except BadMessage:
        pass


@given(st.dictionaries(st.text(min_size=1), JSON, max_size=4), JSON, JSON)
def test_logged__of_any_values__gives_each_leaf(
    values: dict[str, object], step: object, time_s: object
) -> None:
    record = history_record(0, values)
    message = messages.decode(record, KINDS)
    assert isinstance(message, messages.History)
    found = logged(message)
    plain = {key: value for key, value in values.items() if not isinstance(value, dict)}
    for key, value in plain.items():
        if key.startswith("_"):
            continue
        raws = [raw for name, raw in found.leaves if name == key]
        assert any(json.dumps(value).encode() == raw for raw in raws)
    odd = messages.History(
        (
            messages.Item(("_step",), json.dumps(step).encode()),
            messages.Item(("_timestamp",), json.dumps(time_s).encode()),
        ),
        7,
    )
    assert isinstance(logged(odd).step, int)
    assert isinstance(logged(odd).time_ms, int)


def test_logged__of_a_record__has_its_step_and_time() -> None:
    message = messages.decode(WHOLE[1], KINDS)
    assert isinstance(message, messages.History)
    found = logged(message)
    assert (found.step, found.time_ms) == (3, (T0_S + 3) * 1000)
    assert found.leaves == [("loss", b"0.5"), ("nested.a", b"1")]


@pytest.mark.parametrize(
    "raw", [b"", b"[" * 100_000, b'{"a":', b"\xff\xfe", b'"\\ud800"', b"1e999"]
)
def test_value__of_what_is_hardly_json__is_something(raw: bytes) -> None:
    value_of(raw)
    number = number_of(raw)
    assert number is None or math.isinf(number)
