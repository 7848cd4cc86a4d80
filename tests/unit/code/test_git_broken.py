"""Servers that break off, stop, or are no git servers: each is told in one sentence."""

from __future__ import annotations

import os
import socket

import pytest

from archive_world import Place
from git_world import GitServer, Repository, copy_as_served, git
from seafloor.code import git_command
from seafloor.code.git import resolve_git
from seafloor.domain.errors import SourceError


@pytest.fixture
def url(repository: Repository, server: GitServer) -> str:
    """A repository of a megabyte that is served."""
    repository.commit({"weights.bin": os.urandom(1 << 20)})
    copy_as_served(repository, server.root, "digits.git")
    return f"{server.url}/digits.git"


def _failed(place: Place, url: str) -> str:
    with pytest.raises(SourceError) as raised:
        place.localize(resolve_git(url, None))
    assert url in raised.value.message
    assert "\n" not in raised.value.message
    return raised.value.message


@pytest.mark.parametrize("page", [b"<html><title>Sign in</title></html>", b"<html>\nlog in\n"])
def test_resolve_git__page_to_log_in_at__is_not_told_as_an_empty_repository(
    place: Place, server: GitServer, url: str, page: bytes
) -> None:
    server.page = page

    message = _failed(place, url)

    assert "Check the address" in message
    assert not message.startswith(f"{url} is empty")


def test_resolve_git__page_in_place_of_a_pack__is_told(
    place: Place, server: GitServer, url: str
) -> None:
    source = resolve_git(url, None)
    server.page = b"<html>log in</html>"
    server.page_for = "POST"

    with pytest.raises(SourceError, match="does not speak as git does"):
        place.localize(source)


def test_localize__pack_is_cut__is_told_and_the_next_one_has_it(
    place: Place, server: GitServer, url: str
) -> None:
    server.is_cut = True

    message = _failed(place, url)

    assert "breaks off in the middle" in message
    server.is_cut = False
    place.localize(resolve_git(url, None))
    assert (place.code / "digits" / "weights.bin").stat().st_size == 1 << 20


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        ({"answer": 429}, "was asked too often"),
        ({"redirect": "{here}"}, "leads to another address, where git cannot follow"),
        ({"redirect": "file:///etc"}, "leads to another address, where git cannot follow"),
    ],
)
def test_resolve_git__server_refuses_or_leads_astray__is_told(
    place: Place, server: GitServer, url: str, behaviour: dict[str, str | int], words: str
) -> None:
    for name, value in behaviour.items():
        is_here = value == "{here}"
        setattr(server, name, server.url if is_here else value)

    assert words in _failed(place, url)


def test_resolve_git__password_of_the_machine_is_wrong__is_told_from_none(
    place: Place, repository: Repository, server: GitServer, url: str
) -> None:
    server.user, server.password = "me", "right"
    helper = "!f() { echo username=me; echo password=opensesame; }; f"
    git(repository.path, "config", "--global", "credential.helper", helper)

    message = _failed(place, url)

    assert "refused the user or the password that this machine has for it" in message
    assert "opensesame" not in message


def test_resolve_git__ssh_server_says_nothing__is_given_up_before_all_time_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(git_command, "_SSH_CONNECT_S", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"ssh://git@127.0.0.1:{silent.getsockname()[1]}/digits.git"
        with pytest.raises(SourceError, match="cannot be reached, or stopped answering"):
            resolve_git(address, None, timeout_s=30)
