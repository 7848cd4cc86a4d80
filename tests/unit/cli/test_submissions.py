from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from seafloor.cli.submissions import (
    SubmissionOptions,
    make_submission,
    parse_pairs,
    resolve_code,
)
from seafloor.code import snapshot_memory
from seafloor.domain.code import SnapshotCode
from seafloor.domain.errors import InvalidValue
from seafloor.sdk.client import Client


class Server:
    """What a submission asks of a server, as a client sees it: it counts what is sent."""

    def __init__(self) -> None:
        self.kept: set[str] = set()
        self.sent = 0
        self.snapshots = self

    def exists(self, sha256: str, *, size_bytes: int | None = None) -> bool:
        return sha256 in self.kept

    def put(self, sha256: str, archive: Path) -> None:
        assert archive.stat().st_size
        self.kept.add(sha256)
        self.sent += 1

    def plan(self, _asked: object) -> None:
        """Agree."""


def resolved(folder: Path, server: Server) -> SnapshotCode:
    submission = make_submission(SubmissionOptions(command=("true",), folder=folder))
    code = resolve_code(submission, warn=print, client=lambda: cast("Client", server))
    assert isinstance(code, SnapshotCode)
    return code


@pytest.mark.parametrize("server_lost_it", [False, True])
def test_resolve_code__unchanged_folder__is_sent_only_if_the_server_does_not_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, server_lost_it: bool
) -> None:
    monkeypatch.setenv("SEAFLOOR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(snapshot_memory, "SETTLED_NS", -60_000_000_000)
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("print()\n")
    server = Server()
    first = resolved(folder, server)
    assert server.sent == 1
    if server_lost_it:
        server.kept.clear()

    assert resolved(folder, server) == first

    assert server.sent == 1 + server_lost_it
    assert len(list((tmp_path / "home/snapshots").iterdir())) == 1


@pytest.mark.parametrize("text", ["lr=\udcff", "l\udcff=1", "\udcff"])
def test_parse_pairs__bytes_that_are_no_text__are_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match=r"\\xff.*is not UTF-8 text") as refused:
        parse_pairs([text], field="--with")
    refused.value.message.encode()


@pytest.mark.parametrize("field", ["--param", "-e", "--with"])
def test_parse_pairs__one_name_with_two_values__is_refused_without_them(field: str) -> None:
    with pytest.raises(InvalidValue, match="twice") as caught:
        parse_pairs(["TOKEN=s3cr3t", "a=1", "TOKEN=other"], field=field)
    assert caught.value.field == field
    assert "s3cr3t" not in caught.value.message
    assert parse_pairs(["a=1", "a=1"], field=field) == {"a": "1"}


def test_make_submission__a_variable_given_as_the_environment__says_which_option_is_meant() -> None:
    with pytest.raises(InvalidValue, match=r"-e OMP_NUM_THREADS=VALUE") as caught:
        make_submission(SubmissionOptions(command=("true",), environment="OMP_NUM_THREADS=4"))
    assert caught.value.field == "--env"
