"""Docker images: names, and digests from a real registry and from odd ones."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.services._service import Service

from registry_world import push
from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.environments.images import parse_image, resolve_image

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("debian", "docker.io/library/debian:latest"),
        ("debian:12", "docker.io/library/debian:12"),
        ("apache/submarine:jupyter", "docker.io/apache/submarine:jupyter"),
        ("docker.io/apache/submarine", "docker.io/apache/submarine:latest"),
        ("localhost/a", "localhost/a:latest"),
        ("localhost:5000/a/b_c:V1", "localhost:5000/a/b_c:V1"),
        ("r.example.com/a@" + DIGEST, "r.example.com/a@" + DIGEST),
        ("r.example.com/a:1@" + DIGEST, "r.example.com/a:1@" + DIGEST),
    ],
)
def test_parse__name__is_read_as_docker_reads_it(written: str, read: str) -> None:
    assert parse_image(written).text == read


@pytest.mark.parametrize(
    "written",
    ["", " ", "Debian", "a b", "a:", "a:b:c", "a@sha256:12", "a@", "https://r.example.com/a",
     "me:pw@r.example.com/a", "../a", "a/", "/a", "a" * 600, "r.example.com:port/a", "a\nb"],
)  # fmt: skip
def test_parse__no_name__is_refused(written: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_image(written)
    assert caught.value.field == "image"


async def test_resolve__real_registry__gives_the_digest_that_the_tag_has_now(
    service: Callable[[str], Service],
) -> None:
    registry = service("docker_registry").url
    first = push(registry, "team/torch", "2.0", b"{}")
    found = await resolve_image(f"{registry}/team/torch:2.0")
    assert found == f"{registry}/team/torch:2.0@{first}"
    assert await resolve_image(found) == found
    second = push(registry, "team/torch", "2.0", b'{"a": 1}')
    assert await resolve_image(f"{registry}/team/torch:2.0") == found.replace(first, second)
    # What was recorded is still what it was.
    assert await resolve_image(found) == found
    for missing in ("team/torch:3.0", "team/nothing", f"team/torch@{DIGEST}"):
        with pytest.raises(SourceError, match="There is no image") as caught:
            await resolve_image(f"{registry}/{missing}")
        assert f"http://{registry}/v2/team/" in caught.value.message


@contextmanager
def scripted(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """A registry that answers what a test wants."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            answer(self)

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def reply(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


async def test_resolve__registry_that_wants_a_token__fetches_one_for_strangers() -> None:
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/token"):
            asked.append(handler.path)
            reply(handler, 200, b'{"token": "stranger"}')
        elif handler.headers["Authorization"] == "Bearer stranger":
            reply(handler, 200, Docker_Content_Digest=DIGEST)
        else:
            realm = f'Bearer realm="http://{handler.headers["Host"]}/token",service="here"'
            reply(handler, 401, WWW_Authenticate=realm)

    with scripted(answer) as registry:
        found = await resolve_image(f"{registry}/a/b:1")
    assert found == f"{registry}/a/b:1@{DIGEST}"
    assert asked == ["/token?service=here&scope=repository%3Aa%2Fb%3Apull"]


async def test_resolve__registry_that_does_not_say_the_digest__is_computed() -> None:
    with scripted(lambda handler: reply(handler, 200, b"{}")) as registry:
        found = await resolve_image(f"{registry}/a")
    assert found.endswith(hashlib.sha256(b"{}").hexdigest())


@pytest.mark.parametrize(
    ("status", "headers", "said", "again"),
    [
        (401, {"WWW_Authenticate": 'Basic realm="x"'}, "asks for a user and password", False),
        (
            401,
            {"WWW_Authenticate": 'Bearer realm="http://x.example/t"'},
            "user and password",
            False,
        ),
        (401, {}, "asks for a user and password", False),
        (403, {}, "refuses image", False),
        (429, {}, "answers 429", True),
        (503, {}, "answers 503", True),
        (200, {"Docker_Content_Digest": "md5:1"}, "which cannot be", False),
        (302, {"Location": "http://x.example/"}, "answers 302", False),
    ],
)
async def test_resolve__registry_that_refuses__says_why_and_where(
    status: int, headers: dict[str, str], said: str, again: bool
) -> None:
    with (
        scripted(lambda handler: reply(handler, status, b"", **headers)) as registry,
        pytest.raises(SourceError, match=said) as caught,
    ):
        await resolve_image(f"{registry}/a")
    assert (caught.value.retry_after_s is not None) == again


async def test_resolve__registry_away__names_the_address_and_can_be_tried_again() -> None:
    with pytest.raises(SourceError, match=r"cannot be reached at http://127\.0\.0\.1:9/v2/a") as e:
        await resolve_image("127.0.0.1:9/a")
    assert e.value.retry_after_s is not None
