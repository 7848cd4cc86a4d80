from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.http.mlflow.previews import PREVIEW_CHARS_MAX, preview

CHAT = [
    {"role": "system", "content": "be good"},
    {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "look"}]},
    {"role": "assistant", "content": "I do"},
]


@pytest.mark.parametrize(
    ("value", "role", "expected"),
    [
        (None, "user", None),
        ("plain", "user", "plain"),
        ({"a": "ü"}, "user", '{"a": "ü"}'),
        ([1, None], "user", "[1, null]"),
        ({"messages": CHAT}, "user", "look"),
        ({"messages": CHAT}, "assistant", "I do"),
        ({"messages": CHAT}, "tool", "I do"),
        (json.dumps({"messages": CHAT}), "user", "look"),
        ({"input": CHAT}, "user", "look"),
        ({"output": CHAT}, "assistant", "I do"),
        ({"request": {"input": CHAT}}, "user", "look"),
        ({"choices": [{"message": CHAT[2]}]}, "assistant", "I do"),
        ({"choices": [{"message": "x"}]}, "assistant", '{"choices": [{"message": "x"}]}'),
        ({"messages": [5]}, "user", '{"messages": [5]}'),
        ({"messages": [{"role": "user", "content": None}]}, "user", None),
        ("a\0b", "user", "a\ufffdb"),
        ("[" * 100_000, "user", "[" * 997 + "..."),
        ("x" * 1_000, "user", "x" * 1_000),
    ],
)
def test_preview__of_what_models_take_and_give__is_its_text(
    value: Any, role: str, expected: str | None
) -> None:
    found = preview(value, role=role)
    if expected is None and value is not None:
        expected = json.dumps(value)
    assert found == expected


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["messages", "choices", "message", "role", "content", "input", "type"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=12,
)


@given(value=_JSON)
def test_preview__of_anything__is_bounded(value: Any) -> None:
    found = preview(value, role="user")
    assert (found is None) is (value is None)
    assert found is None or len(found) <= PREVIEW_CHARS_MAX
