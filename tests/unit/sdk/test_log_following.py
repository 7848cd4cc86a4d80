"""Following a log: no line is left out and none comes twice, however often it is cut."""

from __future__ import annotations

import json

import pytest

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import NotFound, StoreUnavailable
from seafloor.sdk.client import Client
from seafloor.sdk.logs import LogQuery, read_events
from seafloor.sdk.transport import TransportOptions

RUN = "0" * 32


def event(first: int, count: int, *, total: int) -> bytes:
    lines = [
        {"number": number, "time_ns": 1, "stream": "out", "text": f"line {number}"}
        for number in range(first, first + count)
    ]
    view = {
        "attempt": 1,
        "task": "main",
        "lines": lines,
        "next_line": first + count,
        "total_lines": total,
        "lines_missing": 0,
        "finished": first + count > total,
    }
    return b"id: 1\ndata: " + json.dumps(view).encode() + b"\n\n"


def from_line(asked: Asked) -> int:
    return int(asked.path.partition("from_line=")[2].partition("&")[0])


def test_follow__cut_in_the_middle_of_an_event__goes_on_at_the_next_line(
    scripted: ScriptedServer,
) -> None:
    total = 20

    def answer(asked: Asked) -> Answer:
        first = from_line(asked)
        whole = event(first, min(3, total - first + 1), total=total)
        rest = event(first + 3, 3, total=total + 1)
        return Answer(200, whole + b": beat\n\n" + rest, cut_after=len(whole) + 20)

    scripted.answer = answer
    seen = [
        line.number
        for view in Client(scripted.url, "").logs.follow(RUN, LogQuery(attempt=1))
        for line in view.lines
    ]
    assert seen == list(range(1, total + 1))


def test_follow__the_stream_ends_early__is_asked_again(scripted: ScriptedServer) -> None:
    scripted.answer = lambda asked: Answer(200, event(from_line(asked), 1, total=3))
    views = list(Client(scripted.url, "").logs.follow(RUN))
    assert [view.next_line for view in views] == [2, 3, 4]
    assert views[-1].finished


def test_follow__no_such_run__is_raised_at_once(scripted: ScriptedServer) -> None:
    envelope = {"code": "not_found", "message": "There is no such run."}
    scripted.answer = lambda _asked: Answer(404, envelope)
    with pytest.raises(NotFound):
        list(Client(scripted.url, "").logs.follow(RUN))


def test_follow__the_server_stays_away__gives_up_after_the_patience() -> None:
    client = Client("http://127.0.0.1:9", "", options=TransportOptions(repeat_s=0.0))
    with pytest.raises(StoreUnavailable):
        list(client.logs.follow(RUN, patience_s=0.5))


def test_read_events__any_cut_of_the_bytes__gives_the_same() -> None:
    whole = b"event: error\r\ndata: a\r\n\r\n: beat\n\ndata:b\ndata: c\n\nid: 3\n\n"
    expected = [("error", b"a"), ("message", b"b\nc")]
    for cut in range(len(whole)):
        assert list(read_events([whole[:cut], whole[cut:]])) == expected
