"""What the doctor says of ``/code``, for each thing that a machine may refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from seafloor.boot import code_checks
from seafloor.boot.code_checks import check_code
from seafloor.boot.settings import LaunchSettings, Settings
from seafloor.launch.local.code_mounts import CodeMounts


def _settings(folder: Path) -> Settings:
    return Settings(data_dir=folder / "data")


def test_check_code__this_machine__says_what_the_launcher_would_do(tmp_path: Path) -> None:
    mounts = CodeMounts(wanted=True)

    found = {check.name: check.state for check in check_code(_settings(tmp_path))}

    assert (found["/code"] == "ok") == mounts.work()
    shares = mounts.share(tmp_path / "trees", tmp_path / "work")
    assert (found.get("/code: shared") == "ok") == shares
    assert {path.name for path in tmp_path.iterdir()} <= {"trees", "work"}


def test_check_code__no_mounts__warns_with_the_reason_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_checks, "why_no_mount", lambda: "Operation not permitted")

    (found,) = check_code(_settings(tmp_path))

    assert found.state == "warn"
    assert "Operation not permitted" in found.said
    assert "user namespaces" in found.fix


def test_check_code__no_layers__warns_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(code_checks, "why_no_mount", lambda: "")
    monkeypatch.setattr(code_checks, "why_no_layers", lambda *_: "Invalid argument")

    mounted, shared = check_code(_settings(tmp_path))

    assert (mounted.state, shared.state) == ("ok", "warn")
    assert "Invalid argument" in shared.said


def test_check_code__a_path_that_cannot_be_named_in_layers__says_so(tmp_path: Path) -> None:
    if not CodeMounts(wanted=True).work():
        pytest.skip("this machine allows no mount namespaces; lifted where it does")
    place = tmp_path / "a:b"
    place.mkdir()

    *_, shared = check_code(_settings(place))

    assert shared.state == "warn"
    assert "colon" in shared.said


def test_check_code__turned_off__tries_nothing(tmp_path: Path) -> None:
    off = dataclasses.replace(_settings(tmp_path), launch=LaunchSettings(mount_code=False))

    (found,) = check_code(off)

    assert found.state == "ok"
    assert "mount_code" in found.said
