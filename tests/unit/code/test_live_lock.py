"""A lock whose holder was stopped keeps nobody waiting without end, nor in silence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from archive_world import Place
from git_world import GitServer, Repository, copy_as_served
from seafloor.code import live_lock
from seafloor.code.files import locked
from seafloor.code.git import resolve_git
from seafloor.code.live_lock import Wait, locked_alive, locked_alive_if_free
from seafloor.domain.errors import SourceError

_HOLDER: Final = """
import sys
from pathlib import Path
from seafloor.code.live_lock import Wait, locked_alive
with locked_alive(Path(sys.argv[1]), Wait("nobody", print), shared=sys.argv[2] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    return tmp_path / "one.lock"


@pytest.fixture(params=["alone", "shared"])
def holder(request: pytest.FixtureRequest, lock: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that holds the lock."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(lock), request.param],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_locked_alive__holder_is_stopped__ends_with_what_to_do(
    lock: Path, holder: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_lock, "SILENT_S", 1.0)
    said: list[str] = []
    holder.send_signal(signal.SIGSTOP)

    with (
        pytest.raises(SourceError) as raised,
        locked_alive(lock, Wait("another fetch of digits", said.append)),
    ):
        pass

    assert said == ["waiting for another fetch of digits"]
    assert raised.value.message.startswith("Waited for another fetch of digits, which has given no")
    assert f'fuser -v "{lock}"' in raised.value.message


def test_locked_alive__holder_lives__is_waited_for_and_said_again(
    lock: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_lock, "SIGN_S", 0.05)
    monkeypatch.setattr(live_lock, "SILENT_S", 1.0)
    monkeypatch.setattr(live_lock, "SAY_AGAIN_S", 0.5)
    held, enough = threading.Event(), threading.Event()
    said: list[str] = []

    def hold() -> None:
        with locked_alive(lock, Wait("nobody", said.append)):
            held.set()
            enough.wait()

    def say(message: str) -> None:
        said.append(message)
        if len(said) == 5:  # four words after the first: twice as long as a silent one gets
            enough.set()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    with locked_alive(lock, Wait("another", say)):
        pass
    thread.join()

    assert said[0] == "waiting for another"
    assert said[4].startswith("still waiting for another, for 2")


def test_locked_alive__holder_is_killed__is_ours(
    lock: Path, holder: subprocess.Popen[bytes]
) -> None:
    said: list[str] = []

    def kill(message: str) -> None:
        said.append(message)
        holder.kill()

    with locked_alive(lock, Wait("another", kill)):
        assert said == ["waiting for another"]


def test_locked_alive__file_does_not_stay__is_gone_also_after_an_error(lock: Path) -> None:
    def fail() -> None:
        with locked_alive(lock, Wait("nobody", print), stays=False):
            assert lock.exists()
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        fail()
    assert not lock.exists()


def test_locked_alive_if_free__held_by_another__says_so(lock: Path) -> None:
    with locked(lock, shared=True), locked_alive_if_free(lock) as is_free:
        assert not is_free
    with locked_alive_if_free(lock) as is_free:
        assert is_free


_LOCALIZER: Final = """
import sys
from pathlib import Path
import msgspec
from archive_world import Place
from seafloor.domain.code import GitCode
Place(Path(sys.argv[1])).localize(msgspec.json.decode(sys.argv[2], type=GitCode))
"""


def test_localize__another_was_stopped_in_its_fetch__is_said_and_the_next_goes_on(
    repository: Repository,
    server: GitServer,
    place: Place,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(live_lock, "SILENT_S", 1.0)
    copy_as_served(repository, server.root, "digits.git")
    source = resolve_git(f"{server.url}/digits.git", None)
    asked = threading.Event()
    go_on = threading.Event()

    def stop() -> None:
        asked.set()
        go_on.wait()

    server.on_request = stop
    script = [sys.executable, "-c", _LOCALIZER, str(place.root)]
    with subprocess.Popen(
        [*script, msgspec.json.encode(source).decode()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        asked.wait()
        process.send_signal(signal.SIGSTOP)
        server.on_request = None
        go_on.set()
        try:
            with pytest.raises(SourceError, match="given no sign of life"):
                place.localize(source, code=tmp_path / "second")
        finally:
            process.send_signal(signal.SIGCONT)
        assert process.wait() == 0

    assert place.localize(source, code=tmp_path / "second").cached
