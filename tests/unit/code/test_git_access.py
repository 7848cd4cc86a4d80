"""Private repositories, on servers that ask: who gets a secret, and what is said when it fails."""

from __future__ import annotations

import pickle
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from certificates import make_authority
from git_ssh import GitSshServer
from git_world import GitServer, Repository, copy_as_served, git, tree_of
from seafloor.code import git_checkout, private_folder
from seafloor.code.file_archive import open_file
from seafloor.code.git import resolve_git
from seafloor.code.git_access import git_access
from seafloor.code.git_command import KNOWN_HOSTS, GitOptions, run_git
from seafloor.code.git_lfs import LargeFiles
from seafloor.code.localize import Means, localize
from seafloor.domain.code import GitCode, Receipt
from seafloor.domain.errors import InvalidValue, NotFound, SourceError
from seafloor.domain.ids import Sha256
from seafloor.domain.secrets import Secret

CANARY = "c4n4ry-0f-th3-c0al-m1ne"
HOSTS = {"hosts": b"127.0.0.1"}
TOKEN = Secret("forge", {**HOSTS, "username": b"ann\n", "token": CANARY.encode() + b"\n"})


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "app")
    made.commit({"train.py": "print(1)\n", "data/\N{SNOWMAN}.txt": "x"})
    return made


@pytest.fixture
def served(tmp_path: Path, repository: Repository) -> Path:
    root = tmp_path / "served"
    copy_as_served(repository, root, "app.git")
    return root


@pytest.fixture
def authority(tmp_path: Path) -> tuple[Path, Path]:
    return make_authority(tmp_path)


@pytest.fixture
def https(served: Path, authority: tuple[Path, Path]) -> Iterator[GitServer]:
    key, certificate = authority
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with GitServer(served, user="ann", password=CANARY, tls=context) as running:
        yield running


@pytest.fixture
def http(served: Path) -> Iterator[GitServer]:
    with GitServer(served, user="ann", password=CANARY) as running:
        yield running


@pytest.fixture
def ssh(served: Path) -> Iterator[GitSshServer]:
    with GitSshServer(served) as running:
        yield running


def with_authority(authority: tuple[Path, Path], **more: bytes) -> Secret:
    return Secret("forge", {**TOKEN, "ca.crt": authority[1].read_bytes(), **more})


def of_ssh(server: GitSshServer, **more: bytes) -> Secret:
    values = {**HOSTS, "ssh-privatekey": server.private_key, "known_hosts": server.known_hosts()}
    return Secret("deploy", {**values, **more})


def localized(root: Path, source: GitCode, secret: Secret) -> Receipt:
    def secret_of(name: str) -> Secret:
        assert name == secret.name
        return secret

    means = Means(root / "cache", _no_snapshot, open_file, print, secret_of)
    return localize(source, code_dir=root / "code", means=means)


def _no_snapshot(sha256: Sha256, _path: Path) -> None:
    raise AssertionError(f"git code needs no snapshot, and {sha256} was asked for")


def assert_is(root: Path, receipt: Receipt, repository: Repository) -> None:
    assert receipt.commit == repository.head
    assert receipt.tree == git(repository.path, "rev-parse", "HEAD^{tree}")
    assert tree_of(root / "code" / "app") == tree_of(repository.path)
    for path in root.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where secrets lie while git works; nobody else's are there."""
    place = tmp_path / "memory"
    place.mkdir()
    monkeypatch.setattr(private_folder, "_MEMORY", place)
    return place


def test_localize__https_with_a_token__is_what_was_committed(
    https: GitServer,
    repository: Repository,
    authority: tuple[Path, Path],
    tmp_path: Path,
    memory: Path,
) -> None:
    secret = with_authority(authority)
    source = resolve_git(f"{https.url}/app.git", "main", secret=secret)
    assert source.secret == "forge"
    receipt = localized(tmp_path / "place", source, secret)
    assert_is(tmp_path / "place", receipt, repository)
    assert list(memory.iterdir()) == []


def test_localize__ssh_with_a_key__is_what_was_committed(
    ssh: GitSshServer, repository: Repository, tmp_path: Path
) -> None:
    secret = of_ssh(ssh)
    source = resolve_git(ssh.url("app.git"), repository.head[:9], secret=secret)
    receipt = localized(tmp_path / "place", source, secret)
    assert_is(tmp_path / "place", receipt, repository)
    assert set(ssh.users) == {"git"}


def test_localize__submodule_on_the_same_host__with_the_same_secret(
    http: GitServer, repository: Repository, tmp_path: Path
) -> None:
    outer = Repository.create(tmp_path / "outer")
    git(outer.path, "submodule", "--quiet", "add", str(repository.path), "lib")
    modules = (outer.path / ".gitmodules").read_text()
    (outer.path / ".gitmodules").write_text(modules.replace(str(repository.path), "../app.git"))
    outer.commit()
    copy_as_served(outer, http.root, "outer.git")
    source = resolve_git(f"{http.url}/outer.git", None, secret=TOKEN)
    receipt = localized(tmp_path / "place", source, TOKEN)
    assert receipt.submodules == {"lib": repository.head}


