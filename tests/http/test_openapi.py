"""The OpenAPI document against a snapshot, so that a change is seen; and the page that tells it.

``SEAFLOOR_UPDATE_SNAPSHOTS=1 pytest tests/http/test_openapi.py`` writes the snapshot anew.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from http_world import ask
from live_server import LiveServer
from seafloor.http.openapi import make_document, operations
from seafloor.http.server import create_framework

SNAPSHOT = Path(__file__).with_name("openapi.json")
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "api.md"


def framework() -> Any:
    identity = SimpleNamespace(version="0", url="http://localhost", token="")
    return create_framework(cast(Any, SimpleNamespace(identity=identity, clock=None)))


def test_document__compared_with_the_snapshot__is_the_same() -> None:
    made = json.dumps(make_document(framework(), version="snapshot"), indent=1, sort_keys=True)
    if os.environ.get("SEAFLOOR_UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(made + "\n", encoding="utf-8")
    kept = SNAPSHOT.read_text(encoding="utf-8")
    assert made + "\n" == kept, "the API changed: see the head of this file"


def test_document__as_served__is_the_snapshot(shared_server: LiveServer) -> None:
    served = ask(shared_server.url, "GET", "/api/openapi.json").json
    kept = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    assert served["paths"] == kept["paths"]
    assert served["components"] == kept["components"]
    assert served["openapi"] == "3.1.0"


def test_document__of_every_operation__has_names_words_and_errors() -> None:
    document = make_document(framework(), version="0")
    ids: list[str] = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            ids.append(operation["operationId"])
            assert operation["summary"], where
            assert operation["description"], where
            assert {"400", "401", "403", "503"} <= set(operation["responses"]), where
            in_path = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert in_path == set(re.findall(r"\{(\w+)\}", path)), where
    assert len(set(ids)) == len(ids)


def test_document__of_its_references__leads_somewhere() -> None:
    document = make_document(framework(), version="0")
    named = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document)))
    assert named <= set(document["components"]["schemas"])


def test_page__compared_with_the_routes__tells_each_and_no_other() -> None:
    told: set[tuple[str, str]] = set()
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        cell = line.strip("|").split("|")[0]
        methods = re.match(r"\s*`([A-Z, ]+) /", cell)
        if methods is None:
            continue
        for path in re.findall(r"(/[^\s`,?]+)", cell):
            told |= {(method.strip(), _plain(path)) for method in methods.group(1).split(",")}
        for method, path in re.findall(r"`?(POST|DELETE) …(/[\w{}/-]+)", line):
            base = re.findall(r"(/[^\s`,?]+)", cell)[0]
            told.add((method, _plain(base + path)))
        if "…/event-files/" in line:
            told.add(("GET", "/api/v1/runs/{}/event-files/{}/{}"))
    there = {(method, _plain(path)) for path, method, _ in operations(framework())}
    assert there - told == set()
    assert told - there == set()


def _plain(path: str) -> str:
    return re.sub(r"\{\w+\}", "{}", path)
