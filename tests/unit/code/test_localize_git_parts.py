"""What a repository only refers to comes with it: submodules, and large files of git LFS."""

from __future__ import annotations

import http.server
import json
import os
import re
import shutil
import threading
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import pytest
from tests.missing import need_git_lfs

from archive_world import Place
from git_world import GitServer, Repository, copy_as_served, git, resolve, tree_of
from seafloor.code import git_checkout
from seafloor.code.git import resolve_git
from seafloor.domain.errors import InvalidValue, LimitExceeded, SourceError


def test_localize__submodules_of_submodules__arrive_with_their_commits(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    inner = Repository.create(tmp_path / "origin" / "inner")
    inner.commit({"inner.py": "1"})
    middle = Repository.create(tmp_path / "origin" / "middle")
    git(middle.path, "submodule", "--quiet", "add", "../inner", "deep/inner")
    middle.commit({"middle.py": "2"})
    git(repository.path, "submodule", "--quiet", "add", "../middle", "libs/middle")
    repository.commit()
    middle.commit({"middle.py": "later, and not wanted"})

    receipt = place.localize(resolve(repository))

    made = place.code / "digits"
    assert (made / "libs/middle/middle.py").read_text() == "2"
    assert (made / "libs/middle/deep/inner/inner.py").read_text() == "1"
    assert receipt.submodules == {
        "libs/middle": git(made / "libs/middle", "rev-parse", "HEAD"),
        "libs/middle/deep/inner": inner.head,
    }
    assert git(made, "status", "--porcelain") == ""
    assert receipt.files == len(tree_of(made))


def test_localize__submodule_without_address__is_left_empty_and_said(
    repository: Repository, place: Place
) -> None:
    link = f"160000,{repository.head},stray"
    git(repository.path, "update-index", "--add", "--cacheinfo", link)
    git(repository.path, "commit", "--quiet", "-m", "a stray link")

    receipt = place.localize(resolve(repository))

    assert receipt.submodules == {}
    assert any('"stray" has no address' in message for message in place.said)
    assert list((place.code / "digits/stray").iterdir()) == []


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/etc", "is a path of this machine"),
        ("file:///etc", "is a path of this machine"),
        ("ext::touch /tmp/x", "transport helper"),
        ("--upload-pack=touch", 'begin with "-"'),
    ],
)
def test_localize__submodule_that_reaches_into_this_machine__is_refused(
    repository: Repository, place: Place, server: GitServer, address: str, words: str
) -> None:
    modules = f'[submodule "x"]\n\tpath = x\n\turl = {address}\n'
    repository.write({".gitmodules": modules})
    git(repository.path, "add", ".gitmodules")
    link = f"160000,{repository.head},x"
    git(repository.path, "update-index", "--add", "--cacheinfo", link)
    git(repository.path, "commit", "--quiet", "-m", "reaches out")
    copy_as_served(repository, server.root, "digits.git")

    with pytest.raises((SourceError, InvalidValue), match=words):
        place.localize(resolve_git(f"{server.url}/digits.git", None))

    assert place.names() == {".localize.lock"}


_POINTER = (
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n"
)


