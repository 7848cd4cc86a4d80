from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import threading
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from git_world import Repository, git, tree_of
from seafloor.code import snapshot
from seafloor.code.extract import extract
from seafloor.code.file_archive import open_file
from seafloor.code.localize import Means, localize
from seafloor.code.removal import remove_tree
from seafloor.code.snapshot import take_snapshot
from seafloor.code.working_folder import read_working_folder
from seafloor.domain.code import SnapshotCode
from seafloor.domain.errors import InvalidValue, LimitExceeded, SourceError
from seafloor.domain.ids import Sha256


class Keeper:
    """Takes snapshots and puts them back elsewhere."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.count = 0
        self.said: list[str] = []

    def take(self, folder: Path) -> SnapshotCode:
        source = take_snapshot(folder, self.root / "new.tar.zst", warn=self.said.append)
        archive = self.archive(source.sha256)
        (self.root / "new.tar.zst").rename(archive)
        assert sha256(archive.read_bytes()).hexdigest() == source.sha256
        assert archive.stat().st_size == source.size_bytes
        return source

    def archive(self, digest: str) -> Path:
        return self.root / f"{digest}.tar.zst"

    def fetch(self, digest: Sha256, path: Path) -> None:
        shutil.copyfile(self.archive(digest), path)

    def restore(self, source: SnapshotCode) -> Path:
        self.count += 1
        code_dir = self.root / f"code{self.count}"
        means = Means(self.root / "cache", self.fetch, open_file)
        localize(source, code_dir=code_dir, means=means)
        return code_dir / source.folder

    def names(self, folder: Path) -> set[str]:
        return {os.fsdecode(path) for path in tree_of(self.restore(self.take(folder)))}


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    (tmp_path / "keeper").mkdir()
    return Keeper(tmp_path / "keeper")


def test_take_snapshot__everything_a_folder_can_hold__is_restored_byte_for_byte(
    repository: Repository, keeper: Keeper
) -> None:
    """What the product promises of a working folder: all kinds at once, on a detached HEAD."""
    binary = bytes(range(256)) * 5000
    repository.commit(
        {
            ".gitignore": "*.log\n/data/\n",
            "lib/model.py": "committed",
            "lib/gone.py": "will be deleted",
            "run.sh": "#!/bin/sh\n",
            "weights.bin": binary,
            "kept.log": "ignored, but tracked",
        }
    )
    git(repository.path, "add", "--force", "kept.log")
    head = repository.commit({"a": "1"})
    git(repository.path, "checkout", "--quiet", "--detach", head)
    repository.write(
        {
            "lib/model.py": "edited\r\n",
            "train.py": "staged",
            "new/untracked.py": "untracked",
            "new/untracked.bin": binary[::-1],
            "empty": b"",
            "debug.log": "ignored",
            "data/large.bin": b"ignored",
            "größe ü\n.txt": "odd name",
        }
    )
    git(repository.path, "add", "train.py")
    repository.write({"train.py": "staged, and edited again"})
    (repository.path / "lib/gone.py").unlink()
    (repository.path / "run.sh").chmod(0o755)
    (repository.path / "latest").symlink_to("weights.bin")
    (repository.path / "outside").symlink_to("/etc/passwd")
    (repository.path / "broken").symlink_to("./no/../where//")
    (repository.path / "folder").symlink_to("lib")
    expected = tree_of(repository.path)
    del expected[b"debug.log"], expected[b"data/large.bin"]
    status = git(repository.path, "status", "--porcelain")

    source = keeper.take(repository.path)
    restored = keeper.restore(source)

    assert tree_of(restored) == expected
    assert expected[b"run.sh"][0] == "executable"
    assert expected[b"broken"] == ("link", b"./no/../where//")
    assert git(repository.path, "status", "--porcelain") == status
    assert source == SnapshotCode(
        sha256=source.sha256,
        size_bytes=source.size_bytes,
        folder="digits",
        git_commit=head,
        git_branch=None,
        git_dirty=True,
    )
    for path in restored.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert path.stat().st_mode & 0o7777 in {0o644, 0o755}


def test_take_snapshot__unpushed_commit__needs_no_remote(
    repository: Repository, keeper: Keeper
) -> None:
    git(repository.path, "remote", "add", "origin", "https://me:secret@git.test/digits.git")
    repository.commit({"local.py": "never pushed"})

    source = keeper.take(repository.path)

    assert (keeper.restore(source) / "local.py").read_text() == "never pushed"
    assert source.git_url == "https://git.test/digits.git"
    assert (source.git_branch, source.git_dirty) == ("main", False)


def test_take_snapshot__subfolder__keeps_the_whole_repository(
    repository: Repository, keeper: Keeper
) -> None:
    repository.commit({"jobs/deep/job.py": "x"})

    source = keeper.take(repository.path / "jobs/deep")

    assert (source.folder, source.subfolder) == ("digits", "jobs/deep")
    assert (keeper.restore(source) / source.subfolder / "job.py").read_text() == "x"
    assert (keeper.restore(source) / "train.py").exists()


def test_take_snapshot__repository_without_a_commit__works(tmp_path: Path, keeper: Keeper) -> None:
    fresh = Repository.create(tmp_path / "fresh")
    fresh.write({"a.py": "1"})

    source = keeper.take(fresh.path)

    assert (source.git_commit, source.git_branch, source.git_dirty) == (None, "main", True)
    assert (keeper.restore(source) / "a.py").read_text() == "1"


def test_take_snapshot__linked_work_tree__works(
    repository: Repository, tmp_path: Path, keeper: Keeper
) -> None:
    git(repository.path, "worktree", "add", "--quiet", "-b", "side", str(tmp_path / "side"))
    (tmp_path / "side/only-here.py").write_text("x")

    source = keeper.take(tmp_path / "side")

    assert (source.folder, source.git_branch) == ("side", "side")
    assert set(tree_of(keeper.restore(source))) == {b"train.py", b"only-here.py"}


def test_take_snapshot__submodule_and_nested_repository__give_their_files_by_the_same_rule(
    repository: Repository, tmp_path: Path, keeper: Keeper
) -> None:
    library = Repository.create(tmp_path / "origin" / "library")
    library.commit({"lib.py": "1", ".gitignore": "*.o\n"})
    git(repository.path, "submodule", "--quiet", "add", "../library", "libs/library")
    repository.commit()
    inside = repository.path / "libs/library"
    (inside / "lib.py").write_text("edited in the submodule")
    (inside / "new.py").write_text("untracked in the submodule")
    (inside / "x.o").write_text("ignored in the submodule")
    nested = Repository.create(repository.path / "vendor/nested")
    nested.commit({"nested.py": "2"})

    restored = keeper.restore(keeper.take(repository.path))

    assert set(tree_of(restored)) == {
        *(b"train.py", b".gitmodules", b"vendor/nested/nested.py"),
        *(b"libs/library/lib.py", b"libs/library/new.py", b"libs/library/.gitignore"),
    }
    assert (restored / "libs/library/lib.py").read_text() == "edited in the submodule"
    assert not list(restored.rglob(".git"))


def test_take_snapshot__submodule_not_checked_out__is_said(
    repository: Repository, keeper: Keeper
) -> None:
    link = f"160000,{repository.head},libs/missing"
    git(repository.path, "update-index", "--add", "--cacheinfo", link)
    (repository.path / "libs/missing").mkdir(parents=True)

    assert keeper.names(repository.path) == {"train.py"}
    assert any("libs/missing" in message for message in keeper.said)


def test_take_snapshot__tracked_folder_became_a_symlink__keeps_the_link_only(
    repository: Repository, tmp_path: Path, keeper: Keeper
) -> None:
    repository.commit({"data/a.txt": "tracked"})
    shutil.rmtree(repository.path / "data")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.txt").write_text("not part of the code")
    (repository.path / "data").symlink_to(tmp_path / "elsewhere")

    assert keeper.names(repository.path) == {"train.py", "data"}


def test_take_snapshot__merge_conflict__keeps_the_file_once(
    repository: Repository, keeper: Keeper
) -> None:
    git(repository.path, "checkout", "--quiet", "-b", "other")
    repository.commit({"train.py": "other"})
    git(repository.path, "checkout", "--quiet", "main")
    repository.commit({"train.py": "main"})
    subprocess.run(
        ["git", "merge", "--quiet", "other"], cwd=repository.path, capture_output=True, check=False
    )

    restored = keeper.restore(keeper.take(repository.path))

    assert b"<<<<<<<" in (restored / "train.py").read_bytes()


def test_take_snapshot__users_settings_and_filters__do_not_change_the_bytes(
    repository: Repository, keeper: Keeper, git_config: Path, tmp_path: Path
) -> None:
    with git_config.open("a") as config:
        config.write("[core]\n autocrlf = true\n[diff]\n external = false\n noprefix = true\n")
        config.write("[color]\n ui = always\n[status]\n showUntrackedFiles = no\n")
    repository.write({"unix.txt": "a\nb\n", "dos.txt": "a\r\nb\r\n"})

    restored = keeper.restore(keeper.take(repository.path))

    assert (restored / "unix.txt").read_bytes() == b"a\nb\n"
    assert (restored / "dos.txt").read_bytes() == b"a\r\nb\r\n"


def test_take_snapshot__outside_git__honours_ignore_files_and_skips_what_is_no_code(
    tmp_path: Path, keeper: Keeper
) -> None:
    folder = Repository(tmp_path / "plain")
    folder.write(
        {
            ".gitignore": "*.log\n",
            ".seafloorignore": "/data/\n",
            "train.py": "1",
            "a.log": "ignored",
            "data/x.bin": "ignored",
            "lib/.gitignore": "*.tmp\n",
            "lib/a.py": "1",
            "lib/a.tmp": "ignored",
            "lib/data/y.bin": "kept",
            ".venv/bin/python": "skipped",
            "venv/pyvenv.cfg": "skipped",
            "lib/__pycache__/a.pyc": "skipped",
            "node_modules/x/index.js": "skipped",
            ".mypy_cache/x": "skipped",
            ".pytest_cache/x": "skipped",
        }
    )

    source = keeper.take(folder.path)

    assert {os.fsdecode(name) for name in tree_of(keeper.restore(source))} == {
        *(".gitignore", ".seafloorignore", "train.py"),
        *("lib/.gitignore", "lib/a.py", "lib/data/y.bin"),
    }
    assert (source.git_url, source.git_commit, source.git_branch, source.git_dirty) == (None,) * 4
    assert not (folder.path / ".git").exists()


def test_take_snapshot__outside_git_taken_back_by_gitignore__is_kept(
    tmp_path: Path, keeper: Keeper
) -> None:
    folder = Repository(tmp_path / "plain")
    folder.write({".gitignore": "!venv/\n", "venv/about.py": "a package of this name"})

    assert keeper.names(folder.path) == {".gitignore", "venv/about.py"}


def test_take_snapshot__folder_that_its_repository_ignores__counts_as_outside(
    repository: Repository, keeper: Keeper
) -> None:
    repository.commit({".gitignore": "/scratch/\n"})
    repository.write({"scratch/try.py": "x"})

    source = keeper.take(repository.path / "scratch")

    assert (source.folder, source.subfolder, source.git_commit) == ("scratch", "", None)
    assert set(tree_of(keeper.restore(source))) == {b"try.py"}


def test_take_snapshot__empty_folder__is_an_empty_snapshot(tmp_path: Path, keeper: Keeper) -> None:
    (tmp_path / "empty").mkdir()

    assert tree_of(keeper.restore(keeper.take(tmp_path / "empty"))) == {}


def test_take_snapshot__names_that_are_not_utf8_or_very_long__are_kept(
    tmp_path: Path, keeper: Keeper
) -> None:
    folder = tmp_path / "odd"
    deep = folder / "/".join(["d" * 200] * 4)
    deep.mkdir(parents=True)
    (deep / ("f" * 255)).write_text("deep")
    for name in (b"latin-\xe9.txt", b"\xff\xfe", b'tab\tnewline\nquote".py', b" lead", b"-dash"):
        (folder / os.fsdecode(name)).write_bytes(name)
    (folder / "link").symlink_to(os.fsdecode(b"to/\xe9/" + b"x" * 300))

    source = keeper.take(folder)

    assert tree_of(keeper.restore(source)) == tree_of(folder)
    with (
        zstandard.open(keeper.archive(source.sha256)) as file,
        tarfile.open(fileobj=file, mode="r|") as tar,
    ):
        assert {os.fsencode(member.name) for member in tar} == set(tree_of(folder))


def test_take_snapshot__folder_with_an_odd_name__gets_a_plain_one(
    tmp_path: Path, keeper: Keeper
) -> None:
    for name, plain in ((b"-x", "x"), (b"a\nb", "a_b"), (b"\xe9", "_"), (b".localized", "code")):
        folder = tmp_path / os.fsdecode(name)
        folder.mkdir()
        (folder / "a").write_text("1")

        source = keeper.take(folder)

        assert source.folder == plain
        assert (keeper.restore(source) / "a").exists()


def test_take_snapshot__same_content_elsewhere__gives_the_same_bytes(
    repository: Repository, tmp_path: Path, keeper: Keeper
) -> None:
    repository.write({"bin/tool": "#!", "big": os.urandom(3_000_000), "z/a": "1", "z.b": "2"})
    (repository.path / "bin/tool").chmod(0o755)
    (repository.path / "link").symlink_to("big")
    first = keeper.take(repository.path)
    other = tmp_path / "elsewhere" / "digits"
    earlier = os.umask(0o077)
    try:
        other.mkdir(parents=True)
        for path in sorted(repository.path.rglob("*"), reverse=True):
            relative = path.relative_to(repository.path)
            if ".git" in relative.parts or (path.is_dir() and not path.is_symlink()):
                continue
            (other / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, other / relative, follow_symlinks=False)
        (other / "bin/tool").chmod(0o700)
        os.utime(other / "big", (1, 1))
    finally:
        os.umask(earlier)

    second = keeper.take(other)

    assert second.sha256 == first.sha256


@pytest.mark.parametrize("change", ["content", "exec bit", "name", "link", "file for link"])
def test_take_snapshot__any_difference__gives_another_digest(
    repository: Repository, keeper: Keeper, change: str
) -> None:
    train = repository.path / "train.py"
    (repository.path / "link").symlink_to("a")
    first = keeper.take(repository.path)
    match change:
        case "content":
            train.write_text("print('firsT')\n")
        case "exec bit":
            train.chmod(0o755)
        case "name":
            train.rename(repository.path / "trait.py")
        case "link":
            (repository.path / "link").unlink()
            (repository.path / "link").symlink_to("b")
        case _:
            (repository.path / "link").unlink()
            (repository.path / "link").write_text("a")

    assert keeper.take(repository.path).sha256 != first.sha256


def test_take_snapshot__too_large__lists_the_largest_files_and_the_fix(
    repository: Repository, tmp_path: Path
) -> None:
    repository.write({f"data/{number}.bin": bytes(number * 100_000) for number in range(1, 8)})

    with pytest.raises(LimitExceeded) as raised:
        take_snapshot(repository.path, tmp_path / "s.tar.zst", size_bytes_max=1_000_000)

    message = raised.value.message
    assert "2.8 MB, more than the 1.0 MB" in message
    shown = [f"data/{number}.bin" for number in (7, 6, 5, 4, 3)]
    assert [message.find(name) for name in shown] == sorted(message.find(name) for name in shown)
    assert "data/2.bin" not in message
    assert ".gitignore" in message
    assert not list(tmp_path.glob("s.tar.zst*"))


def test_take_snapshot__too_many_files__is_refused(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "FILES_MAX", 3)
    repository.write({f"{number}": "" for number in range(3)})

    with pytest.raises(LimitExceeded, match="4 files, more than the 3"):
        take_snapshot(repository.path, tmp_path / "s.tar.zst")


def test_take_snapshot__no_such_folder__is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="There is no folder"):
        take_snapshot(tmp_path / "missing", tmp_path / "s.tar.zst")


def test_take_snapshot__inside_the_git_folder__is_refused(repository: Repository) -> None:
    with pytest.raises(InvalidValue, match=r"inside the \.git folder"):
        take_snapshot(repository.path / ".git", repository.path.parent / "s.tar.zst")


def test_take_snapshot__git_not_installed__says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SourceError, match="Install git"):
        take_snapshot(tmp_path, tmp_path / "s.tar.zst")


def test_take_snapshot__sockets_and_fifos__are_left_out(
    repository: Repository, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"was-a-file": "tracked"})
    (repository.path / "was-a-file").unlink()
    os.mkfifo(repository.path / "was-a-file")
    os.mkfifo(repository.path / "fifo")
    monkeypatch.chdir(repository.path)  # the path of a socket has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")

        assert keeper.names(repository.path) == {"train.py"}

    assert [message for message in keeper.said if "left out" in message] == [
        "left out, since only files and symlinks can be kept, and no pipes, sockets and devices: "
        '"fifo", "socket", "was-a-file". Name them in .seafloorignore if that is meant'
    ]


def test_take_snapshot__pointer_of_git_lfs__is_said(repository: Repository, keeper: Keeper) -> None:
    repository.write({"model.bin": "version https://git-lfs.github.com/spec/v1\noid sha256:…\n"})

    keeper.take(repository.path)

    assert any("model.bin" in message and "git lfs pull" in message for message in keeper.said)


def test_take_snapshot__pointers_of_git_lfs_whose_files_are_in_the_clone__become_the_files(
    repository: Repository, keeper: Keeper, tmp_path: Path
) -> None:
    content = b"weights" * 1000
    inner = Repository.create(tmp_path / "origin" / "inner")
    _track_large(inner, {"deep/inner.bin": content[::-1]})
    _track_large(repository, {"model.bin": content, "run.bin": b"#!/bin/sh"}, executable="run.bin")
    git(repository.path, "submodule", "--quiet", "add", str(inner.path), "inner")
    _store_large(repository.path / ".git/modules/inner", content[::-1])

    restored = tree_of(keeper.restore(keeper.take(repository.path)))

    assert restored[b"model.bin"] == ("file", content)
    assert restored[b"run.bin"] == ("executable", b"#!/bin/sh")
    assert restored[b"inner/deep/inner.bin"] == ("file", content[::-1])
    assert keeper.said == []


def test_take_snapshot__pointer_whose_file_is_not_in_the_clone__is_refused(
    repository: Repository, tmp_path: Path
) -> None:
    _track_large(repository, {"data/model.bin": b"weights"})
    shutil.rmtree(repository.path / ".git/lfs")

    with pytest.raises(
        SourceError, match=r'"data/model.bin" is a pointer of git LFS.*git lfs pull'
    ):
        take_snapshot(repository.path, tmp_path / "s.tar.zst")

    assert not list(tmp_path.glob("s.tar.zst*"))


def test_take_snapshot__file_in_the_store_of_git_lfs_is_damaged__is_refused(
    repository: Repository, tmp_path: Path
) -> None:
    _track_large(repository, {"model.bin": b"weights"})
    stored = next(path for path in (repository.path / ".git/lfs").rglob("*") if path.is_file())
    stored.write_bytes(b"weightz")

    with pytest.raises(SourceError, match="damaged"):
        take_snapshot(repository.path, tmp_path / "s.tar.zst")

    assert not list(tmp_path.glob("s.tar.zst*"))


def _track_large(repository: Repository, files: dict[str, bytes], *, executable: str = "") -> None:
    """Commit files as git-lfs would: pointers in the tree, contents in the clone's store."""
    pointers: dict[str, str | bytes] = {".gitattributes": "*.bin filter=lfs -text\n"}
    for name, content in files.items():
        digest = sha256(content).hexdigest()
        pointers[name] = (
            "version https://git-lfs.github.com/spec/v1\n"
            f"oid sha256:{digest}\nsize {len(content)}\n"
        )
        _store_large(repository.path / ".git", content)
    repository.write(pointers)
    if executable:
        (repository.path / executable).chmod(0o755)
    repository.commit()


