"""What runs log beside numbers, on the page in a real browser."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import zlib
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from live_server import LiveServer

T0_MS = 1_700_000_000_000
IMAGES = int(os.environ.get("SEAFLOOR_PAGE_IMAGES", "10000"))
"""How many images the large run has; 100,000 take half a minute to append."""
PATIENCE_MS = 120_000
"""For what makes a busy machine fetch some hundred images."""

EVIL = "<img src=x onerror=document.title='hacked'><script>document.title='hacked'</script>"
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20" onload="top.title=1">'
    "<script>top.document.title='hacked'</script><rect width='40' height='20'/></svg>"
)


def png(width: int, height: int, shade: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

    rows = (b"\0" + bytes([shade]) * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = [chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def wav(samples: int) -> bytes:
    head = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 8000, 1, 8)
    data = struct.pack("<4sI", b"data", samples) + bytes([128]) * samples
    return struct.pack("<4sI4s", b"RIFF", 4 + len(head) + len(data), b"WAVE") + head + data


@pytest.fixture
def server(module_server: LiveServer) -> LiveServer:
    """One for all: each test looks at runs of its own."""
    return module_server


class Logged:
    """A run that logs media."""

    def __init__(self, server: LiveServer) -> None:
        self.server = server
        self.id = server.post("/api/v1/runs", {"experiment": "media", "name": "seen"})["id"]

    @property
    def url(self) -> str:
        return f"{self.server.url}/runs/{self.id}/media"

    def blob(self, content: bytes, format_: str) -> dict[str, Any]:
        sha256 = hashlib.sha256(content).hexdigest()
        path = f"/api/v1/runs/{self.id}/media/blobs/{sha256}.{format_}"
        status, answer = self.server.request("PUT", path, content)
        assert status == 200, answer
        return {"sha256": sha256, "format": format_, "size_bytes": len(content)}

    def append(self, *records: dict[str, Any]) -> None:
        body = {"records": [{"time_ms": T0_MS, **one} for one in records]}
        self.server.post(f"/api/v1/runs/{self.id}/media", body)

    def text(self, key: str, step: int, text: str) -> None:
        self.append({"key": key, "step": step, "content": {"kind": "text", "text": text}})


def card(page: Page, key: str) -> Locator:
    return page.get_by_role("region", name=key, exact=True)


def test_media__of_every_kind__are_shown_and_never_executed(server: LiveServer, page: Page) -> None:
    run = Logged(server)
    image = {"kind": "image", "width": 28, "height": 14}
    for place in range(3):
        blob = run.blob(png(28, 14, 60 * place), "png")
        run.append({"key": "digits", "step": 0, "content": image, "blob": blob, "place": place})
    drawing = {"kind": "image", "width": None, "height": None}
    run.append(
        {"key": "drawing", "step": 0, "content": drawing, "blob": run.blob(SVG.encode(), "svg")}
    )
    histogram = {"kind": "histogram", "edges": [-1.0, 0.0, 0.5, 4.0], "counts": [5, 7, 2], "odd": 1}
    run.append({"key": "weights", "step": 0, "content": histogram})
    rows = [[number, EVIL, None, {"a": 1}] for number in range(60)]
    table = json.dumps({"columns": ["id", "<b>text", "none", "object"], "data": rows})
    content = {"kind": "table", "columns": ["id", "<b>text", "none", "object"], "rows": 60}
    run.append(
        {"key": "rows", "step": 0, "content": content, "blob": run.blob(table.encode(), "json")}
    )
    run.text("said", 0, EVIL)
    long = (EVIL + "\n") * 4_000
    run.append(
        {"key": "long", "step": 0, "content": {"kind": "text", "text": None}}
        | {"blob": run.blob(long.encode(), "txt")}
    )
    sound = {"kind": "audio", "sample_rate_hz": 8000, "channels": 1, "duration_ms": 500}
    run.append({"key": "tone", "step": 0, "content": sound, "blob": run.blob(wav(4000), "wav")})

    page.goto(run.url)

    pictures = card(page, "digits").get_by_role("img")
    expect(pictures).to_have_count(3)
    for at in range(3):
        expect(pictures.nth(at)).to_have_js_property("naturalWidth", 28)
    expect(card(page, "drawing").get_by_role("img")).to_have_js_property("naturalWidth", 40)
    bars = card(page, "weights").get_by_role("figure")
    expect(bars).to_have_attribute("data-bins", "3")
    expect(bars).to_contain_text("14 values from \N{MINUS SIGN}1 to 4, and 1 value NaN or infinite")
    expect(bars.locator("canvas")).to_be_visible()
    found = card(page, "rows")
    expect(found.get_by_role("row")).to_have_count(26)
    expect(found.get_by_role("cell").nth(1)).to_have_text(EVIL)
    expect(found.get_by_role("cell").nth(2)).to_have_text("")
    expect(found.get_by_role("cell").nth(3)).to_have_text('{"a":1}')
    found.get_by_role("button", name="Rows, page 3").click()
    expect(found.get_by_role("row")).to_have_count(11)
    expect(found).to_contain_text("60 rows")
    expect(card(page, "said").locator("pre")).to_have_text(EVIL)
    expect(card(page, "long")).to_contain_text(re.compile("The first 256 .iB of "))
    player = card(page, "tone").locator("audio")
    expect(player).to_have_js_property("duration", 0.5)
    expect(card(page, "tone")).to_contain_text(re.compile("8.000 Hz"))
    with page.expect_download() as kept:
        found.get_by_role("button", name="Download").click()
    assert kept.value.path().read_text() == table
    assert "hacked" not in page.title()
    page.get_by_label("Find a key").fill("dig")
    expect(card(page, "digits")).to_be_visible()
    expect(card(page, "said")).to_have_count(0)


def test_steps__far_apart__are_gone_through_one_by_one(server: LiveServer, page: Page) -> None:
    run = Logged(server)
    for step in (-3, 0, 10, 5_000, 100_000):
        run.text("note", step, f"at {step}")
    page.goto(run.url)
    note = card(page, "note")

    def shows(step: int) -> None:
        expect(note).to_have_attribute("data-step", str(step))
        expect(note.locator("pre")).to_have_text(f"at {step}")

    shows(100_000)
    before = note.get_by_role("button", name="Step before of note")
    after = note.get_by_role("button", name="Step after of note")
    expect(after).to_be_disabled()
    for step in (5_000, 10, 0, -3):
        before.click()
        shows(step)
    expect(before).to_be_disabled()
    after.click()
    shows(0)
    note.get_by_role("slider").focus()
    page.keyboard.press("ArrowRight")
    shows(10)
    page.keyboard.press("ArrowLeft")
    shows(0)
    page.keyboard.press("End")
    shows(100_000)
    note.get_by_label("Go to step of note").fill("4999")
    note.get_by_label("Go to step of note").press("Enter")
    shows(5_000)
    run.text("note", 200_000, "later")  # what was chosen stays
    expect(note).to_contain_text("6 texts")
    shows(5_000)


def test_media__newest_step__is_shown_while_a_run_logs(server: LiveServer, page: Page) -> None:
    run = Logged(server)
    page.goto(run.url)
    expect(page.get_by_text("No media yet")).to_be_visible()
    run.text("note", 0, "first")
    expect(card(page, "note").locator("pre")).to_have_text("first")
    run.text("note", 1, "second")
    expect(card(page, "note").locator("pre")).to_have_text("second")


def test_media__of_a_run_with_very_many_images__are_not_all_asked_for(
    server: LiveServer, page: Page
) -> None:
    run = Logged(server)
    blobs = [run.blob(png(8, 8, shade), "png") for shade in range(100)]
    content = {"kind": "image", "width": 8, "height": 8}
    for first in range(0, IMAGES, 1_000):
        run.append(
            *(
                {
                    "key": f"samples/{number % 200:03}",
                    "step": number // 20_000,
                    "place": number % 20_000 // 200,
                    "content": content,
                    "blob": blobs[number % 100],
                }
                for number in range(first, first + 1_000)
            )
        )
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))

    page.goto(run.url)

    first_images = card(page, "samples/000").get_by_role("img")
    expect(first_images).to_have_count(12, timeout=PATIENCE_MS)
    expect(page.get_by_role("button", name="More keys")).to_be_attached()
    assert page.locator("section[data-kind]").count() == 60
    records = [url for url in asked if "/media?" in url]
    pictures = [url for url in asked if "/media/blobs/" in url]
    assert len(records) < 80, "a card asks for its records when it comes into view"
    assert len(pictures) < 12 * len(records)
    card(page, "samples/000").get_by_role("button", name="More of this step").click()
    expect(first_images).to_have_count(24, timeout=PATIENCE_MS)
    page.get_by_role("button", name="More keys").click()
    expect(page.locator("section[data-kind]")).to_have_count(120, timeout=PATIENCE_MS)
