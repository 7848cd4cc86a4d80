"""The shape of the code: sizes, edges, and nothing that names itself a drawer."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from pathlib import Path

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


def _functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _trees() -> Iterator[tuple[str, ast.AST]]:
    """Each module and what it says: one at a time, as all together fill the memory."""
    for file in SOURCES:
        yield _name(file), ast.parse(file.read_text())


def _longer(files: Iterable[Path], lines_max: int) -> dict[str, int]:
    counts = {str(file.relative_to(ROOT)): file.read_bytes().count(b"\n") for file in files}
    return {name: count for name, count in counts.items() if count > lines_max}


def test_files__their_length__is_bounded() -> None:
    assert not _longer(SOURCES, MODULE_LINES_MAX)
    assert not _longer((ROOT / "tests").rglob("*.py"), TEST_LINES_MAX)


def test_functions__their_length__is_bounded() -> None:
    long = {
        f"{name}: {found.name}": found.end_lineno - found.lineno + 1
        for name, tree in _trees()
        for found in _functions(tree)
        if found.end_lineno is not None and found.end_lineno - found.lineno >= FUNCTION_LINES_MAX
    }
    assert not long


def test_handlers__that_catch_everything__stand_at_the_edges_and_each_edge_has_one() -> None:
    broad = {
        name: node.lineno
        for name, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in _BROAD))
    }
    assert broad.keys() == EDGES, broad


_BROAD = {"Exception", "BaseException"}


def test_handlers__of_what_cannot_be_decoded__know_what_is_not_utf8() -> None:
    """Of such bytes in a text msgspec raises Python's error, not its own."""
    forgetful = [
        f"{name}:{node.lineno}"
        for name, tree in _trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler | ast.Call) and _is_forgetful(node)
    ]
    assert not forgetful, "takes it for a bug"


def _is_forgetful(node: ast.ExceptHandler | ast.Call) -> bool:
    caught = _caught_by(node)
    names = {one.attr if isinstance(one, ast.Attribute) else one.id for one in caught}
    return bool(names & _OWN) and not names & _UNICODE


_OWN = {"DecodeError", "MsgspecError"}
_UNICODE = {"UnicodeDecodeError", "UnicodeError", "ValueError"}


def _caught_by(node: ast.ExceptHandler | ast.Call) -> list[ast.Name | ast.Attribute]:
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