def _store_large(git_dir: Path, content: bytes) -> None:
    digest = sha256(content).hexdigest()
    stored = git_dir / "lfs/objects" / digest[:2] / digest[2:4] / digest
    stored.parent.mkdir(parents=True, exist_ok=True)
    stored.write_bytes(content)


def test_take_snapshot__seafloorignore_in_a_repository__leaves_out_tracked_and_untracked(
    repository: Repository, keeper: Keeper, tmp_path: Path
) -> None:
    inner = Repository.create(tmp_path / "origin" / "inner")
    inner.commit({"lib.py": "1"})
    git(repository.path, "submodule", "--quiet", "add", str(inner.path), "libs/inner")
    repository.commit(
        {
            ".gitignore": "*.log\n",
            ".seafloorignore": "/data/\n*.bin\n!keep.bin\nlibs/inner\n",
            "data/raw.csv": "tracked",
            "deep/data/kept.csv": "tracked, and not at the top",
            "deep/model.bin": "tracked",
            "keep.bin": "tracked, and taken back",
        }
    )
    repository.write({"new.bin": "", "data/new.csv": "", "other.log": ""})

    assert keeper.names(repository.path) == {
        *("train.py", ".gitignore", ".gitmodules", ".seafloorignore"),
        *("deep/data/kept.csv", "keep.bin"),
    }


