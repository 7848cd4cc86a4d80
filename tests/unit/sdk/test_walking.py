"""Folders that are to be kept are kept whole, or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from import_world import WITHOUT_RIGHTS
from seafloor.sdk.walking import kept_files

_LOG_ALL = """
import sys
import seafloor
from seafloor.domain.errors import InvalidValue

run = seafloor.start_run(experiment="e")
try:
    run.log_artifacts(sys.argv[1])
except InvalidValue as error:
    print(error.message)
"""


def test_kept_files__links_and_pipes_among_files__files_in_order_and_the_rest_is_told(
    tmp_path: Path,
) -> None:
    for name in ("b/2", "b/1", "a"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "again").symlink_to("a")
    (tmp_path / "round").symlink_to(".")
    (tmp_path / "nowhere").symlink_to("nothing")
    os.mkfifo(tmp_path / "b" / "pipe")
    odd: list[Path] = []
    found = list(kept_files(tmp_path, odd=odd.append, field="directory"))
    assert [str(file.relative_to(tmp_path)) for file in found] == ["a", "again", "b/1", "b/2"]
    assert [file.name for file in odd] == ["pipe", "nowhere", "round"]


def test_log_artifacts__a_folder_below_may_not_be_read__says_so_and_keeps_nothing(
    tmp_path: Path,
) -> None:
    """What was in it was left out without a word."""
    files = tmp_path / "files"
    locked = files / "locked"
    locked.mkdir(parents=True)
    for folder in (files, locked):
        (folder / "weights").write_text("w")
    locked.chmod(0)
    env = {key: value for key, value in os.environ.items() if not key.startswith("SEAFLOOR_")}
    said = subprocess.run(
        [*WITHOUT_RIGHTS, sys.executable, "-c", _LOG_ALL, str(files)],
        env={**env, "SEAFLOOR_HOME": str(tmp_path / "home"), "SEAFLOOR_URL": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    locked.chmod(0o700)
    assert said.stdout.startswith(f'The folder "{locked}" cannot be read (Permission denied)')
    spooled = [path for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert spooled
    assert b"weights" not in b"".join(path.read_bytes() for path in spooled)
