"""Documents of spans that come from elsewhere: taken only if everything that reads them can."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from seafloor.domain.errors import InvalidValue
from seafloor.domain.span_documents import read_span, searched_text

SPAN_ID = base64.b64encode(bytes(7) + b"\1").decode()


def document(**fields: Any) -> bytes:
    """The document of a span."""
    return json.dumps({"span_id": SPAN_ID, **fields}).encode()


@pytest.mark.parametrize(
    "fields",
    [
        {"events": None},
        {"events": [{"time_unix_nano": "soon"}]},
        {"links": [{"trace_id": None}]},
        {"trace_id": 5},
    ],
)
def test_document__that_a_search_could_not_read__is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="This is no span"):
        read_span(document(**fields))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"int_value": "-12"}, "-12"),
        ({"int_value": "--5"}, '"--5"'),
        ({"int_value": "²"}, '"²"'),
        ({"int_value": "9" * 5000}, f'"{"9" * 5000}"'),
        ({"kvlist_value": {"values": [{"key": "a", "value": "b"}]}}, '{"a": null}'),
        ({"kvlist_value": 5}, "{}"),
        ({"array_value": {"values": 5}}, "[]"),
    ],
)
def test_attribute__with_an_odd_value__can_be_searched(value: dict[str, Any], shown: str) -> None:
    found = read_span(document(attributes=[{"key": "odd", "value": value}]))
    assert json.loads(searched_text(found.document))["attributes"] == {"odd": shown}


@pytest.mark.parametrize("number", ["1" + "0" * 400, "NaN", "Infinity", "1e400", "true", '"5"'])
def test_tokens__that_are_no_count__add_nothing(number: str) -> None:
    text = f'{{"input_tokens": {number}, "output_tokens": 3}}'
    tokens = {"key": "mlflow.chat.tokenUsage", "value": {"string_value": text}}
    found = read_span(document(attributes=[tokens]))
    assert found.sums == {"mlflow.trace.tokenUsage": {"output_tokens": 3}}
