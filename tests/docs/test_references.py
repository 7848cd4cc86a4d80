"""The reference pages say what the code says."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

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


def test_routes__every_one__is_documented_with_what_it_takes() -> None:
    page = (ROOT / "docs/reference/api.md").read_text()
    told = {
        (method, _shape(path)): line
        for line in page.splitlines()
        if (found := re.match(r"\| `([A-Z, ]+) (/[^`?]*)", line))
        for method, path in ((one, found.group(2)) for one in found.group(1).split(", "))
    }
    routes = dict(_routes())
    assert sorted(told) == sorted(routes)
    untold = [
        (*route, name)
        for route, names in routes.items()
        for name in names
        if not re.search(rf"\b{name}\b", told[route])
    ]
    assert not untold


def _shape(path: str) -> str:
    return re.sub(r"{[^}]*}", "{}", path)


def _routes() -> Iterator[tuple[tuple[str, str], list[str]]]:
    """Method and path of each native route, with the queries and headers that it takes."""
    document: dict[str, Any] = json.loads((ROOT / "tests/http/openapi.json").read_text())
    for path, item in document["paths"].items():
        if not path.startswith(("/api/v1/", "/health")):
            continue
        for method, route in item.items():
            taken = route.get("parameters", [])
            names = [one["name"] for one in taken if one["in"] in {"query", "header"}]
            yield (method.upper(), _shape(path)), names


def test_shapes__that_the_page_of_routes_names__are_those_of_the_document() -> None:
    document: dict[str, Any] = json.loads((ROOT / "tests/http/openapi.json").read_text())
    page = (ROOT / "docs/reference/api.md").read_text()
    named = {
        one
        for row in re.findall(r"^\| `[A-Z, ]+ /[^|]*\|([^|]*)\|", page, re.M)
        for one in re.findall(r"`([A-Z][A-Za-z]+)`", row)
    }
    assert named
    assert not named - set(document["components"]["schemas"])


def test_dependencies__every_one__has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = {
        re.split(r"[^\w-]", one, maxsplit=1)[0]
        for one in chain(project["dependencies"], extras["server"], extras["parquet"])
    }
    page = (ROOT / "docs/explanation/dependencies.md").read_text().lower()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| ")]
    told = {name for row in rows for name in re.findall(r"[\w-]+", row)}
    assert not wanted - told


def test_links__of_every_page__lead_somewhere() -> None:
    dead = [
        (page.name, target)
        for page in _pages()
        for target in re.findall(r"\]\((?!https?:|mailto:)([^)\s]+)\)", page.read_text())
        if not _leads_somewhere(page, target)
    ]
    assert not dead


def _pages() -> list[Path]:
    below = chain.from_iterable((ROOT / room).rglob("*.md") for room in ("docs", "examples"))
    return [*ROOT.glob("*.md"), *below]


def _leads_somewhere(page: Path, target: str) -> bool:
    name, _, anchor = target.partition("#")
    led_to = page.parent / name if name else page
    if not led_to.exists():
        return False
    return not anchor or anchor in {_anchor(line) for line in led_to.read_text().splitlines()}


def _anchor(line: str) -> str | None:
    """As GitHub makes it of a heading."""
    if not line.startswith("#"):
        return None
    words = re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower())
    return words.replace(" ", "-")
