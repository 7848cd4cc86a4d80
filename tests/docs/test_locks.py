"""What the image is built from is what was tested: the lock files say what the pins say."""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
AGAIN = "run `.venv/bin/python deploy/make_locks.py`"
_PIN = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def _pins(path: Path) -> dict[str, str]:
    return {canonicalize_name(name): pin for name, pin in _PIN.findall(path.read_text())}


def _wanted() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["server"]]
    return [Requirement(line) for line in lines]


def _needed(wanted: list[Requirement]) -> Iterator[str]:
    """Names of what is needed, with what that needs, as what is installed here says."""
    seen: set[tuple[str, frozenset[str]]] = set()
    while wanted:
        one = wanted.pop()
        name, extras = canonicalize_name(one.name), frozenset(one.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        yield name
        for line in importlib.metadata.requires(name) or ():
            found = Requirement(line)
            asked = [{"extra": extra} for extra in extras] or [{"extra": ""}]
            if found.marker is None or any(map(found.marker.evaluate, asked)):
                wanted.append(found)


@pytest.mark.parametrize("name", ["requirements.lock", "build.lock"])
def test_lock__each_pin__is_that_of_the_constraints_with_digests(name: str) -> None:
    lock = ROOT / "deploy" / name
    tested = _pins(ROOT / "constraints.txt")
    pins = _pins(lock)
    assert pins
    assert {one: pin for one, pin in pins.items() if tested.get(one) != pin} == {}, AGAIN
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    assert [entry for entry in entries if "==" in entry and "--hash=sha256:" not in entry] == []


def test_lock__of_the_server__has_what_it_needs_and_nothing_else() -> None:
    assert set(_pins(ROOT / "deploy/requirements.lock")) == set(_needed(_wanted())), AGAIN
