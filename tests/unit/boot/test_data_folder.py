"""The folder of a server's data, as others see it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from seafloor.boot.data_folder import DataFolder
from seafloor.code.working_folder import read_working_folder


def _paths(folder: Path) -> set[str]:
    found = read_working_folder(folder, warn=pytest.fail)
    return {path.decode() for path in found.files}


@pytest.fixture(params=["git", "no git"])
def project(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("pass\n")
    if request.param == "git":
        subprocess.run(["git", "init", "--quiet", str(folder)], check=True)
    return folder


def test_data_folder__within_a_project__is_no_part_of_its_code(project: Path) -> None:
    (project / "data" / "secrets").mkdir(parents=True)
    (project / "data" / "secrets" / "forge.json").write_text("{}")
    folder = DataFolder(project / "data")
    folder.key()
    folder.close()
    assert _paths(project) == {"train.py"}


def test_data_folder__that_is_the_project_itself__hides_none_of_its_files(project: Path) -> None:
    folder = DataFolder(project)
    folder.close()
    assert "train.py" in _paths(project)


def test_data_folder__opened_again__leaves_what_its_owner_made_of_it(tmp_path: Path) -> None:
    DataFolder(tmp_path / "data").close()
    (tmp_path / "data" / ".gitignore").unlink()
    DataFolder(tmp_path / "data").close()
    assert not (tmp_path / "data" / ".gitignore").exists()
