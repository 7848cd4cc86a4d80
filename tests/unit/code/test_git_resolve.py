from __future__ import annotations

import base64
import os
import socket
import tempfile
import time
from pathlib import Path

import pytest

from git_world import GitServer, Repository, copy_as_served, git
from seafloor.code.git import resolve_git
from seafloor.domain.code import GitCode
from seafloor.domain.errors import InvalidValue, SourceError


def test_resolve_git__no_ref__is_the_default_branch(repository: Repository) -> None:
    git(repository.path, "checkout", "--quiet", "-b", "trunk")
    head = repository.commit({"a": "2"})

    found = resolve_git(repository.url, None)

    assert found == GitCode(url=repository.url, commit=head, folder="digits", ref=None)


def test_resolve_git__branch_tag_and_full_names__are_commits(repository: Repository) -> None:
    first = repository.head
    git(repository.path, "tag", "light")
    git(repository.path, "tag", "-a", "v1", "-m", "annotated")
    git(repository.path, "tag", "-a", "v1-again", "-m", "a tag of a tag", "v1")
    git(repository.path, "branch", "feature/x")
    second = repository.commit({"a": "2"})

    found = {
        ref: resolve_git(repository.url, ref).commit
        for ref in (
            *("main", "HEAD", "refs/heads/main", "heads/main"),
            *("feature/x", "light", "v1", "v1-again", "refs/tags/v1", "tags/v1"),
        )
    }

    assert {ref for ref, commit in found.items() if commit == second} == {
        *("main", "HEAD", "refs/heads/main", "heads/main")
    }
    assert {ref for ref, commit in found.items() if commit == first} == {
        *("feature/x", "light", "v1", "v1-again", "refs/tags/v1", "tags/v1")
    }


