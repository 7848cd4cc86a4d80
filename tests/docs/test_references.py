"""The reference pages say what the code says."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from seafloor.boot.settings import SECTIONS
from seafloor.domain.errors import error_classes
from seafloor.http.errors import STATUSES

ROOT = Path(__file__).resolve().parents[2]


def _table(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables by their first cell, taken out of its backticks."""
    rows: dict[str, list[str]] = {}
    for line in (ROOT / "docs" / "reference" / page).read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if found := re.match(r"`([^`]+)`", cells[0]):
            rows[found.group(1)] = cells[1:]
    return rows


def test_errors__every_code__is_documented_with_its_status() -> None:
    rows = _table("errors.md")
    assert {code: int(cells[0]) for code, cells in rows.items()} == STATUSES
    assert set(error_classes()) == set(STATUSES)


def test_settings__every_one__is_documented_with_its_default() -> None:
    rows = _table("settings.md")
    wanted = {
        f"{section}.{field.name}": field.default
        for section, cls in SECTIONS.items()
        for field in dataclasses.fields(cls)
    }
    assert set(rows) == set(wanted)
    for name, default in wanted.items():
        if default != "":
            shown = str(default).lower() if isinstance(default, bool) else default  # as TOML has it
            assert rows[name][0] == f"`{shown}`", name


def test_links__of_every_page__lead_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")]
    dead = [
        (page.name, target)
        for page in pages
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert not dead