def test_take_snapshot__commits_that_were_not_pushed__are_said(
    repository: Repository, keeper: Keeper, tmp_path: Path
) -> None:
    git(tmp_path, "clone", "--quiet", str(repository.path), "clone")
    clone = Repository(tmp_path / "clone")
    keeper.take(clone.path)
    assert keeper.said == []
    clone.commit({"a.py": "1"})
    clone.commit({"a.py": "2"})

    keeper.take(clone.path)

    assert len(keeper.said) == 1
    assert "2 commits of this folder were not pushed" in keeper.said[0]


def test_take_snapshot__large_folder__is_reported_largest_first_before_it_is_packed(
    repository: Repository, tmp_path: Path
) -> None:
    for number, name in enumerate(("small.bin", "medium.bin", "large.bin"), start=1):
        with (repository.path / name).open("wb") as file:
            file.truncate(number * 20_000_000)
    said: list[tuple[str, bool]] = []
    target = tmp_path / "s.tar.zst"

    def hear(message: str) -> None:
        said.append((message, any(tmp_path.glob("s.tar.zst*"))))

    take_snapshot(repository.path, target, warn=hear)

    (message, was_begun) = said[0]
    assert not was_begun
    assert "120.0 MB in 4 files" in message
    places = [message.find(name) for name in ("large.bin", "medium.bin", "small.bin")]
    assert places == sorted(places)
    assert ".seafloorignore" in message


