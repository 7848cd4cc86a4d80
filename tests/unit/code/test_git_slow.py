"""Servers that send slowly are waited for as long as they send and we live, and no longer."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from archive_world import Place
from git_ssh import GitSshServer
from git_world import GitServer, Repository, copy_as_served, git, tree_of
from seafloor.code import git_stall
from seafloor.code.git import resolve_git
from seafloor.domain.errors import SourceError

pytestmark = pytest.mark.slow

STALL_S = 5.0
_PARTS = 100
_PART_S = 0.12  # in all, more than two windows

_SLOWLY = f"""#!{sys.executable}
import subprocess, sys, time
packed = subprocess.run(sys.argv[1:], stdin=sys.stdin, stdout=subprocess.PIPE, check=True).stdout
part = len(packed) // {_PARTS} + 1
for begin in range(0, len(packed), part):
    time.sleep({_PART_S})
    sys.stdout.buffer.write(packed[begin : begin + part])
    sys.stdout.flush()
"""

_HALF = """#!/bin/sh
"$@" | head -c 300000
exec cat "{}"
"""


@pytest.fixture(autouse=True)
def little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_stall, "STALL_S", STALL_S)


@pytest.fixture(params=["file", "http", "ssh"])
def url(
    request: pytest.FixtureRequest,
    repository: Repository,
    server: GitServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[str]:
    """A repository of a megabyte, reached in one of the ways."""
    repository.commit({"weights.bin": os.urandom(1 << 20)})
    copy_as_served(repository, server.root, "digits.git")
    if request.param == "file":
        yield f"file://{repository.path}"
    elif request.param == "http":
        yield f"{server.url}/digits.git"
    else:
        with GitSshServer(server.root) as ssh:
            key, known = tmp_path / "key", tmp_path / "known_hosts"
            key.write_bytes(ssh.private_key)
            key.chmod(0o600)
            known.write_bytes(ssh.known_hosts())
            command = f"ssh -F /dev/null -i {key} -o UserKnownHostsFile={known}"
            monkeypatch.setenv("GIT_SSH_COMMAND", command)
            yield ssh.url("digits.git")


def _pack_by(repository: Repository, script: Path, content: str) -> None:
    """Let every server of this test send what a script makes of a pack."""
    script.write_text(content)
    script.chmod(stat.S_IRWXU)
    git(repository.path, "config", "--global", "uploadpack.packObjectsHook", script)


def test_localize__server_that_sends_slowly__is_waited_for_to_its_end(
    place: Place, repository: Repository, server: GitServer, url: str, tmp_path: Path
) -> None:
    source = resolve_git(url, None)
    if url.startswith("http"):
        over = threading.Event()
        server.pace = lambda: over.wait(_PART_S)
    else:
        _pack_by(repository, tmp_path / "slowly", _SLOWLY)

    receipt = place.localize(source)

    assert receipt.duration_s > 2 * STALL_S
    assert tree_of(place.code / "digits") == tree_of(repository.path)


@contextmanager
def _stopped(
    repository: Repository, server: GitServer, url: str, tmp_path: Path
) -> Generator[None]:
    """The server stops in the middle of what it sends, and is well again afterwards."""
    over, pipe = threading.Event(), tmp_path / "nobody writes here"
    os.mkfifo(pipe)
    if url.startswith("http"):
        server.halfway = over.wait
    else:
        _pack_by(repository, tmp_path / "half", _HALF.format(pipe))
    try:
        yield
    finally:
        over.set()
        os.close(os.open(pipe, os.O_RDWR))
    _pack_by(repository, tmp_path / "half", '#!/bin/sh\nexec "$@"\n')


def test_localize__server_that_stops_in_the_middle__is_given_up_and_nothing_stays(
    place: Place, repository: Repository, server: GitServer, url: str, tmp_path: Path
) -> None:
    source = resolve_git(url, None)

    with (
        _stopped(repository, server, url, tmp_path),
        pytest.raises(SourceError, match=r"moved for 5 s: .*/digits.* stopped sending"),
    ):
        place.localize(source)

    assert not list(place.cache.glob("git/*/objects/pack/*"))
    place.localize(source)
    assert tree_of(place.code / "digits") == tree_of(repository.path)


def _processes_with(variable: str) -> list[int]:
    """Those that live, and inherited a variable of the environment."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if variable.encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def _wait_until(condition: Callable[[], bool], *, patience_s: float) -> None:
    deadline_s = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc; lifted elsewhere by psutil")
def test_localize__killed_while_it_fetches__leaves_nothing_running_and_the_next_one_has_it(
    place: Place, repository: Repository, server: GitServer, url: str, tmp_path: Path
) -> None:
    mark = f"KILLED_IN={tmp_path}"
    command = [sys.executable, "-m", "seafloor.cli", "localize", f"git+{url}"]
    command += ["--to", str(place.code), "--cache", str(place.cache)]

    def has_come() -> bool:
        packs = place.cache.glob("git/*/objects/pack/tmp_pack_*")
        return any(path.stat().st_size > 200_000 for path in packs)

    with _stopped(repository, server, url, tmp_path):
        with subprocess.Popen(command, env={**os.environ, "KILLED_IN": str(tmp_path)}) as process:
            _wait_until(has_come, patience_s=60)
            assert len(_processes_with(mark)) >= 4  # we, the one that watches, git and index-pack
            process.kill()
        _wait_until(lambda: not _processes_with(mark), patience_s=10)

    subprocess.run(command, check=True)
    assert tree_of(place.code / "digits") == tree_of(repository.path)
    for bare in place.cache.glob("git/*.git"):
        git(bare, "fsck", "--full", "--strict", "--no-dangling")
