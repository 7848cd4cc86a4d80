"""What ``seafloor localize`` refuses; what it makes is tested in ``tests/e2e``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from seafloor.boot.localize import LocalizeCommand, run
from seafloor.domain.errors import InvalidValue, SeafloorError, SourceError


@pytest.mark.parametrize(
    ("source", "options", "cls", "words"),
    [
        ("digits", {}, InvalidValue, "is no source of code. Give git+https://"),
        ("https+git://x", {}, InvalidValue, "is no source of code"),
        ("git+file:///no/such/repository", {}, SourceError, "/no/such/repository"),
        ("git+https://user:password@host/x.git", {}, InvalidValue, "holds a password"),
        ("git+file:///x@", {}, InvalidValue, "no ref after the @"),
        ("git+file:///x", {"sha256": "0" * 64}, InvalidValue, "are for archives"),
        ("file:///etc/passwd", {"etag": "12-34"}, SourceError, "has changed since"),
        ("file:///no/such.tar", {}, SourceError, "/no/such.tar"),
        ("file:///etc/passwd", {}, InvalidValue, "neither a tar"),
        ("file:///etc/passwd", {"name": "../x"}, InvalidValue, "cannot be the name of a folder"),
        ("file:///etc/passwd", {"sha256": "f" * 64}, SourceError, "its sha256 is"),
        ("s3://b/x.tar?versionId=3", {}, InvalidValue, "ends with its path"),
        ("gs:///x.tar", {}, InvalidValue, "names no archive"),
    ],
)
def test_run__source_that_cannot_be__says_why_and_leaves_nothing(
    tmp_path: Path, source: str, options: dict[str, str], cls: type[SeafloorError], words: str
) -> None:
    command = LocalizeCommand(source, tmp_path / "code", tmp_path / "cache", **options)

    with pytest.raises(cls, match=re.escape(words)):
        run(command, {})

    code = tmp_path / "code"
    assert not code.exists() or {path.name for path in code.iterdir()} == {".localize.lock"}
