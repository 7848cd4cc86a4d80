"""``/api/v1/runs/{run}/media``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from http_world import Answer, check_envelope

Call = Callable[..., Answer]
T0_MS = 1_700_000_000_000
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def record(step: int, content: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"key": "k", "step": step, "time_ms": T0_MS, "content": content, **more}


def note(step: int, said: str = "hello", **more: Any) -> dict[str, Any]:
    return record(step, {"kind": "text", "text": said}, **more)


def blob_of(content: bytes, format_: str) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"sha256": sha256, "format": format_, "size_bytes": len(content)}


def put(call: Call, run_id: str, content: bytes, format_: str) -> dict[str, Any]:
    blob = blob_of(content, format_)
    answer = call("PUT", address(run_id, blob), content)
    assert answer.status == 200, answer
    assert {key: answer.json[key] for key in blob} == blob
    return blob


def address(run_id: str, blob: dict[str, Any]) -> str:
    return f"/api/v1/runs/{run_id}/media/blobs/{blob['sha256']}.{blob['format']}"


@pytest.fixture
def media(run_id: str) -> str:
    return f"/api/v1/runs/{run_id}/media"


def test_append__every_kind__is_listed_as_it_was_sent(call: Call, run_id: str, media: str) -> None:
    png, wav = put(call, run_id, b"picture", "png"), put(call, run_id, b"sound", "wav")
    table = put(call, run_id, b'{"columns": ["a"], "data": [[1]]}', "json")
    sent = [
        record(0, {"kind": "histogram", "edges": [0.0, 0.5, 1.0], "counts": [2.0, 3.0], "odd": 1}),
        record(1, {"kind": "image", "width": 3, "height": 2}, blob=png, place=1),
        record(2, {"kind": "table", "columns": ["a"], "rows": 1}, blob=table),
        note(3, "ü\n\0<b>"),
        record(4, {"kind": "audio", "sample_rate_hz": 8000, "channels": 1, "duration_ms": 5})
        | {"blob": wav},
    ]
    assert call("POST", media, {"records": sent}).json == {
        "records_written": 5,
        "records_repeated": 0,
    }
    assert call("POST", media, {"records": sent}).json["records_repeated"] == 5
    items = call("GET", f"{media}?key=k").json["items"]
    assert items == [{"blob": None, "place": 0} | one for one in sent]
    keys = call("GET", f"{media}/keys").json
    assert [(one["kind"], one["records"], one["step_min"]) for one in keys["items"]] == [
        ("audio", 1, 4),
        ("histogram", 1, 0),
        ("image", 1, 1),
        ("table", 1, 2),
        ("text", 1, 3),
    ]


def test_list__pages_kinds_and_steps__narrow_it(call: Call, media: str) -> None:
    call("POST", media, {"records": [note(step) for step in range(10)]})
    page = call("GET", f"{media}?key=k&kind=text&step_min=2&step_max=8&limit=5").json
    assert [one["step"] for one in page["items"]] == [2, 3, 4, 5, 6]
    more = f"{media}?key=k&kind=text&step_min=2&step_max=8&limit=5&cursor={page['next']}"
    rest = call("GET", more).json
    assert ([one["step"] for one in rest["items"]], rest["next"]) == ([7, 8], None)
    assert call("GET", f"{media}?key=k&kind=image").json["items"] == []
    for query in ("", "?key=k&kind=film", "?key=k&limit=0", "?key=k&limit=501", "?key=k&cursor=x"):
        check_envelope(call("GET", media + query), code="invalid_value", status=400)
    bad = call("GET", f"{media}?key=k&step_min=3&step_max=2")
    check_envelope(bad, code="invalid_value", status=400)


@pytest.mark.parametrize(
    ("sent", "code", "status"),
    [
        ({}, "invalid_value", 400),
        ({"records": []}, "invalid_value", 400),
        ({"records": [note(0)], "recrods": 1}, "invalid_value", 400),
        ({"records": [note(0)] * 1_001}, "limit_exceeded", 413),
        ({"records": [note(1 << 63)]}, "invalid_value", 400),
        ({"records": [note(0, time_ms=-1)]}, "invalid_value", 400),
        ({"records": [note(0, time_ms=1 << 62)]}, "invalid_value", 400),
        ({"records": [note(0, key="a//b")]}, "invalid_value", 400),
        ({"records": [note(0, key="k" * 251)]}, "limit_exceeded", 413),
        ({"records": [note(0, place=-1)]}, "invalid_value", 400),
        ({"records": [note(True)]}, "invalid_value", 400),
        ({"records": [note(0, "x" * 40_000)]}, "limit_exceeded", 413),
        ({"records": [record(0, {"kind": "film"})]}, "invalid_value", 400),
        ({"records": [record(0, {"kind": "image"})]}, "invalid_value", 400),
        (
            {"records": [record(0, {"kind": "image"}, blob=blob_of(b"never sent", "png"))]},
            "invalid_value",
            400,
        ),
        (
            {"records": [record(0, {"kind": "histogram", "edges": [1, 0], "counts": [1]})]},
            "invalid_value",
            400,
        ),
    ],
)
def test_append__of_what_cannot_be_kept__writes_nothing(
    call: Call, media: str, sent: dict[str, Any], code: str, status: int
) -> None:
    if sent.get("records"):
        sent = sent | {"records": [note(7), *sent["records"]]}
    check_envelope(call("POST", media, sent), code=code, status=status)
    assert call("GET", f"{media}/keys").json["items"] == []


def test_append__half_a_character__is_refused(call: Call, media: str) -> None:
    body = (
        b'{"records": [{"key": "k", "step": 0, "time_ms": 0, '
        b'"content": {"kind": "text", "text": "\\ud800"}}]}'
    )
    answer = call("POST", media, body, Content_Type="application/json")
    check_envelope(answer, code="invalid_value", status=400)


def test_blob__of_other_bytes__is_refused(call: Call, run_id: str, media: str) -> None:
    blob = blob_of(b"announced", "png")
    answer = call("PUT", address(run_id, blob), b"others...")
    check_envelope(answer, code="invalid_value", status=400)
    check_envelope(call("GET", address(run_id, blob)), code="not_found", status=404)
    for name in ("x.png", f"{blob['sha256']}.exe", f"{blob['sha256'].upper()}.png"):
        answer = call("PUT", f"{media}/blobs/{name}", b"announced")
        check_envelope(answer, code="invalid_value", status=400)
    gone = blob | {"sha256": blob["sha256"][::-1]}
    check_envelope(call("GET", address("0" * 32, gone)), code="not_found", status=404)
    check_envelope(call("PUT", address("0" * 32, blob), b"announced"), code="not_found", status=404)


def test_blob__read__has_its_type_and_runs_nothing(call: Call, run_id: str) -> None:
    content = bytes(range(256))
    png = put(call, run_id, content, "png")
    answer = call("GET", address(run_id, png))
    assert answer.body == content
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["content-disposition"].startswith("inline;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    part = call("GET", address(run_id, png), Range="bytes=10-19")
    assert (part.status, part.body) == (206, content[10:20])
    svg = call("GET", address(run_id, put(call, run_id, SVG, "svg")))
    assert svg.headers["content-type"] == "image/svg+xml"
    assert svg.headers["content-disposition"].startswith("attachment;")
    assert "sandbox" in svg.headers["content-security-policy"]
    html = call("GET", address(run_id, put(call, run_id, b"<script>alert(1)</script>", "txt")))
    assert html.headers["content-type"] == "text/plain; charset=utf-8"


def test_delete__for_good__takes_media_along(call: Call, run_id: str, media: str) -> None:
    png = put(call, run_id, b"twelve bytes", "png")
    call("POST", media, {"records": [record(0, {"kind": "image"}, blob=png)]})
    call("DELETE", f"/api/v1/runs/{run_id}")
    check_envelope(call("POST", media, {"records": [note(1)]}), code="conflict", status=409)
    check_envelope(call("PUT", address(run_id, png), b"x"), code="conflict", status=409)
    freed = call("DELETE", f"/api/v1/runs/{run_id}?purge=true")
    assert freed.status == 200, freed
    assert freed.json["freed_bytes"] == 12
    check_envelope(call("GET", address(run_id, png)), code="not_found", status=404)
