"""Files over HTTP: whole or not there, checked by their digests."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.artifacts import NONE_THERE
from seafloor.domain.errors import (
    InvalidValue,
    NotFound,
    SeafloorError,
    StoreCorrupt,
    StoreUnavailable,
)
from seafloor.sdk.client import Client

RUN = "0" * 32
CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def serve(asked: Asked, *, cut_after: int | None = None, sha256: str = SHA256) -> Answer:
    first = int(asked.headers.get("range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
    headers = {"X-Content-SHA256": sha256}
    return Answer(206 if first else 200, CONTENT[first:], headers, cut_after=cut_after)


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_get__an_ordinary_file__stands_there_whole(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    scripted.answer = serve
    moved: list[int] = []
    target = tmp_path / "deep" / "weights.bin"
    size = Client(scripted.url, "").artifacts.get(RUN, "a b/ü.bin", target, progress=moved.append)
    assert target.read_bytes() == CONTENT
    assert size == sum(moved) == len(CONTENT)
    assert scripted.asked[0].path.endswith("/artifacts/a%20b/%C3%BC.bin?direct=true")
    assert leftovers(target.parent) == ["weights.bin"]


def test_get__after_one_that_was_killed__leaves_nothing_of_it(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    target = tmp_path / "weights.bin"
    program = (
        "import os, sys; from pathlib import Path; from seafloor.sdk.client import Client\n"
        f"progress = lambda _: os.kill(os.getpid(), {signal.SIGKILL:d})\n"
        f"Client(sys.argv[1], '').artifacts.get({RUN!r}, 'a', Path(sys.argv[2]), progress=progress)"
    )
    scripted.answer = serve
    for _ in range(2):
        killed = subprocess.run([sys.executable, "-c", program, scripted.url, target], check=False)
        assert killed.returncode == -signal.SIGKILL
        assert len(leftovers(tmp_path)) == 1
    assert Client(scripted.url, "").artifacts.get(RUN, "a", target) == len(CONTENT)
    assert target.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["weights.bin"]


def test_get__the_same_file_several_times_at_once__each_is_whole(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    target = tmp_path / "weights.bin"
    together = threading.Barrier(4)

    def answer(asked: Asked) -> Answer:
        together.wait(timeout=30)
        return serve(asked)

    scripted.answer = answer
    with ThreadPoolExecutor(4) as pool:
        gets = [
            pool.submit(Client(scripted.url, "").artifacts.get, RUN, "a", target) for _ in range(4)
        ]
        assert [get.result(timeout=60) for get in gets] == [len(CONTENT)] * 4
    assert target.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["weights.bin"]


def test_get__where_files_have_no_locks__leaves_nothing_beside_the_target(
    scripted: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_file: object, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    scripted.answer = serve
    target = tmp_path / "weights.bin"
    assert Client(scripted.url, "").artifacts.get(RUN, "a", target) == len(CONTENT)
    assert leftovers(tmp_path) == ["weights.bin"]
    # What is there already may be another's at this very moment.
    other = tmp_path / ".weights.bin.part"
    other.write_bytes(b"half")
    assert Client(scripted.url, "").artifacts.get(RUN, "a", target) == len(CONTENT)
    assert sorted(leftovers(tmp_path)) == [other.name, "weights.bin"]
    assert other.read_bytes() == b"half"


def test_get__a_link_in_the_way__is_not_written_through(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / "other").write_bytes(b"mine")
    (tmp_path / ".weights.bin.part").symlink_to(tmp_path / "other")
    scripted.answer = serve
    Client(scripted.url, "").artifacts.get(RUN, "a", tmp_path / "weights.bin")
    assert (tmp_path / "other").read_bytes() == b"mine"
    assert (tmp_path / "weights.bin").read_bytes() == CONTENT


def test_get__cut_again_and_again__goes_on_where_it_was(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    scripted.answer = lambda asked: serve(asked, cut_after=1_000_000)
    target = tmp_path / "weights.bin"
    Client(scripted.url, "").artifacts.get(RUN, "weights.bin", target)
    assert target.read_bytes() == CONTENT
    firsts = [asked.headers.get("range") for asked in scripted.asked]
    assert firsts[0] is None
    assert len(firsts) >= 3


def test_get__cut_and_the_server_has_no_ranges__begins_anew(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    def answer(_asked: Asked) -> Answer:
        headers = {"X-Content-SHA256": SHA256}
        cut_after = 1000 if len(scripted.asked) == 1 else None
        return Answer(200, CONTENT, headers, cut_after=cut_after)

    scripted.answer = answer
    Client(scripted.url, "").artifacts.get(RUN, "w", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT


def test_get__cut_and_replaced_meanwhile__is_all_of_the_new(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    new = os.urandom(2_000_000)

    def answer(asked: Asked) -> Answer:
        if len(scripted.asked) == 1:
            headers = {"ETag": '"old"', "X-Content-SHA256": SHA256}
            return Answer(200, CONTENT, headers, cut_after=1_000_000)
        first = int(asked.headers["range"].removeprefix("bytes=").rstrip("-"))
        headers = {"ETag": '"new"', "X-Content-SHA256": hashlib.sha256(new).hexdigest()}
        if asked.headers.get("if-range") == '"old"':
            return Answer(200, new, headers)
        return Answer(206, new[first:], headers)

    scripted.answer = answer
    Client(scripted.url, "").artifacts.get(RUN, "w", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == new


def elsewhere(url: str, sha256: str = SHA256) -> Answer:
    headers = {"Location": url, "ETag": '"e"', "X-Content-SHA256": sha256}
    return Answer(307, b"", headers)


@pytest.mark.parametrize("there", ["whole", "cut", "other bytes", "refused", "nobody", "no URL"])
def test_get__the_server_says_where_the_file_lies__is_whole_whatever_is_there(
    scripted: ScriptedServer, tmp_path: Path, there: str
) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path == "/bucket?signed":
            assert "authorization" not in asked.headers
            if there == "refused":
                return Answer(403, b"no")
            body = CONTENT if there != "other bytes" else b"x" * len(CONTENT)
            return Answer(200, body, {}, cut_after=1_000_000 if there == "cut" else None)
        if asked.path.endswith("?direct=true"):
            places = {"nobody": "http://127.0.0.1:9/bucket", "no URL": "file:///etc/passwd"}
            return elsewhere(places.get(there, f"{scripted.url}/bucket?signed"))
        return serve(asked)

    scripted.answer = answer
    artifacts = Client(scripted.url, "secret").artifacts
    artifacts.get(RUN, "w", tmp_path / "w")
    assert (tmp_path / "w").read_bytes() == CONTENT
    through = [asked for asked in scripted.asked if asked.path.endswith("/artifacts/w")]
    assert len(through) == (0 if there == "whole" else 1)
    ranges = [asked.headers.get("range") for asked in through]
    assert ranges == (["bytes=1000000-"] if there == "cut" else [None] * len(through))
    # Where there is no way, the next file is not tried there again.
    artifacts.get(RUN, "w", tmp_path / "w")
    tried = sum(asked.path.endswith("?direct=true") for asked in scripted.asked)
    assert tried == (1 if there in ("refused", "nobody", "no URL") else 2)


def test_get__a_login_page_in_the_way__is_not_taken_for_the_file(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.path == "/login":
            return Answer(200, b"<html>")
        return Answer(307, b"", {"Location": f"{scripted.url}/login"})

    scripted.answer = answer
    with pytest.raises(SeafloorError, match="somewhere else"):
        Client(scripted.url, "").artifacts.get(RUN, "w", tmp_path / "w")
    assert leftovers(tmp_path) == []


def test_get__never_more_than_a_part__leaves_nothing(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    scripted.answer = lambda asked: serve(asked, cut_after=10)
    with pytest.raises(StoreUnavailable):
        Client(scripted.url, "").artifacts.get(RUN, "w", tmp_path / "w")
    assert leftovers(tmp_path) == []


def test_get__other_bytes_than_the_digest__leaves_what_was_there(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    scripted.answer = lambda asked: serve(asked, sha256="0" * 64)
    (tmp_path / "w").write_text("old")
    with pytest.raises(StoreCorrupt):
        Client(scripted.url, "").artifacts.get(RUN, "w", tmp_path / "w")
    assert (tmp_path / "w").read_text() == "old"
    assert leftovers(tmp_path) == ["w"]


def test_get__no_such_file__leaves_nothing(scripted: ScriptedServer, tmp_path: Path) -> None:
    scripted.answer = lambda _asked: Answer(404, {"code": "not_found", "message": "None."})
    with pytest.raises(NotFound):
        Client(scripted.url, "").artifacts.get(RUN, "w", tmp_path / "w")
    assert leftovers(tmp_path) == []


@pytest.mark.parametrize("path", ["../x", "/x", "a//b", ""])
def test_get__a_path_that_escapes__is_refused_before_anything(tmp_path: Path, path: str) -> None:
    with pytest.raises(InvalidValue):
        Client("http://127.0.0.1:9", "").artifacts.get(RUN, path, tmp_path / "w")


def test_put__a_file__is_sent_with_its_digest(scripted: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "w").write_bytes(CONTENT)
    answer = {"path": "m/w", "size_bytes": len(CONTENT), "sha256": SHA256, "created_ns": 1}
    scripted.answer = lambda _asked: Answer(200, answer)
    kept = Client(scripted.url, "").artifacts.put(RUN, "m/w", tmp_path / "w")
    assert kept.sha256 == SHA256
    (asked,) = scripted.asked
    assert (asked.method, asked.body) == ("PUT", CONTENT)
    assert asked.headers["x-content-sha256"] == SHA256


def test_put__busy_at_first__is_sent_again_from_the_beginning(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / "w").write_bytes(CONTENT)
    file = {"path": "w", "size_bytes": len(CONTENT), "sha256": SHA256, "created_ns": 1}
    busy = Answer(503, {"code": "store_unavailable", "message": "Busy."})
    scripted.answer = lambda _asked: busy if len(scripted.asked) == 1 else Answer(200, file)
    moved: list[int] = []
    Client(scripted.url, "").artifacts.put(RUN, "w", tmp_path / "w", progress=moved.append)
    assert [asked.body for asked in scripted.asked] == [CONTENT, CONTENT]
    assert sum(moved) == len(CONTENT)


def test_put_or_delete__with_a_condition__is_sent_once(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    """The answer to the first may be lost: a second would be compared with what the first put."""
    scripted.answer = lambda _: Answer(503, b"")
    artifacts = Client(scripted.url, "").artifacts
    source = tmp_path / "source"
    source.write_bytes(b"mine")
    with pytest.raises(StoreUnavailable):
        artifacts.put(RUN, "a", source, only_if=NONE_THERE)
    with pytest.raises(StoreUnavailable):
        artifacts.delete(RUN, "a", only_if=NONE_THERE)
    assert [asked.method for asked in scripted.asked] == ["PUT", "DELETE"]
    assert {asked.headers["if-none-match"] for asked in scripted.asked} == {"*"}


def test_put__a_pipe__is_refused_and_nobody_waits_for_it(
    scripted: ScriptedServer, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidValue, match="a pipe"):
        Client(scripted.url, "").artifacts.put(RUN, "w", tmp_path / "pipe")
    assert scripted.asked == []


def test_put__an_empty_file__is_a_file(scripted: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "w").touch()
    empty = hashlib.sha256().hexdigest()
    file = {"path": "w", "size_bytes": 0, "sha256": empty, "created_ns": 1}
    scripted.answer = lambda _asked: Answer(200, file)
    assert Client(scripted.url, "").artifacts.put(RUN, "w", tmp_path / "w").size_bytes == 0
    assert scripted.asked[0].headers["content-length"] == "0"


def test_put__no_such_file__names_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="nothing-here"):
        Client("http://127.0.0.1:9", "").artifacts.put(RUN, "w", tmp_path / "nothing-here")