def test_localize__submodule_on_another_host__does_not_get_the_secret(
    http: GitServer, repository: Repository, tmp_path: Path
) -> None:
    """Another name of the same machine is another host, which asks and is told nothing."""
    elsewhere = http.url.replace("127.0.0.1", "localhost")
    outer = Repository.create(tmp_path / "outer")
    git(outer.path, "submodule", "--quiet", "add", str(repository.path), "lib")
    modules = (outer.path / ".gitmodules").read_text()
    address = f"{elsewhere}/app.git"
    (outer.path / ".gitmodules").write_text(modules.replace(str(repository.path), address))
    outer.commit()
    copy_as_served(outer, http.root, "outer.git")
    source = resolve_git(f"{http.url}/outer.git", None, secret=TOKEN)
    with pytest.raises(SourceError, match="asks for a password"):
        localized(tmp_path / "place", source, TOKEN)


def test_resolve__redirected_to_another_host__it_does_not_get_the_secret(
    http: GitServer, served: Path
) -> None:
    elsewhere = http.url.replace("127.0.0.1", "localhost")
    refused = pytest.raises(SourceError, match="leads to another host")
    with GitServer(served, redirect=elsewhere) as first, refused:
        resolve_git(f"{first.url}/app.git", None, secret=TOKEN)
    assert http.authorized == 0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"token": b"wrong"}, 'refused the user or the password of the secret "forge"'),
        ({"username": b"bob"}, 'refused the user or the password of the secret "forge"'),
    ],
)
def test_resolve__wrong_password__is_told_from_not_found(
    http: GitServer, values: dict[str, bytes], words: str
) -> None:
    with pytest.raises(SourceError, match=words) as refused:
        resolve_git(f"{http.url}/app.git", None, secret=Secret("forge", {**TOKEN, **values}))
    assert "wrong" not in refused.value.message
    with pytest.raises(SourceError, match=r"no repository at .* the secret \"forge\" may read"):
        resolve_git(f"{http.url}/nothing.git", None, secret=TOKEN)


def test_resolve__authority_is_not_known__says_where_it_goes(https: GitServer) -> None:
    with pytest.raises(SourceError, match=r'key "ca\.crt" of the secret "forge"'):
        resolve_git(f"{https.url}/app.git", None, secret=TOKEN)


def test_resolve__ssh_hosts_and_keys__each_failure_in_its_words(ssh: GitSshServer) -> None:
    url = ssh.url("app.git")
    other = GitSshServer(ssh.root)
    with pytest.raises(SourceError, match="not among the known hosts"):
        resolve_git(url, None, secret=Secret("deploy", {**of_ssh(ssh), "known_hosts": b"\n"}))
    changed = of_ssh(ssh, known_hosts=ssh.known_hosts(other.host_key))
    with pytest.raises(SourceError, match="another key than the one that is known"):
        resolve_git(url, None, secret=changed)
    wrong = Secret("deploy", {**of_ssh(ssh), "ssh-privatekey": other.private_key})
    with pytest.raises(SourceError, match='refused the ssh key of the secret "deploy"'):
        resolve_git(url, None, secret=wrong)
    with pytest.raises(SourceError, match="no repository at"):
        resolve_git(ssh.url("nothing.git"), None, secret=of_ssh(ssh))


@pytest.mark.parametrize(
    ("url", "values", "words"),
    [
        (
            "https://evil.example/a.git",
            {},
            r"is for 127\.0\.0\.1, and is not sent to evil\.example",
        ),
        ("https://127.0.0.1/a.git", {"hosts": b""}, "names no host"),
        ("http://far.example/a.git", {"hosts": b"far.example"}, "in the clear"),
        ("git@127.0.0.1:a.git", {}, "has no ssh-privatekey"),
        ("file:///srv/a.git", {}, "on this machine"),
        ("https://127.0.0.1/a.git", {"token": b"two\nlines"}, "not one line"),
        ("https://127.0.0.1/a.git", {"username": b"\xff"}, "not one line"),
    ],
)
def test_resolve__secret_that_does_not_fit__nothing_is_asked(
    url: str, values: dict[str, bytes], words: str
) -> None:
    with pytest.raises(InvalidValue, match=words) as refused:
        resolve_git(url, None, secret=Secret("forge", {**TOKEN, **values}))
    assert CANARY not in refused.value.message


