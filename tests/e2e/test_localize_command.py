"""``seafloor localize``: the one program that does it everywhere."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.services._service import Service

from archive_corpus import item, tar
from archive_world import (
    ArchiveServer,
    Served,
    expected_tree,
    make_archive,
    packed,
    sha256_of,
)
from client_process import Client
from git_world import LAYOUT, Repository, tree_of
from live_server import LiveServer
from seafloor.code.snapshot import take_snapshot
from seafloor.stores.objects.open import open_objects


class User:
    """Somebody at a shell; there need not be a server."""

    def __init__(self, root: Path, url: str = "", **variables: str) -> None:
        self.client = Client(root / "home", url)
        self.variables = variables
        self.code = root / "code"
        self.cache = root / "cache"

    def localize(self, source: str, *options: str, code: int = 0) -> Any:
        """Localise with ``--json``; what it printed, or its one line on standard error."""
        words = ("localize", source, "--to", str(self.code), "--cache", str(self.cache), *options)
        ended = self.client.cli(*words, "--json", **self.variables)
        assert ended.returncode == code, ended
        if code:
            assert len(ended.stderr.strip().splitlines()) == 1
            return ended.stderr
        return json.loads(ended.stdout)

    def names(self) -> set[str]:
        return {path.name for path in self.code.iterdir()}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
    made = Repository.create(tmp_path / "origin" / "digits")
    made.commit({"train.py": "print('first')\n"}, "first")
    return made


def test_localize__git_at_a_ref__is_the_layout_of_a_run(
    repository: Repository, tmp_path: Path
) -> None:
    subprocess.run(["git", "-C", str(repository.path), "tag", "v1"], check=True)
    first = repository.head
    repository.commit({"train.py": "print('second')\n"}, "second")
    user = User(tmp_path)

    said = user.localize(f"git+file://{repository.path}@v1")

    assert said["path"] == str(user.code / "digits")
    assert said["receipt"]["commit"] == first
    assert said["receipt"]["ref"] == "v1"
    assert user.names() == LAYOUT
    assert (user.code / "current").readlink() == Path("digits")
    assert (user.code / "current/train.py").read_text() == "print('first')\n"
    kept = json.loads((user.code / ".receipt.json").read_bytes())
    assert {key: kept[key] for key in said["receipt"]} == said["receipt"]
    assert user.localize(f"git+file://{repository.path}")["receipt"]["commit"] == repository.head
    assert (user.code / "current/train.py").read_text() == "print('second')\n"


async def test_localize__archive_in_a_bucket__is_the_same_layout(
    service: Callable[[str], Service], tmp_path: Path
) -> None:
    content = make_archive("tar.zst")
    store = open_objects(service("s3").url, service("s3").env)
    await store.put("localized/digits.tar.zst", content)
    await store.close()
    user = User(tmp_path, **service("s3").env)

    url = f"{service('s3').url}/localized/digits.tar.zst"
    said = user.localize(url, "--sha256", sha256_of(content))

    assert said["receipt"]["sha256"] == sha256_of(content)
    assert user.names() == LAYOUT
    assert tree_of(user.code / "digits") == expected_tree()


def test_localize__with_name_and_strip_components__is_what_tar_would_make(tmp_path: Path) -> None:
    content = packed("tar.gz", tar(item("digits-1.2/a/b.py"), item("digits-1.2/c"), item("d")))
    with ArchiveServer() as web:
        web.files["/v1.2.tar.gz"] = Served(content)
        user = User(tmp_path)
        options = ("--name", "digits", "--strip-components", "1")
        user.localize(f"{web.url}/v1.2.tar.gz", *options)

    assert user.names() == LAYOUT
    assert set(tree_of(user.code / "digits")) == {b"a/b.py", b"c"}


def test_localize__snapshot_of_a_server__is_the_folder(
    repository: Repository, tmp_path: Path
) -> None:
    source = take_snapshot(repository.path, tmp_path / "s.tar.zst")
    server = LiveServer(tmp_path / "data")
    server.start()
    try:
        archive = (tmp_path / "s.tar.zst").read_bytes()
        server.request("PUT", f"/api/v1/snapshots/{source.sha256}", archive)
        user = User(tmp_path, server.url)

        said = user.localize(f"snapshot:{source.sha256}", "--name", "digits")

        assert said["receipt"]["sha256"] == source.sha256
        assert user.names() == LAYOUT
        assert tree_of(user.code / "digits") == tree_of(repository.path)
        assert "is not on the server" in user.localize(f"snapshot:{'0' * 64}", code=3)
    finally:
        server.stop()


def test_localize__another_source__replaces_the_one_before_and_nothing_else(
    tmp_path: Path,
) -> None:
    user = User(tmp_path)
    (tmp_path / "one.tar").write_bytes(make_archive("tar"))
    (tmp_path / "two.zip").write_bytes(make_archive("zip"))
    user.localize(f"file://{tmp_path}/one.tar")
    (user.code / "mine").write_text("left alone")

    user.localize(f"file://{tmp_path}/two.zip")

    assert user.names() == {
        "two",
        "current",
        ".receipt.json",
        ".localize.folder",
        ".localize.lock",
        "mine",
    }
    assert (user.code / "current").readlink() == Path("two")


@pytest.mark.parametrize("name", ["digits", "current"])
def test_localize__where_somebody_elses_folder_is__is_refused(tmp_path: Path, name: str) -> None:
    user = User(tmp_path)
    (user.code / name).mkdir(parents=True)
    (user.code / name / "thesis.tex").write_text("years of work")
    (tmp_path / "digits.tar").write_bytes(make_archive("tar"))

    said = user.localize(f"file://{tmp_path}/digits.tar", code=4)

    assert "is there already, and was not localised" in said
    assert (user.code / name / "thesis.tex").read_text() == "years of work"


def test_localize__receipt__reads_as_documented(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/formats/receipt.md").read_text()
    (tmp_path / "digits.tar").write_bytes(make_archive("tar"))
    user = User(tmp_path)
    user.localize(f"file://{tmp_path}/digits.tar")

    kept = msgspec.json.decode((user.code / ".receipt.json").read_bytes())

    for name in kept:
        assert f"| `{name}` |" in page, name
    for name in user.names():
        assert f"`{name}" in page or name == "digits"


def test_localize__value_that_begins_with_a_dash__is_refused_in_our_words(tmp_path: Path) -> None:
    said = User(tmp_path).localize("file:///etc/passwd", "--name=-x", code=2)
    assert "cannot be the name of a folder" in said
    assert "usage:" not in said
