"""An environment that was made beside another image's Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from seafloor.agent.environment import fit_environment


def made(folder: Path, version: str = "") -> dict[str, str]:
    """A virtual environment whose Python is nowhere."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin/python"
    python.unlink()
    python.symlink_to("/nowhere/bin/python3")
    config = folder / "pyvenv.cfg"
    config.write_text(
        "\n".join(
            "home = /nowhere/bin" if line.startswith("home") else line
            for line in config.read_text().splitlines()
        )
    )
    if version:
        (found,) = (folder / "lib").iterdir()
        found.rename(found.with_name(version))
    return {"VIRTUAL_ENV": str(folder)}


def prefix_of(folder: Path) -> str:
    asked = [str(folder / "bin/python"), "-c", "import sys; print(sys.prefix)"]
    return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()


def test_fit__python_is_not_here__takes_the_one_that_is(tmp_path: Path) -> None:
    variables = made(tmp_path / "env")
    assert fit_environment(variables) is None
    assert prefix_of(tmp_path / "env") == str(tmp_path / "env")
    assert fit_environment(variables) is None


def test_fit__another_version__says_which(tmp_path: Path) -> None:
    said = fit_environment(made(tmp_path / "env", "python3.7"))
    assert said is not None
    assert "python3.7" in said
    assert "python{}.{}".format(*sys.version_info[:2]) in said


def test_fit__python_is_here_or_none_is_asked_for__changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "env"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    before = (folder / "bin/python").readlink()
    assert fit_environment({"VIRTUAL_ENV": str(folder)}) is None
    assert (folder / "bin/python").readlink() == before
    assert fit_environment({}) is None
    assert fit_environment({"VIRTUAL_ENV": str(tmp_path / "none")}) is None
