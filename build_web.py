"""Builds the web page into the package: `src/seafloor/http/web`.

Hatchling calls this for the wheel, the sdist and the editable installation; `python build_web.py`
does the same by hand. It builds only when the page's sources changed since the last time, and
without Node.js it says so and lets the package be built without a page: the API needs none.
`SEAFLOOR_SKIP_WEB=1` leaves the page as it is.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).resolve().parent
NODE_MINIMUM = (20, 19)
SOURCES = ("src", "public", "index.html", "package.json", "package-lock.json", "vite.config.ts")
STAMP = ".stamp"


class WebBuildError(Exception):
    """npm or the bundler failed; they have said why on stderr."""


class CustomBuildHook(BuildHookInterface[Any]):
    """Builds the page before hatchling collects files."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the page, or say why there is none."""
        try:
            say(build_page(Path(self.root)))
        except WebBuildError as error:
            self.app.abort(f"{error}\nSEAFLOOR_SKIP_WEB=1 builds the package without the page.")


def build_page(root: Path = ROOT) -> str:
    """Bring the built page up to date.

    The page is built aside and then put in place, so that a server that runs from this checkout
    never serves half of one; several builds at once wait for each other.

    Returns:
        One line that says what was done.

    Raises:
        WebBuildError: a command failed. What was built before is still there.
    """
    web, target = root / "web", root / "src" / "seafloor" / "http" / "web"
    if os.environ.get("SEAFLOOR_SKIP_WEB") == "1":  # noqa: TID251  # a build has no settings
        return "the page was left as it is (SEAFLOOR_SKIP_WEB=1)"
    if not (web / "package.json").is_file():
        return "the page has no sources here; it was left as it is"
    with _alone(web):
        digest = sources_digest(web)
        if _stamp_of(target) == digest:
            return "the page is up to date"
        problem = node_problem()
        if problem is not None:
            return f"the page was not built: {problem}. The server answers its API without it"
        _install(web)
        _build(web, target, digest)
    size_bytes = sum(file.stat().st_size for file in target.rglob("*") if file.is_file())
    return f"the page was built ({size_bytes / 1024:,.0f} KiB)"


def say(line: str) -> None:
    """Tell who builds; stdout may be read by a program."""
    print(f"seafloor: {line}", file=sys.stderr, flush=True)


def sources_digest(web: Path) -> str:
    """sha256 over the names and contents of everything the page is made from."""
    digest = hashlib.sha256()
    for source in SOURCES:
        path = web / source
        files = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and not file.name.endswith(".test.ts"):
                name = file.relative_to(web).as_posix()
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{name}\0{content}\n".encode())
    return digest.hexdigest()


def node_problem() -> str | None:
    """Why Node.js cannot be used, or None."""
    wanted = ".".join(str(part) for part in NODE_MINIMUM)
    if shutil.which("node") is None or shutil.which("npm") is None:
        return f"Node.js {wanted} or newer with npm was not found on PATH"
    said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", said)
    if found is None or (int(found[1]), int(found[2])) < NODE_MINIMUM:
        return f"Node.js {wanted} or newer is needed, and here is {said.strip() or 'none'}"
    return None


def _install(web: Path) -> None:
    lock = hashlib.sha256((web / "package-lock.json").read_bytes()).hexdigest()
    mark = web / "node_modules" / ".installed-from"
    if mark.is_file() and mark.read_text() == lock:
        return
    _run(["npm", "ci", "--no-fund", "--no-audit"], web)
    mark.write_text(lock)


def _build(web: Path, target: Path, digest: str) -> None:
    aside = web / "dist"
    shutil.rmtree(aside, ignore_errors=True)
    _run(["npm", "run", "--silent", "build", "--", "--outDir", str(aside)], web)
    (aside / STAMP).write_text(digest)
    if target.is_dir():
        shutil.rmtree(target)
    aside.rename(target)


def _run(command: list[str], folder: Path) -> None:
    # npm's words go to stderr: on stdout the build front end expects its own.
    done = subprocess.run(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=sys.stderr.fileno(), check=False
    )
    if done.returncode != 0:
        raise WebBuildError(f"`{' '.join(command)}` in {folder} failed with {done.returncode}.")


def _stamp_of(target: Path) -> str | None:
    if not (target / "index.html").is_file():
        return None
    try:
        return (target / STAMP).read_text()
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


if __name__ == "__main__":
    try:
        say(build_page())
    except WebBuildError as failure:
        sys.exit(f"error: {failure}")
