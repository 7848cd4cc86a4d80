"""HTTP of the client: errors by code, repeats, and answers that are not Seafloor's."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import (
    Closed,
    Forbidden,
    InvalidValue,
    LimitExceeded,
    NotFound,
    OutOfOrder,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
)
from seafloor.sdk.client import Client
from seafloor.sdk.runs import RunQuery
from seafloor.sdk.strangers import NotSeafloor
from seafloor.sdk.transport import Request, Transport, TransportOptions
from seafloor.wire.environments import EnvironmentDeleted
from seafloor.wire.exit_codes import UNREACHABLE, code_of_error
from seafloor.wire.runs import RunCreate

IMPATIENT = TransportOptions(connect_s=60.0, read_s=60.0, repeat_s=0.0)
HEALTHY = {"status": "ok", "version": "1", "parts": {}}


def in_turn(*answers: Answer) -> Callable[[Asked], Answer]:
    waiting = list(answers)
    return lambda _asked: waiting.pop(0) if len(waiting) > 1 else waiting[0]


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        (400, "invalid_value", InvalidValue),
        (404, "not_found", NotFound),
        (409, "closed", Closed),
        (418, "of_a_later_version", SeafloorError),
        (503, "store_unavailable", StoreUnavailable),
    ],
)
def test_call__an_error_envelope__is_raised_as_its_class(
    scripted: ScriptedServer, status: int, code: str, cls: type[SeafloorError]
) -> None:
    envelope = {"code": code, "message": "No.", "field": "spec.code", "request_id": "abc"}
    scripted.answer = lambda _asked: Answer(status, envelope, {"Retry-After": "7"})
    with pytest.raises(SeafloorError) as caught:
        Client(scripted.url, "", options=IMPATIENT).runs.get("0" * 32)
    assert type(caught.value) is cls
    assert caught.value.message.startswith("No.")
    assert caught.value.field == "spec.code"
    assert caught.value.retry_after_s == 7.0


@pytest.mark.parametrize("status", [429, 503])
def test_call__a_proxy_says_when_to_come_again__is_kept(
    scripted: ScriptedServer, status: int
) -> None:
    scripted.answer = lambda _asked: Answer(status, {"busy": True}, {"Retry-After": "7"})
    with pytest.raises(StoreUnavailable) as caught:
        Client(scripted.url, "", options=IMPATIENT).health()
    assert caught.value.retry_after_s == 7.0


def test_call__out_of_order__says_where_to_go_on(scripted: ScriptedServer) -> None:
    envelope = {"code": "out_of_order", "message": "No.", "next_offset": 42}
    scripted.answer = lambda _asked: Answer(409, envelope)
    with pytest.raises(OutOfOrder) as caught:
        Client(scripted.url, "").health()
    assert caught.value.next_offset == 42


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (301, NotSeafloor),
        (400, NotSeafloor),
        (401, Unauthenticated),
        (403, Forbidden),
        (404, NotSeafloor),
        (413, LimitExceeded),
        (500, StoreUnavailable),
        (502, StoreUnavailable),
    ],
)
def test_call__an_answer_of_a_stranger__is_told_apart(
    scripted: ScriptedServer, status: int, cls: type[SeafloorError]
) -> None:
    headers = {"Location": "http://127.0.0.1:1/"}
    scripted.answer = lambda _asked: Answer(status, b"<html>hello</html>", headers)
    with pytest.raises(SeafloorError) as caught:
        Client(scripted.url, "", options=IMPATIENT).health()
    assert type(caught.value) is cls
    assert scripted.url in caught.value.message
    assert len(scripted.asked) == 1


@pytest.mark.parametrize("status", [302, 400, 404, 405, 500, 520])
def test_call__what_is_no_seafloor_server__is_a_server_that_cannot_be_reached(
    scripted: ScriptedServer, status: int
) -> None:
    scripted.answer = lambda _asked: Answer(status, b"<html>hello</html>")
    with pytest.raises(StoreUnavailable, match="SEAFLOOR_URL") as caught:
        Client(scripted.url, "", options=IMPATIENT).runs.get("0" * 32)
    assert code_of_error(caught.value) == UNREACHABLE


def test_call__an_error_of_a_later_version__says_what_it_says_and_a_strangers_whose_it_is(
    scripted: ScriptedServer,
) -> None:
    envelope = {"code": "of_a_later_version", "message": "No.", "request_id": "r1"}
    scripted.answer = lambda _asked: Answer(400, envelope)
    with pytest.raises(SeafloorError, match=r"^No\.$"):
        Client(scripted.url, "").health()
    scripted.answer = lambda _asked: Answer(400, {"code": "E17", "message": "No."})
    with pytest.raises(NotSeafloor, match=scripted.url):
        Client(scripted.url, "").health()


@pytest.mark.parametrize("answer", [Answer(302), Answer(404), Answer(200, b"<html>Log in")])
def test_call__what_is_no_seafloor_server__is_asked_once(
    scripted: ScriptedServer, answer: Answer
) -> None:
    scripted.answer = lambda _asked: answer
    with pytest.raises(NotSeafloor, match="SEAFLOOR_URL"):
        Client(scripted.url, "").health()
    assert len(scripted.asked) == 1


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("https://ml.example.com/sea/health", "Set SEAFLOOR_URL to https://ml.example.com/sea."),
        ("https://u:p@id.example.com/login?state=s3cr3t", "at https://id.example.com/login. If"),
        ("/login?state=s3cr3t", "/login. If that is a page for logging in"),
        ("http://[", "not said where"),
        ("ftp://example.com/health", "not said where"),
    ],
)
def test_call__it_is_somewhere_else__says_where_and_no_more(
    scripted: ScriptedServer, location: str, said: str
) -> None:
    scripted.answer = lambda _asked: Answer(302, b"", {"Location": location})
    with pytest.raises(NotSeafloor) as caught:
        Client(scripted.url, "").health()
    assert said in caught.value.message
    assert "s3cr3t" not in caught.value.message
    assert "u:p" not in caught.value.message


@pytest.mark.parametrize(
    ("status", "code", "cls"),
    [
        (404, "RESOURCE_DOES_NOT_EXIST", NotFound),
        (400, "INVALID_PARAMETER_VALUE", InvalidValue),
        (409, "SOMETHING_NEW", InvalidValue),
        (503, "TEMPORARILY_UNAVAILABLE", StoreUnavailable),
        (500, "INTERNAL_ERROR", StoreError),
    ],
)
def test_call__an_error_of_mlflows_api__says_what_it_says(
    scripted: ScriptedServer, status: int, code: str, cls: type[SeafloorError]
) -> None:
    scripted.answer = lambda _asked: Answer(status, {"error_code": code, "message": "So it is."})
    transport = Transport(scripted.url, options=IMPATIENT)
    with pytest.raises(cls) as caught:
        transport.fetch(Request("GET", "/api/2.0/mlflow-artifacts/artifacts"))
    assert (type(caught.value), caught.value.message) == (cls, "So it is.")
    with pytest.raises(StoreUnavailable, match=scripted.url):  # not what native routes say
        transport.fetch(Request("GET", "/api/v1/runs"))


def test_call__json_of_something_else__is_refused(scripted: ScriptedServer) -> None:
    scripted.answer = lambda _asked: Answer(200, {"hello": "world"})
    with pytest.raises(StoreCorrupt, match="is it a Seafloor server"):
        Client(scripted.url, "").health()


def test_call__nobody_listens__says_so_in_words() -> None:
    with socket.socket() as bound:  # so that nobody else can begin to listen there
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}"
        with pytest.raises(StoreUnavailable, match="connection refused"):
            Client(url, "", options=IMPATIENT).health()


def test_call__busy_at_first__is_repeated(scripted: ScriptedServer) -> None:
    busy = Answer(503, {"code": "store_unavailable", "message": "Busy."})
    scripted.answer = in_turn(busy, busy, Answer(200, HEALTHY))
    assert Client(scripted.url, "").health().status == "ok"
    assert len(scripted.asked) == 3


def test_call__a_connection_cut_in_the_answer__is_repeated_when_harmless(
    scripted: ScriptedServer,
) -> None:
    scripted.answer = in_turn(Answer(200, HEALTHY, cut_after=5), Answer(200, HEALTHY))
    with pytest.raises(StoreUnavailable):
        Client(scripted.url, "", options=IMPATIENT).health()


@pytest.mark.parametrize("status", [500, 503])
@pytest.mark.parametrize(
    ("headers", "cut_after"), [({}, 7), ({"Content-Encoding": "gzip"}, None)], ids=["cut", "gzip"]
)
def test_call__an_error_that_cannot_be_read__is_a_server_that_is_away(
    scripted: ScriptedServer, status: int, headers: dict[str, str], cut_after: int | None
) -> None:
    body = b'{"code": "internal", "message": "No."}'
    broken = Answer(status, body, headers, cut_after=cut_after)
    scripted.answer = lambda _asked: broken
    with pytest.raises(StoreUnavailable, match=f"an answer {status} that cannot be read"):
        Client(scripted.url, "", options=IMPATIENT).health()
    scripted.answer = in_turn(broken, Answer(200, HEALTHY))
    assert Client(scripted.url, "").health().status == "ok"


def test_call__too_large_for_a_proxy_that_hangs_up__is_not_a_server_that_is_away(
    scripted: ScriptedServer,
) -> None:
    scripted.answer = lambda _asked: Answer(413, b"<html>Too large</html>", cut_after=3)
    with pytest.raises(LimitExceeded):
        Client(scripted.url, "").health()


def test_call__a_post_that_may_not_be_repeated__is_sent_once(scripted: ScriptedServer) -> None:
    scripted.answer = lambda _asked: Answer(503, {"code": "store_unavailable", "message": "Busy."})
    with pytest.raises(StoreUnavailable):
        Client(scripted.url, "").runs.create(RunCreate(spec={}))
    assert len(scripted.asked) == 1


def test_call__a_post_with_a_key__is_repeated(scripted: ScriptedServer) -> None:
    busy = Answer(503, {"code": "store_unavailable", "message": "Busy."})
    scripted.answer = in_turn(busy, Answer(400, {"code": "invalid_value", "message": "No."}))
    with pytest.raises(InvalidValue):
        Client(scripted.url, "").runs.create(RunCreate(spec={}, idempotency_key="k"))
    assert len(scripted.asked) == 2


def test_call__a_token__is_presented_and_never_followed_elsewhere(
    scripted: ScriptedServer,
) -> None:
    scripted.answer = lambda _asked: Answer(302, b"", {"Location": "http://localhost:1/"})
    with pytest.raises(SeafloorError, match="somewhere else"):
        Client(scripted.url, "secret").health()
    assert scripted.asked[0].headers["authorization"] == "Bearer secret"


def test_call__values_in_paths_and_queries__are_quoted(scripted: ScriptedServer) -> None:
    scripted.answer = lambda _asked: Answer(200, {"items": [], "next": None})
    query = RunQuery(filter='params.a = "b&c"', states=("failed", "lost"))
    assert list(Client(scripted.url, "").runs.iterate(query)) == []
    assert "filter=params.a+%3D+%22b%26c%22" in scripted.asked[0].path
    assert scripted.asked[0].path.count("state=") == 2
    scripted.answer = lambda _asked: Answer(200, {"versions": 1, "freed_bytes": 0})
    deleted = Client(scripted.url, "").environments.delete("a/b@1")
    assert deleted == EnvironmentDeleted(1, 0)
    assert scripted.asked[1].path == "/api/v1/environments/a%2Fb%401"


def test_iterate__several_pages__are_joined_up_to_the_limit(scripted: ScriptedServer) -> None:
    point = [1, 2, 0.5]
    pages = in_turn(
        Answer(200, {"key": "loss", "points": [point, point], "next": "c1"}),
        Answer(200, {"key": "loss", "points": [point], "next": None}),
    )
    scripted.answer = pages
    assert len(list(Client(scripted.url, "").metrics.iterate("0" * 32, "loss"))) == 3
    assert "cursor=c1" in scripted.asked[1].path


def test_send__headers__are_lower_case(scripted: ScriptedServer) -> None:
    scripted.answer = lambda _asked: Answer(200, b"", {"X-Thing": "1"})
    assert Transport(scripted.url).send(Request("HEAD", "/x"))["x-thing"] == "1"


def test_call__a_token_from_a_file__is_presented_without_its_line_break(
    scripted: ScriptedServer,
) -> None:
    scripted.answer = lambda _asked: Answer(200, HEALTHY)
    Client(scripted.url, " abc\n", options=IMPATIENT).health()
    assert scripted.asked[0].headers["authorization"] == "Bearer abc"


@pytest.mark.parametrize("token", ["a\nb", "a b", "ä", "a\0"])
def test_client__a_token_that_none_can_be__is_refused_and_not_shown(token: str) -> None:
    with pytest.raises(InvalidValue, match="copied whole") as caught:
        Client("http://127.0.0.1:9", token)
    assert repr(token) not in caught.value.message
