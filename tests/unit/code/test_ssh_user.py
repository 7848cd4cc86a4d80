"""ssh under a user id that nobody gave a name, as pods have."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.missing import skip_missing
from tests.services._service import Missing, Refused

from git_ssh import GitSshServer
from git_world import Repository, copy_as_served

USER = 654_321
"""Of a name space of its own, in which it owns what this test's user owns."""

RESOLVE = """
import json, sys
from seafloor.code import ssh_user
from seafloor.code.git import resolve_git
from seafloor.domain.errors import SourceError
from seafloor.domain.secrets import Secret

url, lacks, values = json.loads(sys.argv[1])
if lacks:
    ssh_user._FOLDERS = ()
secret = Secret("deploy", {name: value.encode() for name, value in values.items()})
try:
    print(resolve_git(url, None, secret=secret).commit)
except SourceError as error:
    print(error.message)
"""


@pytest.fixture
def nameless() -> tuple[str, ...]:
    """What a command begins with to run as somebody without a name."""
    command = ("unshare", "--user", f"--map-user={USER}", "--")
    try:
        tried = subprocess.run([*command, "id", "-un"], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        skip_missing("unshare", Missing(f"{error}: install util-linux"))
    if f"cannot find name for user ID {USER}" not in tried.stderr:
        skip_missing("user name spaces", Refused(tried.stderr.strip() or tried.stdout.strip()))
    return command


@pytest.fixture
def library() -> None:
    found = [*Path("/usr/lib").glob("*/libnss_wrapper.so"), *Path("/usr/lib64").glob("libnss_w*")]
    if not found:
        skip_missing("libnss-wrapper", Missing("it is not installed: apt-get install it"))


def resolved(command: tuple[str, ...], tmp_path: Path, *, lacks: bool = False) -> tuple[str, str]:
    """The commit that was asked for, and what was found or said."""
    repository = Repository.create(tmp_path / "app")
    repository.commit({"train.py": "print(1)\n"})
    served, home = tmp_path / "served", tmp_path / "home"
    copy_as_served(repository, served, "app.git")
    home.mkdir()
    with GitSshServer(served) as server:
        values = {
            "hosts": "127.0.0.1",
            "ssh-privatekey": server.private_key.decode(),
            "known_hosts": server.known_hosts().decode(),
        }
        asked = json.dumps([server.url("app.git"), lacks, values])
        done = subprocess.run(
            [*command, sys.executable, "-c", RESOLVE, asked],
            env={**os.environ, "HOME": str(home), "TMPDIR": str(home)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(home.iterdir())
    return repository.head, done.stdout.strip()


@pytest.mark.usefixtures("library")
def test_resolve__by_ssh_as_a_user_without_a_name__is_as_for_any(
    nameless: tuple[str, ...], tmp_path: Path
) -> None:
    wanted, said = resolved(nameless, tmp_path)
    assert said == wanted


def test_resolve__by_ssh_without_a_name_or_the_library__says_what_lacks(
    nameless: tuple[str, ...], tmp_path: Path
) -> None:
    _, said = resolved(nameless, tmp_path, lacks=True)
    assert "Install libnss-wrapper" in said
    assert "a user id without a name" in said