def test_localize__no_such_secret__is_told(tmp_path: Path, repository: Repository) -> None:
    source = GitCode(repository.url, repository.head, "app", secret="missing")  # pyright: ignore[reportArgumentType]  # a commit of git
    means = Means(tmp_path / "cache", _no_snapshot, open_file)
    with pytest.raises(NotFound, match="missing"):
        localize(source, code_dir=tmp_path / "code", means=means)


def test_secret__shown_or_encoded__gives_no_value() -> None:
    assert CANARY not in f"{TOKEN!r} {TOKEN!s}"
    with pytest.raises(TypeError):
        pickle.dumps(TOKEN)
    with pytest.raises(TypeError):
        msgspec.json.encode(TOKEN)


def test_access__with_everything__is_in_files_that_only_we_can_read() -> None:
    secret = Secret("all", {**TOKEN, "ssh-privatekey": b"k", "ca.crt": b"c"})
    with git_access("https://127.0.0.1/a.git", secret) as access:
        reach = access.to("https://127.0.0.1/a.git")
        assert CANARY not in f"{access!r} {reach!r}"
        (folder,) = {Path(value).parent for _, value in reach.env}
        assert folder.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o600}
    assert not folder.exists()


def test_known_hosts__of_the_forges__are_as_they_publish_them() -> None:
    said = subprocess.run(
        ["ssh-keygen", "-l", "-f", KNOWN_HOSTS], check=True, capture_output=True, text=True
    ).stdout
    found = {line.split()[2]: line.split()[1] for line in said.splitlines()}
    assert found == {
        "github.com": "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
        "gitlab.com": "SHA256:eUXGGm1YGsMAS7vkcx6JOJdOGHPem5gQp4taiCfCLB8",
        "bitbucket.org": "SHA256:ybgmFkzwOSotHTHLJgHO0QN8L0xErw6vd0VhFA9m3SM",
        "ssh.dev.azure.com": "SHA256:ohD8VZEXGWo6Ez8GSEJQ9WpafgLFsOfLOtGGQCQo6Og",
    }


def test_localize__commit_that_a_secret_opened__is_not_there_for_those_without(
    http: GitServer, tmp_path: Path
) -> None:
    place = tmp_path / "place"
    source = resolve_git(f"{http.url}/app.git", None, secret=TOKEN)
    localized(place, source, TOKEN)
    without = msgspec.structs.replace(source, secret=None, folder="other")
    with pytest.raises(SourceError, match="asks for a password"):
        localized(place, without, TOKEN)
    assert not (place / "code" / "other").exists()


def test_check_out__large_files__each_secret_has_a_store_of_its_own(
    http: GitServer, served: Path, repository: Repository, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 5\n"
    repository.commit({".gitattributes": "*.bin filter=lfs\n", "a.bin": pointer})
    copy_as_served(repository, served, "app.git")
    stores: list[Path] = []

    def fetched(*_given: object, storage: Path, **_more: object) -> LargeFiles:
        stores.append(storage)
        return LargeFiles()

    monkeypatch.setattr(git_checkout, "fetch_large_files", fetched)
    for name in ("forge", "other"):
        secret = Secret(name, TOKEN)
        source = resolve_git(f"{http.url}/app.git", None, secret=secret)
        localized(tmp_path / "place", source, secret)
    assert [store.name for store in stores] == ["git-lfs-forge", "git-lfs-other"]


def test_access__folder_that_a_killed_process_left__is_removed_and_one_in_use_is_not() -> None:
    with git_access("https://127.0.0.1/a.git", TOKEN) as used:
        (held,) = {Path(value).parent for _, value in used.to("https://127.0.0.1/a.git").env}
        place = held.parent.parent
        left = Path(tempfile.mkdtemp(prefix="seafloor-git-secret-", dir=place))
        (left / "lock").touch()
        (left / "credential").write_text(CANARY)
        with git_access("https://127.0.0.1/a.git", TOKEN):
            assert not left.exists()
            assert (held / "credential").exists()


def test_run_git__words_that_repeat_a_secret__do_not_show_it() -> None:
    said = run_git([CANARY], options=GitOptions(hidden=(CANARY,)))
    assert "'***' is not a git command" in said.stderr


def test_resolve__ssh_key__is_read_as_pasted_and_told_when_damaged(
    ssh: GitSshServer, repository: Repository
) -> None:
    pasted = ssh.private_key.strip().replace(b"\n", b"\r\n")
    secret = of_ssh(ssh, **{"ssh-privatekey": pasted})
    assert resolve_git(ssh.url("app.git"), None, secret=secret).commit == repository.head
    damaged = of_ssh(ssh, **{"ssh-privatekey": ssh.private_key.replace(b"\n", b"\nA", 1)})
    with pytest.raises(SourceError, match="damaged, or has a passphrase"):
        resolve_git(ssh.url("app.git"), None, secret=damaged)
