from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec
import pytest

from archive_world import Place
from git_world import LAYOUT, GitServer, Repository, copy_as_served, git, resolve, tree_of
from seafloor import __version__
from seafloor.code import git_cache
from seafloor.code.git import resolve_git
from seafloor.code.receipts import read_receipt, receipt_path
from seafloor.domain.code import GitCode, Receipt
from seafloor.domain.errors import Conflict, InvalidValue, SourceError, StoreFull
from seafloor.domain.ids import GitCommit


def test_localize__commit__is_a_whole_repository_with_a_receipt(
    repository: Repository, place: Place
) -> None:
    repository.write({"bin/run": "#!/bin/sh\n", "data/weights.bin": bytes(range(256)) * 9000})
    (repository.path / "bin/run").chmod(0o755)
    (repository.path / "latest").symlink_to("data/weights.bin")
    head = repository.commit({"empty": "", "größe/ü ö\n.txt": "unicode"})

    receipt = place.localize(resolve(repository, "main"))

    made = place.code / "digits"
    assert tree_of(made) == tree_of(repository.path)
    assert git(made, "rev-parse", "HEAD") == head
    assert git(made, "status", "--porcelain") == ""
    assert git(made, "remote", "get-url", "origin") == repository.url
    assert git(made, "fsck", "--connectivity-only") in {
        "",
        "notice: HEAD points to an unborn branch",
    }
    assert receipt == Receipt(
        kind="git",
        url=repository.url,
        ref="main",
        commit=GitCommit(head),
        tree=git(repository.path, "rev-parse", "HEAD^{tree}"),
        files=6,
        size_bytes=sum(len(content) for _, content in tree_of(made).values()),
        duration_s=receipt.duration_s,
        cached=False,
        format_version=2,
        localizer=__version__,
    )
    assert receipt.duration_s > 0
    assert place.names() == LAYOUT
    on_disk = msgspec.json.decode(receipt_path(place.code).read_bytes(), type=Receipt)
    assert on_disk == receipt


def test_localize__again__returns_the_receipt_and_leaves_the_folder(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository)
    first = place.localize(source)
    (place.code / "digits" / "checkpoint").write_text("made by the task")

    assert place.localize(source) == first
    assert (place.code / "digits" / "checkpoint").exists()


def test_localize__another_commit__replaces_the_folder(
    repository: Repository, place: Place
) -> None:
    place.localize(resolve(repository))
    repository.commit({"train.py": "print('second')\n"})

    place.localize(resolve(repository))

    assert (place.code / "digits/train.py").read_text() == "print('second')\n"
    assert place.names() == LAYOUT


def test_localize__folder_without_receipt_or_with_a_damaged_one__is_made_anew(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository)
    place.localize(source)
    for damage in (b"", b"{", b'{"kind": "git"}'):
        receipt_path(place.code).write_bytes(damage)
        (place.code / "digits/train.py").write_text("cut")

        place.localize(source)

        assert tree_of(place.code / "digits") == tree_of(repository.path)


def test_localize__receipt_of_an_earlier_boot__does_not_count(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository)
    place.localize(source)
    path = receipt_path(place.code)
    document = msgspec.json.decode(path.read_bytes())
    path.write_bytes(msgspec.json.encode({**document, "boot_id": "another"}))
    (place.code / "digits/train.py").write_bytes(b"")  # what a power cut leaves of unsynced files

    place.localize(source)

    assert (place.code / "digits/train.py").read_text() == "print('first')\n"


def test_localize__commit_in_the_cache__needs_no_server(
    repository: Repository, place: Place, server: GitServer, tmp_path: Path
) -> None:
    copy_as_served(repository, server.root, "digits.git")
    source = resolve_git(f"{server.url}/digits.git", None)
    assert not place.localize(source).cached
    asked = len(server.requests)

    receipt = place.localize(source, code=tmp_path / "other")

    assert receipt.cached
    assert len(server.requests) == asked


