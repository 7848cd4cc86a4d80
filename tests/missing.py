"""What a test does where the machine lacks what it needs."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest
from tests.services._service import Missing, Refused


def skip_missing(name: str, error: Missing) -> NoReturn:
    """Skip a test, with the reason. In CI it fails, unless it is the machine that refuses."""
    if "CI" in os.environ and not isinstance(error, Refused):
        raise AssertionError(f"CI needs {name}: {error}") from error
    pytest.skip(f"{name}: {error}")


def need_git_lfs() -> None:
    """Skip a test where there is no git-lfs; see ``skip_missing``."""
    if shutil.which("git-lfs") is None:
        skip_missing("git-lfs", Missing("apt-get install git-lfs"))
