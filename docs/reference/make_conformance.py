"""Writes ``conformance.md`` from a run of the suites on real servers.

``python docs/reference/make_conformance.py`` runs them, which takes some minutes. A test compares
the page with the cases that there are now.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
TARGET = Path(__file__).with_name("conformance.md")
MODULES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("test_objects_*.py", "test_metadata_*.py")
    for path in (ROOT / "tests" / "conformance").glob(pattern)
)

_HEAD = """\
# Which cases each backend passes

*Made by `python docs/reference/make_conformance.py` from a run on real servers; a test compares it
with the cases that there are.*

A case is the same code for every backend, in `seafloor.testing`; what a backend cannot do is tested
to be refused. `yes`: passed, with all its variants; `no`: failed; empty: not a case of that backend
(those of durability are not for memory).
"""

OBJECTS = ("memory", "folder", "S3", "Azure", "GCS", "HDFS")
METADATA = ("memory", "SQLite", "PostgreSQL", "MariaDB")
_CLASSES = {
    "TestMemoryObjectStore": "memory",
    "TestLocalObjectStore": "folder",
    "TestS3ObjectStore": "S3",
    "TestAzureObjectStore": "Azure",
    "TestGcsObjectStore": "GCS",
    "TestHdfsObjectStore": "HDFS",
}
_KINDS = {
    "memory": "memory",
    "local": "folder",
    "s3": "S3",
    "azure": "Azure",
    "gcs": "GCS",
    "hdfs": "HDFS",
    "sqlite": "SQLite",
    "postgresql": "PostgreSQL",
    "mariadb": "MariaDB",
}
_MACHINES = {
    "test_objects_planted_faults::test_machine__the_model_itself__passes": "memory",
    "test_objects_local::test_any_calls__in_any_order__are_those_of_the_model": "folder",
    "test_objects_gcs::test_any_calls__over_http__are_those_of_the_model": "GCS",
    "test_objects_hdfs::test_any_calls__on_a_real_server__are_those_of_the_model": "HDFS",
}
_MACHINE = "any calls: in any order: are those of the model (state machine)"


class Cell(NamedTuple):
    """One case of one backend."""

    page: str
    case: str
    backend: str


def cell_of(module: str, group: str, name: str) -> Cell | None:
    """Say where a test stands on the page; None for those that are about one backend only.

    Args:
        module: As ``test_objects_hdfs``.
        group: Its class, empty without one.
        name: With its variant in brackets.
    """
    function, _, variant = name.partition("[")
    kind = next((_KINDS[one] for one in re.split(r"[-\]]", variant) if one in _KINDS), "")
    if group in _CLASSES:
        return Cell("objects", _words(function), _CLASSES[group])
    if group == "TestMemoryMetadataStore":
        return Cell("metadata", _words(function), "memory")
    if group == "TestSqlMetadataStore":
        return Cell("metadata", _words(function), kind)
    if group:
        return None
    if backend := _MACHINES.get(f"{module}::{function}"):
        return Cell("objects", _MACHINE, backend)
    if module == "test_objects_cloud" and function.startswith("test_any_calls"):
        return Cell("objects", _MACHINE, kind)
    if module in {"test_objects_fault_run", "test_objects_large_listing"}:
        return Cell("objects", _words(function), kind)
    if module == "test_metadata_machine":
        return Cell("metadata", _MACHINE, kind)
    return None


def make_page(passed: Mapping[Cell, bool]) -> str:
    """The whole page."""
    parts = [_HEAD]
    for page, title, backends in (
        ("objects", "Objects", OBJECTS),
        ("metadata", "Metadata", METADATA),
    ):
        cases = sorted({cell.case for cell in passed if cell.page == page})
        parts.append(f"\n## {title}\n\n| case | {' | '.join(backends)} |\n")
        parts.append(f"|---|{'---|' * len(backends)}\n")
        for case in cases:
            cells = [passed.get(Cell(page, case, backend)) for backend in backends]
            said = ["" if cell is None else "yes" if cell else "no" for cell in cells]
            parts.append(f"| {case} | {' | '.join(said)} |\n")
    return "".join(parts)


def collected() -> list[Cell]:
    """The cells of all tests that there are."""
    done = _pytest("--collect-only", "-q", "--no-header")
    return [cell for line in done.stdout.splitlines() if (cell := _cell_of_id(line)) is not None]


def _cell_of_id(line: str) -> Cell | None:
    path, _, rest = line.partition(".py::")
    group, _, name = rest.rpartition("::") if "::" in rest.split("[")[0] else ("", "", rest)
    return cell_of(Path(path).name, group, name) if rest else None


def _measured() -> dict[Cell, bool]:
    """Run all, and say of each cell whether all its tests passed."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        _pytest("-q", f"--junitxml={report}", capture=False)
        tests = ET.parse(report).getroot().iter("testcase")  # noqa: S314  # our own file
        return _joined(
            (cell, not [one.tag for one in test if one.tag in {"failure", "error", "skipped"}])
            for test in tests
            if (cell := _cell_of_report(test)) is not None
        )


def _cell_of_report(test: ET.Element) -> Cell | None:
    names = test.attrib["classname"].split(".")
    module = next((at for at, name in enumerate(names) if name.startswith("test_")), None)
    if module is None:
        return None
    return cell_of(names[module], ".".join(names[module + 1 :]), test.attrib["name"])


def _joined(found: Iterable[tuple[Cell, bool]]) -> dict[Cell, bool]:
    passed: dict[Cell, bool] = {}
    for cell, ok in found:
        passed[cell] = passed.get(cell, True) and ok
    return passed


def _words(function: str) -> str:
    """``test_list__last_page__says_so`` as ``list: last page: says so``."""
    return function.removeprefix("test_").replace("__", ": ").replace("_", " ")


def _pytest(*arguments: str, capture: bool = True) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments, *MODULES]
    return subprocess.run(command, cwd=ROOT, capture_output=capture, text=True, check=False)


if __name__ == "__main__":
    TARGET.write_text(make_page(_measured()), encoding="utf-8")