def test_localize__large_history__fetches_one_commit(
    repository: Repository, place: Place, server: GitServer
) -> None:
    for number in range(5):
        repository.commit({"weights.bin": os.urandom(300_000), "number": str(number)})
    copy_as_served(repository, server.root, "digits.git")

    place.localize(resolve_git(f"{server.url}/digits.git", None))

    packs = place.cache.glob("git/*.git/objects/pack/*.pack")
    assert sum(pack.stat().st_size for pack in packs) < 400_000


def test_localize__server_of_the_old_protocol__finds_a_commit_that_is_no_tip(
    repository: Repository, place: Place, server: GitServer
) -> None:
    old = repository.head
    repository.commit({"train.py": "new"})
    git(repository.path, "branch", "other", old)
    tip_elsewhere = git(repository.path, "rev-parse", "other")
    copy_as_served(repository, server.root, "digits.git")
    server.protocol = False
    url = f"{server.url}/digits.git"

    for commit, ref in ((old, "main"), (tip_elsewhere, None)):
        receipt = place.localize(GitCode(url, GitCommit(commit), "digits", ref))
        assert receipt.commit == commit
        assert (place.code / "digits/train.py").read_text() == "print('first')\n"


def test_localize__ref_moved_since_resolved__still_takes_the_commit(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository, "main")
    git(repository.path, "commit", "--quiet", "--amend", "-m", "force-pushed")

    receipt = place.localize(source)

    assert receipt.commit == source.commit != repository.head


def test_localize__commit_gone_from_the_server__says_what_to_do(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository, "main")
    git(repository.path, "commit", "--quiet", "--amend", "-m", "force-pushed")
    git(repository.path, "reflog", "expire", "--expire=now", "--all")
    git(repository.path, "prune", "--expire=now")

    with pytest.raises(SourceError) as raised:
        place.localize(source)

    assert f"no longer has the commit {source.commit}" in raised.value.message
    assert raised.value.field == "code.ref"
    assert place.names() == {".localize.lock"}


def test_localize__private_repository__fails_whole_and_keeps_no_password(
    repository: Repository, place: Place, server: GitServer, git_config: Path
) -> None:
    bare = copy_as_served(repository, server.root, "digits.git")
    server.user, server.password = "me", "secret-word"
    source = GitCode(f"{server.url}/digits.git", GitCommit(repository.head), "digits")

    with pytest.raises(SourceError, match="asks for a password"):
        place.localize(source)
    helper = "!f() { echo username=me; echo password=secret-word; }; f"
    git(bare, "config", "--global", "credential.helper", helper)
    place.localize(source)

    for path in (*place.code.rglob("*"), *place.cache.rglob("*")):
        if path.is_file():
            assert b"secret-word" not in path.read_bytes(), path