def test_take_snapshot__what_looks_like_a_secret__is_named_without_its_value(
    repository: Repository, keeper: Keeper
) -> None:
    token = "ghp_" + "a1B2" * 9
    repository.write(
        {
            "config.py": f"import os\n\nTOKEN = '{token}'\n",
            "keys/id": "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nabc\n",
            "model.bin": b"\0" + token.encode(),
        }
    )

    keeper.take(repository.path)

    assert len(keeper.said) == 1
    assert '"config.py" line 3 (a token of GitHub)' in keeper.said[0]
    assert '"keys/id" line 1 (a private key)' in keeper.said[0]
    assert "model.bin" not in keeper.said[0]
    assert token not in keeper.said[0]


class Writer:
    """Another program that keeps writing to a file until it is told to stop."""

    def __init__(self, write: Callable[[], None]) -> None:
        self._write = write
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._stop.is_set():
            self._write()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()


def test_take_snapshot__file_that_keeps_changing__is_an_error_that_names_it(
    repository: Repository, tmp_path: Path
) -> None:
    growing = repository.path / "growing.txt"
    with growing.open("wb") as file:
        file.truncate(200_000_000)  # long enough that the writer comes to write, however busy it is

    def append() -> None:
        with growing.open("ab") as file:
            file.write(b"more")

    with Writer(append), pytest.raises(SourceError) as raised:
        take_snapshot(repository.path, tmp_path / "s.tar.zst")

    assert '"growing.txt" changes while it is read' in raised.value.message
    assert not list(tmp_path.glob("s.tar.zst*"))