def test_resolve_git__no_folder_for_files_that_pass__is_found(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container whose root may only be read has none."""

    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    assert resolve_git(repository.url, "main").commit == repository.head
    with pytest.raises(SourceError, match="Known: main"):
        resolve_git(repository.url, "dev")


def test_resolve_git__branch_whose_name_ends_alike__is_not_taken(repository: Repository) -> None:
    git(repository.path, "branch", "team/dev")

    with pytest.raises(SourceError, match=r"no branch.*Known: main, team/dev"):
        resolve_git(repository.url, "dev")


def test_resolve_git__ref_of_a_merge_request__is_found(repository: Repository) -> None:
    git(repository.path, "update-ref", "refs/merge-requests/7/head", repository.head)

    assert resolve_git(repository.url, "refs/merge-requests/7/head").commit == repository.head


@pytest.mark.parametrize("length", [4, 7, 12, 40])
def test_resolve_git__commit_that_is_no_tip__is_found(repository: Repository, length: int) -> None:
    old = repository.head
    repository.commit({"a": "2"})

    assert resolve_git(repository.url, old[:length]).commit == old


def test_resolve_git__branch_named_like_a_commit__is_the_branch(repository: Repository) -> None:
    old = repository.head
    new = repository.commit({"a": "2"})
    git(repository.path, "branch", old[:7])

    assert resolve_git(repository.url, old[:7]).commit == new


def test_resolve_git__abbreviation_of_several_commits__lists_them(repository: Repository) -> None:
    seen: dict[str, str] = {}
    tree = git(repository.path, "rev-parse", "HEAD^{tree}")
    number = 0
    while True:  # by the birthday problem some 300 commits share four digits with another
        number += 1
        commit = git(repository.path, "commit-tree", tree, "-m", str(number))
        if commit[:4] in seen:
            break
        seen[commit[:4]] = commit
    git(repository.path, "branch", "one", commit)
    git(repository.path, "branch", "two", seen[commit[:4]])

    with pytest.raises(SourceError) as raised:
        resolve_git(repository.url, commit[:4])

    assert commit in raised.value.message
    assert seen[commit[:4]] in raised.value.message
    assert "Write more of it" in raised.value.message


def test_resolve_git__branch_and_tag_of_one_name__asks_for_the_full_name(
    repository: Repository,
) -> None:
    git(repository.path, "tag", "release")
    repository.commit({"a": "2"})
    git(repository.path, "branch", "release")

    with pytest.raises(SourceError) as raised:
        resolve_git(repository.url, "release")

    assert "refs/heads/release or refs/tags/release" in raised.value.message
    assert raised.value.field == "code.ref"


def test_resolve_git__branch_and_tag_of_one_name_and_commit__is_that_commit(
    repository: Repository,
) -> None:
    git(repository.path, "tag", "-a", "release", "-m", "x")
    git(repository.path, "branch", "release")

    assert resolve_git(repository.url, "release").commit == repository.head


@pytest.mark.parametrize("ref", ["mian", "0" * 40, "0000000"])
def test_resolve_git__missing_ref__names_what_there_is(repository: Repository, ref: str) -> None:
    with pytest.raises(SourceError) as raised:
        resolve_git(repository.url, ref)

    assert f'no branch, tag or commit "{ref}"' in raised.value.message
    assert "main" in raised.value.message
    assert raised.value.field == "code.ref"


@pytest.mark.parametrize("ref", [None, "main", "abcdef0", "0" * 40])
def test_resolve_git__empty_repository__says_so(tmp_path: Path, ref: str | None) -> None:
    empty = Repository.create(tmp_path / "empty")

    with pytest.raises(SourceError, match="is empty: it has no commit yet"):
        resolve_git(empty.url, ref)


def test_resolve_git__default_branch_missing__asks_for_a_ref(repository: Repository) -> None:
    git(repository.path, "symbolic-ref", "HEAD", "refs/heads/gone")

    with pytest.raises(SourceError, match=r'no default branch.*Did you mean "main"'):
        resolve_git(repository.url, None)


def test_resolve_git__path_that_is_no_repository__says_what_it_is(
    repository: Repository, tmp_path: Path
) -> None:
    (repository.path / "jobs").mkdir()
    for path, words in (
        (tmp_path, "is not a git repository"),
        (tmp_path / "missing", "There is no folder"),
        (repository.path / "jobs", f'inside the repository "{repository.path}"'),
    ):
        with pytest.raises(SourceError) as raised:
            resolve_git(str(path), None)
        assert words in raised.value.message
        assert raised.value.field == "code.url"


def test_resolve_git__file_url_and_bare_and_sha256__work(tmp_path: Path) -> None:
    made = Repository.create(tmp_path / "new", "--object-format=sha256")
    head = made.commit({"a": "1"})
    old = made.head
    made.commit({"a": "2"})
    bare = copy_as_served(made, tmp_path / "bare", "new.git")

    assert resolve_git(f"file://{bare}", None).folder == "new"
    assert resolve_git(str(bare), head).commit == old
    assert len(head) == 64


def test_resolve_git__inside_another_repository_with_odd_settings__is_untouched_by_them(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Repository.create(tmp_path / "here")
    head = repository.head
    git(here.path, "config", f"url.{tmp_path}/nowhere/.insteadOf", str(repository.path.parent))
    monkeypatch.chdir(here.path)
    monkeypatch.setenv("GIT_DIR", str(here.path / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", "/nonexistent/index")

    assert resolve_git(repository.url, "main").commit == head


def test_resolve_git__users_language__does_not_change_what_is_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    monkeypatch.setenv("LANGUAGE", "de")

    with pytest.raises(SourceError, match="is not a git repository"):
        resolve_git(str(tmp_path), None)


def test_resolve_git__over_http__takes_one_round_of_requests(
    repository: Repository, server: GitServer
) -> None:
    copy_as_served(repository, server.root, "digits.git")

    found = resolve_git(f"{server.url}/digits.git", "main")

    assert (found.commit, found.folder) == (repository.head, "digits")
    assert [path.split("/")[2].split("?")[0] for path in server.requests] == [
        "info",
        "git-upload-pack",
    ]


def test_resolve_git__server_of_the_old_protocol__finds_old_commits_too(
    repository: Repository, server: GitServer
) -> None:
    old = repository.head
    repository.commit({"a": "2"})
    copy_as_served(repository, server.root, "digits.git")
    server.protocol = False

    assert resolve_git(f"{server.url}/digits.git", old).commit == old
    assert resolve_git(f"{server.url}/digits.git", old[:9]).commit == old


def test_resolve_git__private_repository__says_so_and_never_asks(
    repository: Repository, server: GitServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy_as_served(repository, server.root, "digits.git")
    server.user, server.password = "me", "secret"
    asked = tmp_path / "asked"
    asking = tmp_path / "askpass"
    asking.write_text(f"#!/bin/sh\ntouch {asked}\necho wrong\n")
    asking.chmod(0o755)
    monkeypatch.setenv("GIT_ASKPASS", str(asking))
    monkeypatch.setenv("SSH_ASKPASS", str(asking))

    with pytest.raises(SourceError, match="asks for a password") as raised:
        resolve_git(f"{server.url}/digits.git", None)

    assert not asked.exists()
    assert raised.value.field == "code.url"


def test_resolve_git__password_in_the_credential_helper__is_used_and_not_kept(
    repository: Repository, server: GitServer, git_config: Path
) -> None:
    copy_as_served(repository, server.root, "digits.git")
    server.user, server.password = "me", "secret"
    helper = "!f() { echo username=me; echo password=secret; }; f"
    git(repository.path, "config", "--global", "credential.helper", helper)

    found = resolve_git(f"{server.url}/digits.git", None)

    assert found.commit == repository.head
    assert "secret" not in found.url


def test_resolve_git__settings_and_traces_in_the_environment__are_kept_and_ignored(
    repository: Repository, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_as_served(repository, server.root, "digits.git")
    server.user, server.password = "me", "secret"
    wanted = base64.b64encode(b"me:secret").decode()
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")  # as continuous integration hands out tokens
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"http.{server.url}/.extraheader")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", f"Authorization: Basic {wanted}")
    monkeypatch.setenv("GIT_TRACE", "1")
    monkeypatch.setenv("GIT_TRACE_CURL", "1")

    assert resolve_git(f"{server.url}/digits.git", None).commit == repository.head
    with pytest.raises(SourceError) as raised:
        resolve_git(f"{server.url}/missing.git", None)
    assert wanted not in (raised.value.detail or "")


def test_resolve_git__wrong_password_by_insteadof__is_never_shown(
    server: GitServer, repository: Repository, git_config: Path
) -> None:
    server.answer = 500
    with_token = server.url.replace("http://", "http://me:secret-token@")
    git(repository.path, "config", "--global", f"url.{with_token}/.insteadOf", "https://git.test/")

    with pytest.raises(SourceError) as raised:
        resolve_git("https://git.test/digits.git", None)

    assert "secret-token" not in raised.value.message
    assert "secret-token" not in (raised.value.detail or "")


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (403, "it is private, or it does not exist"),
        (404, "There is no repository at"),
        (500, "has a problem of its own"),
        (503, "Try again later"),
    ],
)
def test_resolve_git__server_refuses__is_told_in_user_words(
    server: GitServer, status: int, words: str
) -> None:
    server.answer = status

    with pytest.raises(SourceError) as raised:
        resolve_git(f"{server.url}/digits.git", None)

    assert words in raised.value.message
    assert server.url in raised.value.message


def test_resolve_git__web_page_that_is_no_repository__says_so(server: GitServer) -> None:
    server.answer = 200

    with pytest.raises(SourceError, match="is not a git repository"):
        resolve_git(f"{server.url}/page", None)


@pytest.mark.parametrize("scheme", ["http", "https", "ssh", "git"])
def test_resolve_git__nobody_listens__is_unreachable(scheme: str) -> None:
    with socket.socket() as bound:  # so that nobody else can begin to listen there
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]

        with pytest.raises(SourceError, match="cannot be reached") as raised:
            resolve_git(f"{scheme}://127.0.0.1:{port}/digits.git", None)

    assert raised.value.field == "code.url"


def test_resolve_git__unknown_host__is_named() -> None:
    with pytest.raises(SourceError, match="is not known"):
        resolve_git("https://no-such-host.invalid/digits.git", None)


def test_resolve_git__server_that_never_answers__ends_at_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        begun = time.monotonic()

        with pytest.raises(SourceError, match="did not answer within"):
            resolve_git(f"http://127.0.0.1:{port}/digits.git", None, timeout_s=0.5)

    assert time.monotonic() - begun < 30  # half of what it waits when nobody says how long


def test_resolve_git__git_not_installed__says_so(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SourceError, match="Install git"):
        resolve_git(repository.url, None)


def test_resolve_git__ssh__uses_what_the_user_configured_in_batch_mode(
    repository: Repository, tmp_path: Path, git_config: Path
) -> None:
    seen = tmp_path / "seen"
    fake_ssh = tmp_path / "my-ssh"
    fake_ssh.write_text(
        f'#!/bin/sh\necho "$@" > {seen}\necho "Permission denied (publickey)." >&2\nexit 255\n'
    )
    fake_ssh.chmod(0o755)
    git(repository.path, "config", "--global", "core.sshCommand", f"{fake_ssh} -i key")

    with pytest.raises(SourceError, match="refused our ssh key"):
        resolve_git("git@git.test:team/digits.git", None)

    assert "-i key" in seen.read_text()
    assert "BatchMode=yes" in seen.read_text()


def test_resolve_git__option_or_helper_as_address__runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    for url in (f"ext::touch {mark}", f"--upload-pack=touch {mark}", f"-utouch {mark}"):
        with pytest.raises(InvalidValue):
            resolve_git(url, None)
    with pytest.raises(InvalidValue):
        resolve_git("/srv/x", f"--upload-pack=touch {mark}")

    assert not mark.exists()
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - nothing else either


def test_resolve_git__id_of_an_annotated_tag__is_its_commit(repository: Repository) -> None:
    git(repository.path, "tag", "-a", "v1", "-m", "first")
    git(repository.path, "tag", "-a", "again", "v1", "-m", "a tag of a tag")

    for name in ("v1", "again"):
        found = resolve_git(repository.url, git(repository.path, "rev-parse", name))
        assert found.commit == repository.head


@pytest.mark.parametrize(("name", "kind"), [("HEAD:train.py", "blob"), ("HEAD^{tree}", "tree")])
def test_resolve_git__id_of_no_commit__says_what_it_is(
    repository: Repository, name: str, kind: str
) -> None:
    repository.commit({"train.py": "x"})
    with pytest.raises(SourceError, match=f"is a {kind}, not a commit"):
        resolve_git(repository.url, git(repository.path, "rev-parse", name))


def test_resolve_git__abbreviation_in_a_sha256_repository__is_found(tmp_path: Path) -> None:
    made = Repository.create(tmp_path / "new", "--object-format=sha256")
    old = made.commit({"a": "1"})
    made.commit({"a": "2"})

    assert resolve_git(made.url, old[:9]).commit == old


@pytest.mark.parametrize(("kind", "chars"), [("sha256", 40), ("sha1", 64)])
def test_resolve_git__id_of_the_other_kind__is_not_there(
    tmp_path: Path, kind: str, chars: int
) -> None:
    made = Repository.create(tmp_path / "new", f"--object-format={kind}")
    made.commit({"a": "1"})

    with pytest.raises(SourceError, match="has no branch, tag or commit"):
        resolve_git(made.url, "f" * chars)


def test_resolve_git__commit_in_capitals__is_the_commit(repository: Repository) -> None:
    assert resolve_git(repository.url, repository.head.upper()).commit == repository.head


def test_resolve_git__shallow_clone__has_what_it_has_and_no_more(
    repository: Repository, tmp_path: Path
) -> None:
    """Git fetched what is beyond by a git that did the same, until a minute was over."""
    old = repository.head
    new = repository.commit({"a": "2"})
    clone = tmp_path / "shallow"
    git(tmp_path, "clone", "--quiet", "--depth=1", f"file://{repository.path}", str(clone))

    assert resolve_git(str(clone), new[:9], timeout_s=20).commit == new
    for ref in (old, old[:9]):
        with pytest.raises(SourceError, match="has no branch, tag or commit"):
            resolve_git(str(clone), ref, timeout_s=20)


def test_resolve_git__branch_named_like_a_commit_that_is_not_there__says_how_to_name_it(
    repository: Repository,
) -> None:
    name = "f" * 40
    git(repository.path, "update-ref", f"refs/heads/{name}", "HEAD")

    with pytest.raises(SourceError, match=f"no commit .* write refs/heads/{name} or refs/tags/"):
        resolve_git(repository.url, name)

    assert resolve_git(repository.url, f"refs/heads/{name}").commit == repository.head


def test_resolve_git__space_in_a_web_address__says_how_to_write_it() -> None:
    with pytest.raises(InvalidValue, match='write "%20"'):
        resolve_git("https://example.com/my digits.git", None)
