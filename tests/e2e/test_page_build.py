"""How the page gets into the package, and the page's own unit tests."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
# Stands in for npm: notes what it was asked for, and builds a page of one file.
NPM = """#!/bin/sh
echo "$1" >> {calls}
if [ -e {broken} ]; then echo "npm error: no such package" >&2; exit 7; fi
if [ "$1" = ci ]; then mkdir -p node_modules; exit 0; fi
for last; do :; done
mkdir -p "$last" && cp src/page.txt "$last/index.html"
"""


@pytest.fixture(scope="module")
def build_web() -> ModuleType:
    """The build hook, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("build_web", ROOT / "build_web.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Checkout:
    """A source tree with a page, and a PATH on which npm is our own."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "checkout"
        self.tools = folder / "tools"
        self.calls_file = folder / "calls"
        self.broken = folder / "broken"
        self.page = self.root / "web" / "src" / "page.txt"
        self.page.parent.mkdir(parents=True)
        (self.root / "src" / "seafloor" / "http").mkdir(parents=True)
        for name in ("package.json", "package-lock.json", "index.html", "vite.config.ts"):
            (self.root / "web" / name).write_text(name)
        self.page.write_text("one")
        self.tools.mkdir()

    def install_node(self, version: str = "v22.1.0") -> None:
        scripts = {
            "node": f"#!/bin/sh\necho {version}\n",
            "npm": NPM.format(calls=self.calls_file, broken=self.broken),
        }
        for name, text in scripts.items():
            (self.tools / name).write_text(text)
            (self.tools / name).chmod(0o755)

    @property
    def calls(self) -> list[str]:
        return self.calls_file.read_text().split() if self.calls_file.exists() else []

    @property
    def built(self) -> str:
        return (self.root / "src/seafloor/http/web/index.html").read_text()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkout:
    made = Checkout(tmp_path)
    for name in ("sh", "mkdir", "cp"):
        found = shutil.which(name)
        assert found is not None
        (made.tools / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(made.tools))
    monkeypatch.delenv("SEAFLOOR_SKIP_WEB", raising=False)
    return made


def test_build_page__no_node__says_so_and_builds_the_package(
    build_web: ModuleType, checkout: Checkout
) -> None:
    line = build_web.build_page(checkout.root)
    assert "Node.js 20.19 or newer with npm was not found" in line
    assert "The server answers its API without it" in line


def test_build_page__old_node__names_both_versions(
    build_web: ModuleType, checkout: Checkout
) -> None:
    checkout.install_node("v18.20.4")
    line = build_web.build_page(checkout.root)
    assert "Node.js 20.19 or newer is needed, and here is v18.20.4" in line
    assert checkout.calls == []


def test_build_page__sources_changed__builds_once_and_installs_once(
    build_web: ModuleType, checkout: Checkout
) -> None:
    checkout.install_node()
    assert build_web.build_page(checkout.root).startswith("the page was built")
    assert checkout.built == "one"
    assert build_web.build_page(checkout.root) == "the page is up to date"
    assert checkout.calls == ["ci", "run"]
    checkout.page.write_text("two")
    build_web.build_page(checkout.root)
    assert checkout.built == "two"
    assert checkout.calls == ["ci", "run", "run"]


def test_build_page__npm_fails__shows_its_words_and_keeps_the_old_page(
    build_web: ModuleType, checkout: Checkout, capfd: pytest.CaptureFixture[str]
) -> None:
    checkout.install_node()
    build_web.build_page(checkout.root)
    checkout.page.write_text("two")
    checkout.broken.touch()
    with pytest.raises(build_web.WebBuildError, match="failed with 7"):
        build_web.build_page(checkout.root)
    assert "npm error: no such package" in capfd.readouterr().err
    assert checkout.built == "one"


def test_build_page__asked_to_skip__touches_nothing(
    build_web: ModuleType, checkout: Checkout, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout.install_node()
    monkeypatch.setenv("SEAFLOOR_SKIP_WEB", "1")
    assert "left as it is" in build_web.build_page(checkout.root)
    assert checkout.calls == []


def test_lock_file__of_the_page__names_no_address() -> None:
    lock = (ROOT / "web" / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock


@pytest.fixture
def vitest() -> Callable[[], subprocess.CompletedProcess[str]]:
    npx = shutil.which("npx")
    if npx is None or not (ROOT / "web" / "node_modules").is_dir():
        pytest.skip("the page's packages are not installed here: make web")
    return lambda: subprocess.run(
        [npx, "vitest", "run", "--testTimeout=120000"],
        cwd=ROOT / "web",
        check=False,
        capture_output=True,
        text=True,
    )


def test_units__of_the_page__pass(
    vitest: Callable[[], subprocess.CompletedProcess[str]],
) -> None:
    done = vitest()
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