def test_take_snapshot__file_that_changed_once__is_taken_as_it_became(
    repository: Repository, tmp_path: Path
) -> None:
    repository.commit({"a.bin": bytes(1000)})
    (repository.path / "model.bin").write_text("version https://git-lfs.github.com/spec/v1\n")
    target = tmp_path / "s.tar.zst"

    def change_behind_the_reader(_warning: str) -> None:
        (repository.path / "model.bin").unlink()  # told while it is open; the first try is in vain
        (repository.path / "z-late.py").write_text("new")
        (repository.path / "train.py").unlink()

    source = take_snapshot(repository.path, target, warn=change_behind_the_reader)

    with target.open("rb") as file:
        extract(file, tmp_path / "out", sha256=source.sha256)
    assert set(tree_of(tmp_path / "out")) == {b"a.bin", b"z-late.py"}


_NAMES = st.binary(min_size=1, max_size=40).filter(
    # What git, or an ignore file of that name, excludes has its own tests.
    lambda name: not set(name) & {0, 47} and name.lower() not in {b".", b"..", b".git", b".hg"}
)
_CONTENTS = st.one_of(
    st.binary(max_size=2000),
    st.builds(
        lambda block, times: block * times,
        st.binary(min_size=1, max_size=3),
        st.sampled_from([500, 511, 512, 513, 400_000]),
    ),
)
_LEAVES = st.one_of(
    st.tuples(st.just("file"), _CONTENTS),
    st.tuples(st.just("executable"), _CONTENTS),
    st.tuples(st.just("link"), st.binary(min_size=1, max_size=200).filter(lambda to: 0 not in to)),
)
_FOLDERS = st.recursive(
    st.dictionaries(_NAMES, _LEAVES, max_size=4),
    lambda inner: st.dictionaries(_NAMES, st.one_of(_LEAVES, inner), max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(content=_FOLDERS)
def test_take_snapshot__any_folder__comes_back_byte_for_byte(content: dict[bytes, object]) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        before = root / "before"
        _make(before, content)
        source = take_snapshot(before, root / "s.tar.zst")
        with (root / "s.tar.zst").open("rb") as file:
            extract(file, root / "after", sha256=source.sha256)
        again = take_snapshot(root / "after", root / "again.tar.zst")

        assert tree_of(root / "after") == tree_of(before)
        assert again.sha256 == source.sha256


def _make(folder: Path, content: dict[bytes, object]) -> None:
    folder.mkdir()
    for name, what in content.items():
        path = folder / os.fsdecode(name)
        match what:
            case dict():
                _make(path, what)  # pyright: ignore[reportUnknownArgumentType]
            case ("link", bytes() as target):
                path.symlink_to(os.fsdecode(target))
            case (kind, bytes() as data):
                path.write_bytes(data)
                path.chmod(0o755 if kind == "executable" else 0o644)
            case _:
                raise AssertionError(what)


def test_read_working_folder__file_too_deep__is_refused(tmp_path: Path) -> None:
    at = tmp_path / "project"
    at.mkdir()
    for _ in range(1100):
        at = at / "d"
        at.mkdir()
    (at / "file").write_text("x")

    with pytest.raises(InvalidValue, match="more than 256 folders deep"):
        read_working_folder(tmp_path / "project", warn=lambda _: None)
    remove_tree(tmp_path / "project")


def test_read_working_folder__names_that_are_not_utf8__are_shown(repository: Repository) -> None:
    config = repository.path / ".git" / "config"
    config.write_bytes(config.read_bytes() + b'[remote "origin"]\n\turl = https://x.test/\xe9\n')
    (repository.path / ".git" / "HEAD").write_bytes(b"ref: refs/heads/b\xe9\n")

    state = read_working_folder(repository.path, warn=lambda _: None).git

    assert state is not None
    assert (state.url, state.branch) == ("https://x.test/\\xe9", "b\\xe9")


def test_read_working_folder__untracked_files_are_not_shown__still_dirty(
    repository: Repository,
) -> None:
    git(repository.path, "config", "status.showUntrackedFiles", "no")
    (repository.path / "new.py").write_text("x")

    folder = read_working_folder(repository.path, warn=lambda _: None)

    assert b"new.py" in folder.files
    assert folder.git is not None
    assert folder.git.dirty
