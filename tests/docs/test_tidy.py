"""The shape of the code: sizes, edges, and nothing that names itself a drawer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src").rglob("*.py"))
MODULE_LINES_MAX = 800
TEST_LINES_MAX = 1200
FUNCTION_LINES_MAX = 100

# Where everything may be caught: a request, a background task, the mains of the CLI and of what it
# starts, a sender's thread, and what Aim does in a process of its own.
EDGES = {
    "agent/outputs.py",
    "app/leases.py",
    "app/reconciler.py",
    "app/sealer.py",
    "app/volumes.py",
    "boot/__main__.py",
    "cli/main.py",
    "launch/kubernetes/pod_logs.py",
    "launch/kubernetes/setup_logs.py",
    "launch/kubernetes/watch_cache.py",
    "sdk/imports/aim/reader.py",
    "sdk/sender.py",
    "stores/metadata/sql/database.py",
}


def _name(file: Path) -> str:
    return file.relative_to(ROOT / "src" / "seafloor").as_posix()


def _functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


@pytest.mark.parametrize("file", SOURCES, ids=_name)
def test_module__its_length__is_bounded(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= MODULE_LINES_MAX


def test_tests__their_length__is_bounded() -> None:
    long = {
        file.name: count
        for file in (ROOT / "tests").rglob("*.py")
        if (count := len(file.read_text().splitlines())) > TEST_LINES_MAX
    }
    assert not long


@pytest.mark.parametrize("file", SOURCES, ids=_name)
def test_function__its_length__is_bounded(file: Path) -> None:
    long = {
        found.name: found.end_lineno - found.lineno + 1
        for found in _functions(file)
        if found.end_lineno is not None and found.end_lineno - found.lineno >= FUNCTION_LINES_MAX
    }
    assert not long


def test_handlers__that_catch_everything__stand_at_the_edges_and_each_edge_has_one() -> None:
    broad = {
        _name(file): node.lineno
        for file in SOURCES
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in _BROAD))
    }
    assert broad.keys() == EDGES, broad


_BROAD = {"Exception", "BaseException"}


@pytest.mark.parametrize("file", SOURCES, ids=_name)
def test_handler__of_what_cannot_be_decoded__knows_what_is_not_utf8(file: Path) -> None:
    """Of such bytes in a text msgspec raises Python's error, not its own."""
    caught = [
        (node.lineno, {one.attr if isinstance(one, ast.Attribute) else one.id for one in named})
        for node in ast.walk(ast.parse(file.read_text()))
        if (named := _caught_by(node))
    ]
    forgetful = [line for line, names in caught if names & _OWN and not names & _UNICODE]
    assert not forgetful, f"{_name(file)} takes it for a bug at {forgetful}"


_OWN = {"DecodeError", "MsgspecError"}
_UNICODE = {"UnicodeDecodeError", "UnicodeError", "ValueError"}


def _caught_by(node: ast.AST) -> list[ast.Name | ast.Attribute]:
    """The names of what a handler, or ``suppress``, catches."""
    if isinstance(node, ast.ExceptHandler) and node.type is not None:
        types = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
    elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("suppress"):
        types = node.args
    else:
        return []
    return [one for one in types if isinstance(one, ast.Name | ast.Attribute)]


def test_modules__none__is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc", "shared"}
    assert not [file for file in SOURCES if file.stem in drawers or file.parent.name in drawers]
