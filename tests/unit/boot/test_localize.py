"""What ``seafloor localize`` refuses; what it makes is tested in ``tests/e2e``."""

from __future__ import annotations

import json
import os
import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from archive_world import make_archive
from git_world import GitServer, Repository, copy_as_served
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


@pytest.mark.parametrize("as_document", [True, False])
def test_run__folder_whose_name_is_not_utf8__is_told_of(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], *, as_document: bool
) -> None:
    (tmp_path / "x.tar").write_bytes(make_archive("tar"))
    code, cache = tmp_path / "code\udcff", tmp_path / "cache"
    source = (tmp_path / "x.tar").as_uri()
    run(LocalizeCommand(source, code, cache, json=as_document), {})
    sys.stdout.flush()
    said = capfdbinary.readouterr().out
    if as_document:
        assert json.loads(said)["path"] == f"{tmp_path}/code\\xff/x"
    else:
        assert said.startswith(os.fsencode(f"{code}/x: "))


def mounted(data: Path, name: str, **values: str) -> None:
    """A Secret as the kubelet mounts one: links to a folder that is replaced at once."""
    folder = data / "secrets" / name
    (folder / "..2026").mkdir(parents=True)
    (folder / "..data").symlink_to("..2026")
    for key, value in values.items():
        (folder / "..2026" / key).write_text(value)
        (folder / key).symlink_to(f"..data/{key}")


def test_run__secrets_as_a_pod_has_them__are_for_the_hosts_that_they_are_named_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAFLOOR_DATA", str(tmp_path / "data"))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
    library, app = Repository.create(tmp_path / "lib"), Repository.create(tmp_path / "app")
    library.commit({"lib.py": "x = 1\n"})
    copy_as_served(library, tmp_path / "second", "lib.git")
    with (
        GitServer(tmp_path / "first", user="ann", password="one") as first,
        GitServer(tmp_path / "second", user="bob", password="two") as second,
    ):
        elsewhere = second.url.replace("127.0.0.1", "localhost")
        app.add_submodule(library, "lib", f"{elsewhere}/lib.git")
        app.commit()
        copy_as_served(app, first.root, "app.git")
        mounted(tmp_path / "data", "team", username="ann", password="one")
        mounted(tmp_path / "data", "partner", username="bob", password="two")
        command = LocalizeCommand(
            f"git+{first.url}/app.git", tmp_path / "code", tmp_path / "cache", secret="team"
        )
        with pytest.raises(SourceError, match="asks for a password"):
            run(command, {})
        assert (first.shown, second.shown) == ({"ann:one"}, set())

        run(replace(command, secrets={"localhost": "partner"}), {})

        assert (first.shown, second.shown) == ({"ann:one"}, {"bob:two"})
        assert (tmp_path / "code" / "app" / "lib" / "lib.py").is_file()


def test_run__secret_that_goes_with_nothing_there__is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAFLOOR_DATA", str(tmp_path / "data"))
    mounted(tmp_path / "data", "team", token="one")
    for source, words in {
        "s3://bucket/a.tar": "Named secrets are for web servers",
        "file:///etc/passwd": "Named secrets are for web servers",
        "git+file:///x": "is on this machine",
        f"snapshot:{'0' * 64}": "--secret is for repositories and archives",
    }.items():
        command = LocalizeCommand(source, tmp_path / "code", tmp_path / "cache", secret="team")
        with pytest.raises(InvalidValue, match=words):
            run(command, {})


@pytest.mark.parametrize(
    "source", ["htps://user:canary@host/x.tar.gz", "xyz://host/x.tar?token=canary"]
)
def test_run__no_source_with_a_secret_in_it__is_shown_without_it(
    tmp_path: Path, source: str
) -> None:
    with pytest.raises(InvalidValue, match="is no source of code") as caught:
        run(LocalizeCommand(source, tmp_path / "code", tmp_path / "cache"), {})
    assert "canary" not in str(caught.value)
