"""The table of what each backend passes is of the cases that there are, and says that all pass."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from seafloor.testing.object_store_suite import ObjectStoreSuite

_SCRIPT = Path(__file__).parents[2] / "docs" / "reference" / "make_conformance.py"


def test_page__compared_with_the_tests__has_every_case_passed() -> None:
    spec = importlib.util.spec_from_file_location("make_conformance", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    cells = script.collected()
    assert {cell.backend for cell in cells} == {*script.OBJECTS, *script.METADATA}
    suite = {name for name in dir(ObjectStoreSuite) if name.startswith("test_")}
    assert len({cell.case for cell in cells if cell.page == "objects"}) > len(suite)
    written = script.TARGET.read_text(encoding="utf-8")
    assert script.make_page(dict.fromkeys(cells, True)) == written, (
        "run: python docs/reference/make_conformance.py"
    )
