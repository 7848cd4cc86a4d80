"""The two names of a field of protobuf's JSON, and null in the place of its value."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from seafloor.domain.errors import InvalidValue
from seafloor.http.mlflow.spellings import in_ours, may_use_others


class _Leaf(msgspec.Struct):
    source_type: str = ""
    meta_data: dict[str, str] = {}


class _Message(msgspec.Struct):
    run_name: str = ""
    key: str = ""
    one_leaf: _Leaf | None = None
    all_leaves: list[_Leaf] = []


class _Plain(msgspec.Struct):
    key: str = ""


class _Nulls(msgspec.Struct):
    text: str = ""
    texts: list[str] = []
    number: int | str = 0
    none: str | None = "x"
    value: Any = 1
    leaves: list[_Leaf] = []


def test_in_ours__of_other_names_at_any_depth__has_our_names() -> None:
    found = {
        "runName": "a",
        "oneLeaf": {"sourceType": "b", "metaData": {"runName": "kept"}},
        "all_leaves": [{"sourceType": "c"}, {}],
        "Key": "kept",
    }
    assert in_ours(found, _Message) == {
        "run_name": "a",
        "one_leaf": {"source_type": "b", "meta_data": {"runName": "kept"}},
        "all_leaves": [{"source_type": "c"}, {}],
        "Key": "kept",
    }


def test_in_ours__of_a_name_that_must_be_as_written__leaves_it() -> None:
    found = {"runName": "a", "oneLeaf": {"sourceType": "b"}}
    assert in_ours(found, _Message, as_written=["run_name", "source_type"]) == {
        "runName": "a",
        "one_leaf": {"source_type": "b"},
    }


@pytest.mark.parametrize(
    "found",
    [
        {"runName": "a", "run_name": "a"},
        {"run_name": None, "runName": None},
        {"oneLeaf": {"sourceType": "a", "source_type": "b"}},
        {"all_leaves": [{}, {"sourceType": "a", "source_type": "b"}]},
    ],
)
def test_in_ours__of_a_field_by_both_names__is_refused(found: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="Request specifies both '"):
        in_ours(found, _Message, as_written=["run_name"])


def test_in_ours__of_nulls__has_those_that_are_values() -> None:
    found = dict.fromkeys(("text", "texts", "number", "none", "value", "leaves", "x"))
    assert in_ours(found, _Nulls) == {"none": None, "value": None, "x": None}
    leaves = [{"source_type": None, "meta_data": {"a": None}}, None]
    assert in_ours({"leaves": leaves}, _Nulls) == {"leaves": [{"meta_data": {"a": None}}, None]}


@pytest.mark.parametrize("found", [None, [], [1], 5, "x", {"all_leaves": 5, "oneLeaf": [None]}])
def test_in_ours__of_what_is_no_message__leaves_it_to_who_reads_it(found: Any) -> None:
    in_ours(found, _Message)


@pytest.mark.parametrize(
    ("body", "may"),
    [
        (b'{"runName":1}', True),
        (b'{"x":[{"sourceType" :1}]}', True),
        (b'{"run_name":"runName","sourceTypes":1,"mlflow.runName":2}', True),
        (b'{"run_name":"a runName","sourceTypes":1,"mlflow.runName":2}', False),
        (b"{}", False),
    ],
)
def test_may_use_others__of_a_body__is_never_wrongly_no(body: bytes, may: bool) -> None:
    assert may_use_others(body, _Message) is may
    assert may_use_others(body, _Plain) is False