def test_localize__large_files_without_git_lfs__fails_with_the_fix(
    repository: Repository, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({".gitattributes": "*.bin filter=lfs -text\n", "model.bin": _POINTER})
    source = resolve(repository)
    # Also where the user's settings name a git-lfs that is not there.
    git(repository.path, "config", "--global", "filter.lfs.required", "true")
    git(repository.path, "config", "--global", "filter.lfs.process", "git-lfs filter-process")
    monkeypatch.setenv("PATH", _path_without_lfs(tmp_path))

    with pytest.raises(SourceError) as raised:
        place.localize(source)

    assert "model.bin" in raised.value.message
    assert "install git-lfs" in raised.value.message
    assert place.names() == {".localize.lock"}


def test_localize__file_that_only_looks_like_a_pointer__is_left_alone(
    repository: Repository, place: Place
) -> None:
    repository.commit({"docs/example.txt": _POINTER})

    place.localize(resolve(repository))

    assert (place.code / "digits/docs/example.txt").read_text() == _POINTER


def _path_without_lfs(tmp_path: Path) -> str:
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in ("/usr/bin", "/bin", "/usr/local/bin"):
        if (Path(folder) / "git").exists():
            (tools / "git").symlink_to(Path(folder) / "git")
            break
    return str(tools)


def test_localize__sparse_without_the_submodule__does_not_fetch_it(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    inner = Repository.create(tmp_path / "inner")
    inner.commit({"lib.py": "x"})
    git(repository.path, "submodule", "--quiet", "add", inner.url, "lib")
    repository.commit({"src/a.py": "a"})
    shutil.rmtree(inner.path)
    receipt = place.localize(resolve_git(repository.url, None, sparse=["src"]))
    assert (receipt.files, receipt.submodules) == (1, {})


def test_localize__large_files_with_git_lfs__arrive_and_are_compared(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    need_git_lfs()
    content = os.urandom(70_000)
    origin = _with_large_file(repository, content)
    source = resolve_git(str(origin), None)

    receipt = place.localize(source)

    made = place.code / "digits"
    assert (made / "model.bin").read_bytes() == content
    assert receipt.size_bytes == sum(len(data) for _, data in tree_of(made).values())
    assert (receipt.lfs_files, receipt.lfs) == (1, {"model.bin": sha256(content).hexdigest()})
    assert git(made, "status", "--porcelain") == ""
    place.localize(source, code=tmp_path / "other")
    assert (tmp_path / "other/digits/model.bin").read_bytes() == content


def test_localize__large_file_missing_from_its_store__fails_whole(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    need_git_lfs()
    origin = _with_large_file(repository, b"content")
    shutil.rmtree(origin / "lfs")

    with pytest.raises(SourceError, match="git lfs push --all"):
        place.localize(resolve_git(str(origin), None))

    assert place.names() == {".localize.lock"}


def test_localize__submodules_that_hold_one_another__are_bounded(
    repository: Repository, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_checkout, "SUBMODULES_MAX", 5)
    inner = Repository.create(tmp_path / "origin" / "inner")
    inner.commit({"inner.py": "1"})
    middle = Repository.create(tmp_path / "origin" / "middle")
    for number in range(2):
        git(middle.path, "submodule", "--quiet", "add", "../inner", f"inner{number}")
    middle.commit()
    for number in range(2):
        git(repository.path, "submodule", "--quiet", "add", "../middle", f"middle{number}")
    repository.commit()
    with pytest.raises(LimitExceeded, match=r'more than 5 submodules.*: "inner1" is one too many'):
        place.localize(resolve(repository))
    assert place.names() == {".localize.lock"}
    monkeypatch.setattr(git_checkout, "SUBMODULES_MAX", 6)
    assert len(place.localize(resolve(repository)).submodules) == 6


def _nested(repository: Repository, levels: int) -> None:
    """Commit ten files, in ten folders each of ten folders, and so on: a few objects in all."""
    blob = git(repository.path, "hash-object", "-w", "--stdin", stdin=b"x")
    line = f"100644 blob {blob}"
    for _ in range(levels):
        listing = "".join(f"{line}\tn{number}\n" for number in range(10))
        tree = git(repository.path, "mktree", stdin=listing.encode())
        line = f"040000 tree {tree}"
    commit = git(repository.path, "commit-tree", tree, "-m", "nested")
    git(repository.path, "branch", "nested", commit)


def test_localize__few_objects_that_list_without_end__are_given_up(
    repository: Repository, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git_checkout, "LISTING_BYTES_MAX", 1 << 20)
    _nested(repository, 9)
    with pytest.raises(LimitExceeded, match="has more than 2,000,000 files at"):
        place.localize(resolve(repository, "nested"))
    assert place.names() == {".localize.lock"}


def test_localize__too_many_files__are_refused(
    repository: Repository, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    _nested(repository, 3)
    monkeypatch.setattr(git_checkout, "FILES_MAX", 999)
    with pytest.raises(LimitExceeded, match="has more than 999 files at"):
        place.localize(resolve(repository, "nested"))
    monkeypatch.setattr(git_checkout, "FILES_MAX", 1000)
    assert place.localize(resolve(repository, "nested")).files == 1000


def _with_large_file(repository: Repository, content: bytes) -> Path:
    """Put a large file into a repository, and the repository with its store on a server."""
    git(repository.path, "lfs", "install")
    git(repository.path, "lfs", "track", "*.bin")
    repository.commit({"model.bin": content})
    origin = repository.path.parent / "served" / "digits.git"
    git(repository.path, "init", "--quiet", "--bare", str(origin))
    git(repository.path, "remote", "add", "origin", f"file://{origin}")
    git(repository.path, "push", "--quiet", "origin", "main")
    git(origin, "symbolic-ref", "HEAD", "refs/heads/main")
    return origin


def test_localize__submodule_whose_path_is_not_utf8__arrives_and_is_shown(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    library = Repository.create(tmp_path / "lib")
    library.commit({"lib.py": "x = 1"})
    (repository.path / ".gitmodules").write_bytes(
        b'[submodule "lib"]\n\tpath = lib\xe9\n\turl = ' + os.fsencode(library.path) + b"\n"
    )
    link = b"160000 commit " + library.head.encode() + b"\tlib\xe9\0"
    files = git(repository.path, "hash-object", "-w", ".gitmodules").encode()
    tree = git(
        repository.path, "mktree", "-z", stdin=b"100644 blob " + files + b"\t.gitmodules\0" + link
    )
    commit = git(repository.path, "commit-tree", tree, "-m", "odd")
    git(repository.path, "branch", "odd", commit)

    receipt = place.localize(resolve(repository, "odd"))

    assert receipt.submodules == {"lib\\xe9": library.head}
    inner = os.fsencode(place.code / "digits") + b"/lib\xe9/lib.py"
    assert Path(os.fsdecode(inner)).read_text() == "x = 1"


def test_localize__repository_of_this_machine_is_gone__is_told_in_the_words_of_submission(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository)
    repository.path.rename(repository.path.with_name("moved"))

    with pytest.raises(SourceError) as when_submitted:
        resolve_git(source.url, None)
    with pytest.raises(SourceError) as when_started:
        place.localize(source)

    assert when_submitted.value.message == f'There is no folder "{source.url}".'
    assert when_started.value.message == when_submitted.value.message


def test_resolve_git__file_address_with_escapes__names_the_folder_as_it_is(tmp_path: Path) -> None:
    made = Repository.create(tmp_path / "a b" / "digits")
    commit = made.commit({"train.py": ""})

    assert resolve_git(f"file://{tmp_path}/a%20b/digits", None).commit == commit
    with pytest.raises(SourceError, match=re.escape(f'There is no folder "{tmp_path}/a b/none".')):
        resolve_git(f"file://{tmp_path}/a%20b/none", None)


def test_localize__submodule_is_gone__is_named(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    inner = Repository.create(tmp_path / "origin" / "inner")
    inner.commit({"inner.py": "1"})
    git(repository.path, "submodule", "--quiet", "add", "../inner", "libs/inner")
    repository.commit()
    shutil.rmtree(inner.path)

    with pytest.raises(SourceError) as failed:
        place.localize(resolve(repository))

    assert failed.value.message == (
        f'The submodule "libs/inner": There is no folder "{inner.path}".'
    )


class _LargeFileStore(http.server.BaseHTTPRequestHandler):
    """A git LFS store that has every file, and sends zeros for it until nobody listens."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        here = f"http://{self.headers['Host']}"
        for each in asked["objects"]:
            each["actions"] = {"download": {"href": f"{here}/{each['oid']}"}}
        body = json.dumps({"transfer": "basic", "objects": asked["objects"]}).encode()
        self._begin("application/vnd.git-lfs+json")
        self.wfile.write(body)

    def do_GET(self) -> None:
        self._begin("application/octet-stream")
        with suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 16))

    def _begin(self, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
        """Say nothing."""


def test_localize__large_file_store_that_never_stops__is_ended_and_keeps_nothing(
    repository: Repository, place: Place
) -> None:
    need_git_lfs()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'a' * 64}\nsize 1000\n"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _LargeFileStore) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            address = f"http://127.0.0.1:{server.server_address[1]}/"
            repository.commit(
                {
                    ".gitattributes": "*.bin filter=lfs -text\n",
                    ".lfsconfig": f"[lfs]\n\turl = {address}\n",
                    "model.bin": pointer,
                }
            )
            with pytest.raises(SourceError, match="sends more of a large file than the"):
                place.localize(resolve(repository))
        finally:
            server.shutdown()

    assert not list((place.root / "cache/git-lfs").glob("incomplete/*"))
