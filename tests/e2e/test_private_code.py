"""A private repository from submission to the run, and a canary that must be seen nowhere."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from archive_world import ArchiveServer, Served, tar_of
from client_process import Client
from git_world import GitServer, Repository, copy_as_served, git
from live_server import LiveServer, wait_for
from seafloor.domain.secrets import VALUE_BYTES_MAX

CANARY = "c4n4ry-that-sings-0nly-to-git"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    made = LiveServer(tmp_path / "data", env={"GIT_CONFIG_GLOBAL": "/dev/null"})
    made.start()
    yield made
    made.stop()


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository.create(tmp_path / "app")
    git(made.path, "config", "user.name", "Seafloor")
    git(made.path, "config", "user.email", "tests@example.com")
    made.commit({"train.py": "import os\nprint('it ran', 'SEAFLOOR_GIT' in str(os.environ))\n"})
    return made


@contextmanager
def watched() -> Iterator[set[str]]:
    """Look at the arguments and variables of every process, again and again."""
    seen: set[str] = set()
    looking = threading.Event()

    def look() -> None:
        while not looking.is_set():
            for part in ("cmdline", "environ"):
                for path in Path("/proc").glob(f"[0-9]*/{part}"):
                    try:
                        text = path.read_bytes()
                    except OSError:  # it ended, or is another user's
                        continue
                    if b"credential" in text:
                        seen.add("git at work")
                    if CANARY.encode() in text:
                        seen.add(f"{path}: {text[:300]!r}")

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        looking.set()
        thread.join()


def set_secret(user: Client, data: Path, key: str, value: str, *, name: str = "forge") -> None:
    done = subprocess.run(
        [sys.executable, "-m", "seafloor.cli", "secret", "set", name, key, "--data", str(data)],
        input=value,
        capture_output=True,
        text=True,
        env=user.environment,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert value not in done.stderr


def assert_unseen(data: Path, *texts: str) -> None:
    """Nothing that was kept or said holds the canary, but the secret itself."""
    for text in texts:
        assert CANARY not in text
    for path in data.rglob("*"):
        if path.is_file() and data / "secrets" not in path.parents:
            assert CANARY.encode() not in path.read_bytes(), path
    with closing(sqlite3.connect(data / "seafloor.db")) as database:
        assert not [line for line in database.iterdump() if CANARY in line]


def test_run__private_repository__the_secret_is_seen_nowhere(
    server: LiveServer, repository: Repository, tmp_path: Path
) -> None:
    copy_as_served(repository, tmp_path / "served", "app.git")
    user = Client(tmp_path / "home", server.url)
    asked = threading.Event()
    slow = threading.Event()

    def hold() -> None:
        """Let the clone take long enough to be looked at."""
        asked.set()
        slow.wait(200)

    with GitServer(tmp_path / "served", user="ann", password=CANARY) as remote:
        remote.on_request = hold
        for key, value in (("hosts", "127.0.0.1"), ("username", "ann"), ("password", CANARY)):
            set_secret(user, server.data, key, value)
        with watched() as seen:
            url = f"{remote.url}/app.git"
            releasing = threading.Thread(
                target=lambda: (
                    asked.wait(60),
                    wait_for(lambda: seen, what="git"),
                    slow.set(),
                )
            )
            releasing.start()
            done = user.cli(
                *("run", "--git", url, "--secret", "forge", "--"),
                *(sys.executable, "app/train.py"),
            )
            releasing.join()
            assert done.returncode == 0, done.stderr
            assert done.stdout == "it ran False\n"
            run = user.json("runs", "show", "@last")
            assert run["run"]["code"]["secret"] == "forge"
            assert run["run"]["code"]["commit"] == repository.head
            told = user.cli("reproduce", "@last")
            assert "still has commit" in told.stdout  # the server looked, with the secret
            # The same with a password that is not right (any more).
            remote.password = "another"
            failed = user.cli("run", "--git", url, "--secret", "forge", "--", "true")
            assert failed.returncode == 6
            assert 'refused the user or the password of the secret "forge"' in failed.stderr
        assert seen == {"git at work"}
    listed = user.cli("secret", "list", "--data", str(server.data))
    assert listed.stdout == "forge  hosts password username\n"
    server.stop()
    assert_unseen(
        server.data, done.stdout, done.stderr, failed.stdout, failed.stderr, str(run), listed.stdout
    )


def test_run__several_secrets_and_an_archive__none_is_seen_anywhere(
    server: LiveServer, repository: Repository, tmp_path: Path
) -> None:
    """Each is told from the others by its end, and all are the canary."""
    own, partner, files = (f"{CANARY}-{name}" for name in ("own", "partner", "files"))
    lib = Repository.create(tmp_path / "lib")
    for key, value in (("name", "Seafloor"), ("email", "tests@example.com")):
        git(lib.path, "config", f"user.{key}", value)
    lib.commit({"lib.py": "print('it ran with a library')\n"})
    copy_as_served(lib, tmp_path / "partner", "lib.git")
    user = Client(tmp_path / "home", server.url)
    with (
        GitServer(tmp_path / "served", user="ann", password=own) as first,
        GitServer(tmp_path / "partner", user="bob", password=partner) as second,
        ArchiveServer() as web,
        watched() as seen,
    ):
        elsewhere = second.url.replace("127.0.0.1", "localhost")
        repository.add_submodule(lib, "lib", f"{elsewhere}/lib.git")
        repository.commit()
        copy_as_served(repository, tmp_path / "served", "app.git")
        web.files["/app.tar"] = Served(
            tar_of({"train.py": b"print('it ran from an archive')\n"}),
            header=f"PRIVATE-TOKEN: {files}",
        )
        for name, values in {
            "forge": {"hosts": "127.0.0.1", "username": "ann", "password": own},
            "partner": {"hosts": "localhost", "username": "bob", "password": partner},
            "files": {"hosts": "127.0.0.1", "header": "PRIVATE-TOKEN", "token": files},
        }.items():
            for key, value in values.items():
                set_secret(user, server.data, key, value, name=name)
        git_options = ("--git", f"{first.url}/app.git", "--secret", "forge")
        for_submodules = ("--secret-for", "localhost=partner")
        said = [
            user.cli("run", *git_options, *for_submodules, "--", sys.executable, "app/lib/lib.py")
        ]
        assert (said[0].returncode, said[0].stdout) == (0, "it ran with a library\n")
        assert first.shown == {f"ann:{own}"}
        assert second.shown == {f"bob:{partner}"}
        said.append(user.cli("runs", "show", "@last", "--json"))
        assert '"localhost":"partner"' in said[-1].stdout
        said.append(user.cli("reproduce", "@last"))
        assert "still has commit" in said[-1].stdout
        said.append(user.cli("run", *git_options, "--", "true"))
        assert said[-1].returncode == 120  # found out when the run was prepared
        assert f"{elsewhere}/lib.git asks for a password" in said[-1].stderr
        spec = tmp_path / "archive.yaml"
        spec.write_text(
            "experiment:\n  name: archive\n  command: python app/train.py\n"
            f"  code: {{sync_mode: http, url: '{web.url}/app.tar', secret: files}}\n"
        )
        said.append(user.cli("run", "-f", str(spec)))
        assert (said[-1].returncode, said[-1].stdout) == (0, "it ran from an archive\n")
        said.append(user.cli("plan", "-f", str(spec)))
        assert said[-1].returncode == 0, said[-1].stderr
        checked_out = ("code", "checkout", "@last", "--to", str(tmp_path / "out"))
        said.append(user.cli(*checked_out, "--data", str(server.data)))
        assert (tmp_path / "out" / "app" / "train.py").is_file(), said[-1].stderr
        web.files["/app.tar"].header = "PRIVATE-TOKEN: another"
        said.append(user.cli("run", "-f", str(spec)))
        assert said[-1].returncode == 6
        assert 'refuses what the secret "files" shows it' in said[-1].stderr
    assert seen <= {"git at work"}
    server.stop()
    assert_unseen(server.data, *(each.stdout + each.stderr for each in said))
    for path in (tmp_path / "out", tmp_path / "home"):
        assert_unseen_below(path)


def assert_unseen_below(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            assert CANARY.encode() not in path.read_bytes(), path


def test_run__secret_that_is_not_there_or_not_for_the_host__nothing_is_submitted(
    server: LiveServer, tmp_path: Path
) -> None:
    user = Client(tmp_path / "home", server.url)
    options = ("--secret", "forge", "--", "true")
    missing = user.cli("run", "--git", "https://forge.example/a.git", *options)
    assert missing.returncode == 3
    assert "seafloor secret set forge" in missing.stderr
    set_secret(user, server.data, "hosts", "forge.example")
    set_secret(user, server.data, "token", CANARY)
    other = user.cli("run", "--git", "https://evil.example/a.git", *options)
    assert other.returncode == 2
    assert "is not sent to evil.example" in other.stderr
    assert server.get("/api/v1/runs")["items"] == []
    large = tmp_path / "large"
    large.write_bytes(b"x" * (VALUE_BYTES_MAX + 1))
    options = ("set", "forge", "token", "--from-file", str(large), "--data", str(server.data))
    refused = user.cli("secret", *options)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == f"error: A value has at most {VALUE_BYTES_MAX} bytes.\n"
    assert (server.data / "secrets" / "forge" / "token").read_text() == CANARY
    removed = user.cli("secret", "rm", "forge", "--data", str(server.data))
    assert removed.returncode == 0
    assert user.json("secret", "list", "--data", str(server.data)) == {}


def test_code_checkout__private_repository__asks_for_the_secret_of_this_machine(
    server: LiveServer, repository: Repository, tmp_path: Path
) -> None:
    copy_as_served(repository, tmp_path / "served", "app.git")
    user = Client(tmp_path / "home", server.url)
    own = {"SEAFLOOR_DATA": str(tmp_path / "own")}
    with GitServer(tmp_path / "served", user="ann", password=CANARY) as remote:
        for key, value in (("hosts", "127.0.0.1"), ("username", "ann"), ("password", CANARY)):
            set_secret(user, server.data, key, value)
        done = user.cli("run", "--git", f"{remote.url}/app.git", "--secret", "forge", "--", "true")
        assert done.returncode == 0, done.stderr

        missing = user.cli("code", "checkout", "@last", "--to", str(tmp_path / "none"), **own)
        for key, value in (("hosts", "example.com"), ("username", "ann"), ("password", CANARY)):
            set_secret(user, tmp_path / "own", key, value)
        elsewhere = user.cli("code", "checkout", "@last", "--to", str(tmp_path / "none"), **own)
        set_secret(user, tmp_path / "own", "hosts", "127.0.0.1")
        found = user.cli("code", "checkout", "@last", "--to", str(tmp_path / "there"), **own)

    assert (missing.returncode, elsewhere.returncode) == (6, 6)
    assert 'no secret "forge"' in missing.stderr
    assert "seafloor secret set forge" in missing.stderr
    assert "example.com" in elsewhere.stderr
    assert not (tmp_path / "none/app").exists()
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "there/app/train.py").exists()
    server.stop()
    assert_unseen(server.data, missing.stderr, elsewhere.stderr, found.stdout, found.stderr)
