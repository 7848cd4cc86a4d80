"""Every test here runs git with a configuration of its own, not the machine's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive_world import Place
from git_world import GitServer, Repository

_CONFIG = """
[user]
    name = Test
    email = test@example.com
[commit]
    gpgsign = false
[protocol "file"]
    allow = always
[maintenance]
    auto = false
[gc]
    auto = 0
"""


@pytest.fixture(autouse=True)
def git_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's git configuration, for this test only; a test may write more into it."""
    home = tmp_path_factory.mktemp("home")
    config = home / ".gitconfig"
    config.write_text(_CONFIG)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    return config


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """A repository of two commits, with a branch, a tag and an annotated tag."""
    made = Repository.create(tmp_path / "origin" / "digits")
    made.commit({"train.py": "print('first')\n"}, "first")
    return made


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    """A git server with a folder for repositories, ``served``."""
    (tmp_path / "served").mkdir()
    with GitServer(tmp_path / "served") as running:
        yield running


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Where code is localised."""
    return Place(tmp_path / "place")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of four megabytes."""
    place = tmp_path / "small"
    place.mkdir()
    if os.getuid() != 0:
        pytest.skip("only root can mount a small file system; lifted when the tests run as root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode != 0:
        pytest.skip("this machine mounts nothing; lifted where it does")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