def test_localize__over_ssh__works(
    repository: Repository, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An ssh that reaches only this machine: git's side of the protocol is the real one.
    local_ssh = tmp_path / "local-ssh"
    local_ssh.write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    local_ssh.chmod(0o755)
    monkeypatch.setenv("GIT_SSH_COMMAND", str(local_ssh))
    monkeypatch.setenv("GIT_SSH_VARIANT", "ssh")
    source = resolve_git(f"git@git.test:{repository.path}", "main")

    receipt = place.localize(source)

    assert receipt.commit == repository.head
    assert tree_of(place.code / "digits") == tree_of(repository.path)


def test_localize__symlink_out_of_the_repository__stays_a_link(
    repository: Repository, place: Place
) -> None:
    (repository.path / "passwd").symlink_to("/etc/passwd")
    (repository.path / "up").symlink_to("../../..")
    repository.commit()

    receipt = place.localize(resolve(repository))

    assert os.readlink(place.code / "digits/passwd") == "/etc/passwd"  # noqa: PTH115
    assert os.readlink(place.code / "digits/up") == "../../.."  # noqa: PTH115
    assert receipt.size_bytes == sum(map(len, ("print('first')\n", "/etc/passwd", "../../..")))


def test_localize__tree_that_writes_into_git__is_refused(
    repository: Repository, place: Place
) -> None:
    blob = git(repository.path, "hash-object", "-w", "--stdin", stdin=b"#!/bin/sh\ntouch /tmp/x\n")
    inner = git(repository.path, "mktree", stdin=f"100755 blob {blob}\tpost-checkout\n".encode())
    hooks = git(repository.path, "mktree", stdin=f"040000 tree {inner}\thooks\n".encode())
    tree = git(repository.path, "mktree", stdin=f"040000 tree {hooks}\t.git\n".encode())
    commit = git(repository.path, "commit-tree", tree, "-m", "evil")
    git(repository.path, "branch", "evil", commit)

    with pytest.raises(SourceError):
        place.localize(resolve(repository, "evil"))

    assert place.names() == {".localize.lock"}


def test_localize__users_hooks_filters_and_line_ends__change_nothing(
    repository: Repository, place: Place, git_config: Path, tmp_path: Path
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    mark = tmp_path / "ran"
    for name in ("post-checkout", "reference-transaction", "pre-auto-gc"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {mark}\n")
        (hooks / name).chmod(0o755)
    repository.commit({"lf.txt": "a\nb\n", "crlf.txt": "a\r\nb\r\n"})
    source = resolve(repository)
    with git_config.open("a") as config:
        config.write(f"[core]\n hooksPath = {hooks}\n autocrlf = true\n fsmonitor = touch {mark}\n")
        config.write(f" attributesFile = {tmp_path}/attributes\n")
    (tmp_path / "attributes").write_text("* text eol=crlf\n")

    place.localize(source)

    assert (place.code / "digits/lf.txt").read_bytes() == b"a\nb\n"
    assert (place.code / "digits/crlf.txt").read_bytes() == b"a\r\nb\r\n"
    assert not mark.exists()


def test_localize__attributes_ask_for_another_form__are_obeyed(
    repository: Repository, place: Place
) -> None:
    repository.commit({".gitattributes": "*.bat eol=crlf\n*.id ident\n", "x.bat": "a\nb\n"})
    repository.commit({"v.id": "$Id$\n"})
    # Committed with CR LF although its attribute says text: git shows such a file as changed.
    blob = git(repository.path, "hash-object", "-w", "--stdin", stdin=b"a\r\nb\r\n")
    git(repository.path, "update-index", "--add", "--cacheinfo", f"100644,{blob},odd.bat")
    git(repository.path, "commit", "--quiet", "-m", "not normalised")

    place.localize(resolve(repository))

    assert (place.code / "digits/x.bat").read_bytes() == b"a\r\nb\r\n"
    assert (place.code / "digits/odd.bat").read_bytes() == b"a\r\nb\r\n"
    assert (place.code / "digits/v.id").read_bytes().startswith(b"$Id: ")


@pytest.mark.parametrize(
    "damage", ["cut pack", "no pack", "no index", "no objects", "empty folder", "flipped byte"]
)
def test_localize__damaged_cache__is_built_anew(
    repository: Repository, place: Place, tmp_path: Path, damage: str
) -> None:
    repository.commit({"weights.bin": os.urandom(50_000)})
    source = resolve(repository)
    place.localize(source)
    (bare,) = place.cache.glob("git/*.git")
    _damage(bare, damage)

    receipt = place.localize(source, code=tmp_path / "other")

    assert not receipt.cached
    assert tree_of(tmp_path / "other/digits") == tree_of(repository.path)
    assert place.localize(source, code=tmp_path / "third").cached
    assert [path.name for path in place.cache.glob("git/*") if path.is_dir()] == [bare.name]


def _damage(bare: Path, how: str) -> None:
    (pack,) = bare.glob("objects/pack/*.pack")
    content = pack.read_bytes()
    pack.chmod(0o644)
    match how:
        case "cut pack":
            pack.write_bytes(content[: len(content) // 2])
        case "flipped byte":
            middle = len(content) // 2
            pack.write_bytes(
                content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
            )
        case "no pack":
            pack.unlink()
        case "no index":
            pack.with_suffix(".idx").unlink()
        case "no objects":
            for file in pack.parent.iterdir():
                file.unlink()
        case _:
            for file in [path for path in bare.rglob("*") if path.is_file()]:
                if "seafloor" not in file.parts:
                    file.unlink()


def test_localize__locks_and_halves_left_by_a_killed_fetch__are_cleared(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    place.localize(resolve(repository))
    (bare,) = place.cache.glob("git/*.git")
    (bare / "shallow.lock").touch()
    (bare / "objects/pack/tmp_pack_abc").write_bytes(b"half")
    repository.commit({"train.py": "new"})
    source = resolve(repository)
    (bare / f"refs/seafloor/{source.commit}.lock").touch()
    (place.code / ".localize-partial-01234567").mkdir()
    (place.code / ".localize-partial-01234567/half").write_text("x")
    (place.code / ".localize-replaced-01234567").mkdir()

    place.localize(source)

    assert not list(bare.rglob("*.lock"))
    assert not list(bare.rglob("tmp_pack*"))
    assert place.names() == LAYOUT


def test_localize__cache_on_another_file_system__copies_instead_of_linking(
    repository: Repository, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit({"second": "x"})
    source = resolve(repository)

    def no_links(*_arguments: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    place.localize(source)

    assert git(place.code / "digits", "rev-parse", "HEAD") == source.commit
    assert tree_of(place.code / "digits") == tree_of(repository.path)


def test_localize__task_ruins_its_own_objects__leaves_other_folders_whole(
    repository: Repository, place: Place, tmp_path: Path
) -> None:
    source = resolve(repository)
    place.localize(source)
    made = place.code / "digits"
    (made / "train.py").write_text("changed by the task")
    git(made, "commit", "--quiet", "-am", "by the task")
    git(made, "gc", "--quiet", "--prune=now")

    receipt = place.localize(source, code=tmp_path / "other")

    assert receipt.cached
    assert tree_of(tmp_path / "other/digits") == tree_of(repository.path)


def test_localize__many_commits__keeps_few_packs(
    repository: Repository, place: Place, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(git_cache, "PACKS_MAX", 3)
    sources = [resolve(repository)]
    for number in range(6):
        repository.commit({"number": str(number)})
        sources.append(resolve(repository))

    for source in sources:
        place.localize(source)

    assert len(list(place.cache.glob("git/*.git/objects/pack/*.pack"))) <= 4
    for number, source in enumerate(sources):
        receipt = place.localize(source, code=tmp_path / f"code{number}")
        assert receipt.cached


def test_localize__folder_that_escapes__is_refused_before_anything(place: Place) -> None:
    for folder in ("..", "a/b", "/etc", ".localized", ""):
        with pytest.raises(InvalidValue):
            place.localize(GitCode("/srv/x", GitCommit("0" * 40), folder))

    assert not place.code.exists()


def test_localize__code_folder_that_cannot_be_written__says_which(
    repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(SourceError, match="Localising digits failed at"):
        Place(tmp_path / "p").localize(resolve(repository), code=tmp_path / "file" / "code")


def test_localize__full_disk__says_so_and_leaves_nothing(
    repository: Repository, place: Place, small_disk: Path
) -> None:
    repository.commit({"large.txt": b"x" * 8_000_000})

    with pytest.raises(StoreFull):
        place.localize(resolve(repository), code=small_disk / "code")

    assert {path.name for path in (small_disk / "code").iterdir()} == {".localize.lock"}


def test_localize__full_disk_for_the_cache__says_so(
    repository: Repository, small_disk: Path
) -> None:
    repository.commit({"noise.bin": os.urandom(8_000_000)})

    with pytest.raises(StoreFull):
        Place(small_disk).localize(resolve(repository))

    assert {path.name for path in (small_disk / "code").iterdir()} == {".localize.lock"}


def test_localize__sha256_repository__works(tmp_path: Path, place: Place) -> None:
    made = Repository.create(tmp_path / "new", "--object-format=sha256")
    made.commit({"a": "1"})

    receipt = place.localize(resolve(made))

    assert receipt.tree is not None
    assert len(receipt.tree) == 64


def test_localize__unknown_user_id_without_home__works(repository: Repository) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become another user; lifted when the tests run as root")
    # Not below tmp_path: pytest closes its folders to other users whenever a session starts.
    with tempfile.TemporaryDirectory(prefix="seafloor-test-") as scratch:
        shared = Path(scratch)
        shared.chmod(0o777)
        origin = copy_as_served(repository, shared, "digits.git")
        (shared / "system").write_text("[safe]\n directory = *\n")
        order = {
            "source": msgspec.to_builtins(resolve_git(str(origin), None)),
            "code_dir": str(shared / "code"),
            "cache_dir": str(shared / "cache"),
            "user_id": 54321,  # of no line in /etc/passwd
        }
        script = Path(__file__).with_name("localizing_process.py")

        done = subprocess.run(
            [sys.executable, str(script), msgspec.json.encode(order).decode()],
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": os.pathsep.join(sys.path),
                "GIT_CONFIG_SYSTEM": str(shared / "system"),
            },
            capture_output=True,
            check=False,
        )

        assert done.returncode == 0, done.stderr.decode()
        assert tree_of(shared / "code/digits") == tree_of(repository.path)
        assert (shared / "code/digits").stat().st_uid == 54321


def test_localize__sparse__only_these_and_all_of_them(repository: Repository, place: Place) -> None:
    repository.commit(
        {
            "src/a.py": "a",
            "src/deep/b.py": "b",
            "srcs/no.py": "no",
            "odd/[x] *!#.txt": "odd",
            "odd/x y.txt": "no",
            "top.txt": "top",
            "\N{SNOWMAN}/c.txt": "c",
        }
    )
    wanted = ["src", "odd/[x] *!#.txt", "\N{SNOWMAN}"]
    receipt = place.localize(resolve_git(repository.url, None, sparse=wanted))
    made = place.code / "digits"
    found = {os.fsdecode(name) for name, (kind, _) in tree_of(made).items() if kind == "file"}
    assert found == {"src/a.py", "src/deep/b.py", "odd/[x] *!#.txt", "\N{SNOWMAN}/c.txt"}
    assert receipt.files == 4
    assert git(made, "status", "--porcelain") == ""
    assert place.localize(resolve_git(repository.url, None, sparse=["top.txt"])).files == 1
    assert [path.name for path in made.iterdir() if path.name != ".git"] == ["top.txt"]
    with pytest.raises(SourceError, match=r'no "source" in .*: correct code\.sparse'):
        place.localize(resolve_git(repository.url, None, sparse=["src", "source"]))


def test_localize__file_too_deep__is_refused_and_nothing_is_left(
    repository: Repository, place: Place
) -> None:
    deep = "/".join(["d"] * 257)
    repository.commit({deep: "x", "train.py": "y"})
    source = resolve(repository)

    with pytest.raises(SourceError, match="more than 256 folders deep"):
        place.localize(source)
    assert not (place.code / source.folder).exists()

    place.localize(msgspec.structs.replace(source, sparse=("train.py",)))
    assert (place.code / source.folder / "train.py").read_text() == "y"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/".join(["d" * 200] * 22), "whose path has 4,421 bytes, of 4,095 at most, at"),
        ("n" * 256, "whose name has 256 bytes, of 255 at most, at"),
    ],
    ids=["path", "name"],
)
def test_localize__name_that_no_system_takes__is_refused_with_the_reason(
    repository: Repository, place: Place, path: str, words: str
) -> None:
    blob = git(repository.path, "hash-object", "-w", "--stdin", stdin=b"x")
    git(repository.path, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    git(repository.path, "commit", "--quiet", "-m", "too long")
    source = resolve(repository)

    with pytest.raises(SourceError, match=words):
        place.localize(source)

    place.localize(msgspec.structs.replace(source, sparse=("train.py",)))
    assert (place.code / source.folder / "train.py").is_file()


def test_localize__folder_that_was_not_localised__is_refused_and_left(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository)
    place.localize(msgspec.structs.replace(source, folder="other"))
    (place.code / "digits").mkdir()
    (place.code / "digits" / "work.py").write_text("precious")

    with pytest.raises(Conflict, match="was not localised"):
        place.localize(source)

    assert (place.code / "digits" / "work.py").read_text() == "precious"
    assert read_receipt(place.code, msgspec.structs.replace(source, folder="other")) is not None


@pytest.mark.parametrize("localised", [True, False])
def test_localize__link_of_the_users_own__is_not_followed_and_left(
    repository: Repository, place: Place, *, localised: bool
) -> None:
    source = resolve(repository)
    if localised:
        place.localize(source)
        receipt_path(place.code).unlink()
        (place.code / "current").unlink()
    (place.code / "precious").mkdir(parents=True)
    (place.code / "current").symlink_to("precious")

    with pytest.raises(Conflict, match="current"):
        place.localize(source)

    assert (place.code / "precious").is_dir()
    assert (place.code / "current").readlink() == Path("precious")


def test_localize__after_one_that_failed__what_the_user_put_there_is_left(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository)
    with pytest.raises(SourceError):
        place.localize(msgspec.structs.replace(source, commit=GitCommit("0" * 40)))
    (place.code / "digits").mkdir()

    with pytest.raises(Conflict):
        place.localize(source)
    (place.code / "digits").rmdir()
    place.localize(source)


def test_localize__folder_of_an_earlier_version__is_replaced(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository)
    place.localize(source)
    (place.code / ".localize.folder").unlink()

    place.localize(msgspec.structs.replace(source, folder="other"))

    assert not (place.code / "digits").exists()
    assert (place.code / "other").is_dir()


@pytest.mark.parametrize(
    ("name", "kind"), [("HEAD:train.py", "blob"), ("HEAD^{tree}", "tree"), ("annotated", "tag")]
)
def test_localize__id_of_no_commit__is_refused_and_the_cache_kept(
    repository: Repository, place: Place, name: str, kind: str
) -> None:
    source = resolve(repository)
    place.localize(source)
    git(repository.path, "tag", "-a", "annotated", "-m", "x")
    other = GitCommit(git(repository.path, "rev-parse", name))
    git(repository.path, "tag", "odd", other)
    generation = git_cache.GitCache(place.cache, source.url, print).generation

    for _ in range(2):
        with pytest.raises(SourceError, match=f"is a {kind}, not a commit"):
            place.localize(msgspec.structs.replace(source, commit=other))

    assert not any("damaged" in said for said in place.said)
    assert git_cache.GitCache(place.cache, source.url, print).generation == generation


def test_localize__git_refuses_bare_repositories__works(
    repository: Repository, place: Place, git_config: Path
) -> None:
    old = repository.head
    repository.commit({"train.py": "second"})
    with git_config.open("a") as file:
        file.write("[safe]\n\tbareRepository = explicit\n")

    place.localize(resolve(repository, old[:10]))

    assert (place.code / "digits" / ".git" / "HEAD").read_text().strip() == old


def test_localize__receipt_that_cannot_be_written__leaves_what_was_there(
    repository: Repository, place: Place
) -> None:
    source = resolve(repository)
    place.localize(source)

    with pytest.raises(UnicodeEncodeError):
        place.localize(msgspec.structs.replace(source, ref="\udce9"))

    assert read_receipt(place.code, source) is not None
