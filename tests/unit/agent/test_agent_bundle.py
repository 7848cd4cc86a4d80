"""The agent as one file: the standard library only, Python 3.8 and later, always the same bytes."""

from __future__ import annotations

import ast
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import seafloor.agent
from seafloor.agent.bundle import build_agent

SOURCES = sorted(
    path for path in Path(seafloor.agent.__file__).parent.glob("*.py") if path.name != "bundle.py"
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_source__python_3_8__parses(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_source__imports__its_own_modules_and_the_standard_library(path: Path) -> None:
    own = {source.stem for source in SOURCES}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1
            inside = [node.module] if node.module else [name.name for name in node.names]
            assert set(inside) <= own
            continue
        else:
            continue
        for module in modules:
            assert module.split(".")[0] in sys.stdlib_module_names, module


def test_build__twice__one_file_with_the_same_bytes(tmp_path: Path) -> None:
    first, second = build_agent(tmp_path / "a"), build_agent(tmp_path / "b")
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()
    assert build_agent(tmp_path / "a") == first
    assert list((tmp_path / "a").iterdir()) == [first]


def test_build__content__every_module_and_not_its_builder(tmp_path: Path) -> None:
    with zipfile.ZipFile(build_agent(tmp_path)) as archive:
        names = set(archive.namelist())
    assert {f"seafloor_agent/{path.name}" for path in SOURCES} <= names
    assert not any("bundle" in name for name in names)


def test_build__run__finds_itself_without_the_package(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(build_agent(tmp_path))],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("agent: exec or ship?")


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--task-dir", "x"],
        ["exec"],
        ["exec", "--task-dir"],
        ["exec", "--task-dir", "x", "--other", "y"],
        ["ship", "--task-dir", "x", "--lock-fd", "none"],
        ["ship", "--task-dir", "x", "--lock-fd", "99"],
    ],
)
def test_main__wrong_arguments__usage(tmp_path: Path, arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(build_agent(tmp_path)), *arguments],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "usage: agent.pyz" in done.stderr


def test_import__before_the_command_starts__nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import seafloor_agent.execute; "
        "print([m for m in ('http.client', 'ssl', 'subprocess', 'hashlib', 'random', 'socket') "
        "if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(build_agent(tmp_path))],
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]"
