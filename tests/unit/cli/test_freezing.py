"""What ``seafloor env freeze`` reads of a Python."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from seafloor.cli.freezing import Frozen, ask_python

CANARY = "canarypw"
SHA256 = "0" * 64


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """A Python with nothing installed."""
    made = tmp_path / "venv"
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", made], check=True, capture_output=True
    )
    return made / "bin" / "python"


def install(python: Path, name: str, direct: dict[str, Any] | str) -> Path:
    """Leave what pip leaves of a package from an address; the file that says which."""
    site = next((python.parents[1] / "lib").glob("python*/site-packages"))
    info = site / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "INSTALLER").write_text("pip\n")
    told = info / "direct_url.json"
    told.write_text(direct if isinstance(direct, str) else json.dumps(direct))
    return told


def conda_meta(python: Path, name: str, text: str) -> Path:
    """Leave what conda leaves of a package."""
    path = python.parents[1] / "conda-meta" / f"{name}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def only(packages: list[Frozen], name: str) -> Frozen:
    return next(one for one in packages if one.name == name)


@pytest.mark.parametrize(
    ("direct", "requirement"),
    [
        (
            {
                "url": f"https://user:{CANARY}@host/x.git",
                "vcs_info": {"vcs": "git", "commit_id": "a" * 40},
            },
            f"x @ git+https://host/x.git@{'a' * 40}",
        ),
        (
            {
                "url": f"ssh://git:{CANARY}@host/x.git",
                "vcs_info": {"vcs": "git", "commit_id": "a" * 40},
            },
            f"x @ git+ssh://git@host/x.git@{'a' * 40}",
        ),
        (
            {
                "url": f"https://user:{CANARY}@host/x.whl",
                "archive_info": {"hashes": {"sha256": SHA256}},
            },
            f"x @ https://host/x.whl#sha256={SHA256}",
        ),
        ({"url": f"https://user:{CANARY}@host/x.whl", "archive_info": {}}, ""),
        (
            {
                "url": f"https://host/x.whl?token={CANARY}",
                "archive_info": {"hashes": {"sha256": SHA256}},
            },
            "",
        ),
    ],
)
def test_ask__an_address_with_a_secret__is_given_and_shown_without_it(
    python: Path, direct: dict[str, Any], requirement: str
) -> None:
    install(python, "x", direct)
    found = only(ask_python(python)[1], "x")
    assert found.requirement == requirement
    assert found.note
    assert CANARY not in str(found)


def test_ask__a_channel_with_a_token__is_given_without_it(python: Path) -> None:
    for name, host in (("a", f"user:{CANARY}@host"), ("b", f"host/t/{CANARY}")):
        record = {"name": name, "version": "1", "build": "0"}
        record["channel"] = f"https://{host}/team/linux-64"
        conda_meta(python, name, json.dumps(record))
    assert ask_python(python)[2] == ["https://host/team"]


@pytest.mark.parametrize(
    ("direct", "requirement"),
    [
        (
            {
                "url": "https://host/x.git",
                "subdirectory": "python/x",
                "vcs_info": {"vcs": "git", "commit_id": "a" * 40},
            },
            f"x @ git+https://host/x.git@{'a' * 40}#subdirectory=python/x",
        ),
        (
            {
                "url": "https://host/x.zip",
                "subdirectory": "x",
                "archive_info": {"hashes": {"sha256": SHA256}},
            },
            f"x @ https://host/x.zip#sha256={SHA256}&subdirectory=x",
        ),
    ],
)
def test_ask__a_package_in_a_folder_of_its_source__is_asked_for_there(
    python: Path, direct: dict[str, Any], requirement: str
) -> None:
    install(python, "x", direct)
    found = only(ask_python(python)[1], "x")
    assert (found.requirement, found.note) == (requirement, "")


@pytest.mark.parametrize("text", ["{", "[]", '{"url": "x", "vcs_info": []}'])
def test_ask__a_file_that_cannot_be_read__is_named(python: Path, text: str) -> None:
    path = install(python, "x", text)
    with pytest.raises(click.ClickException, match="cannot be read") as caught:
        ask_python(python)
    assert str(path) in caught.value.message


@pytest.mark.parametrize("text", ["{", "[]"])
def test_ask__a_record_of_conda_that_cannot_be_read__is_named(python: Path, text: str) -> None:
    path = conda_meta(python, "x", text)
    with pytest.raises(click.ClickException, match="cannot be read") as caught:
        ask_python(python)
    assert str(path) in caught.value.message
