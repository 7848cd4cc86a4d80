"""What ``seafloor doctor`` finds of an object store: the fault and its mending."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from tests.object_worlds import fresh_objects
from tests.services._service import Service

from seafloor.app.store_checks import StoreCheck, check_objects
from seafloor.stores.objects.open import open_objects
from seafloor.stores.objects.protocol import ObjectStore

Services = Callable[[str], Service]


async def checks_of(objects: ObjectStore) -> list[StoreCheck]:
    return await check_objects(objects, new_id=uuid.uuid4().hex, now_ns=time.time_ns)


async def checks_at(url: str, env: dict[str, str]) -> list[StoreCheck]:
    objects = open_objects(url, env)
    found = await checks_of(objects)
    await objects.close()
    return found


@pytest.mark.parametrize("kind", ["local", "s3", "azure", "gcs", "hdfs"])
async def test_check__store_that_works__is_well_and_left_empty(
    kind: str, service: Services
) -> None:
    async with fresh_objects(kind, service) as objects:
        found = await checks_of(objects)
        left = (await objects.list("")).objects
    bad = [check for check in found if check.state == "fail"]
    assert not bad
    assert left == ()


async def test_check__wrong_secret__names_the_credentials_and_nothing_else(
    service: Services,
) -> None:
    """A HEAD is refused without a word, and was taken for a missing right to read."""
    server = service("s3")
    found = await checks_at(server.url, {**server.env, "AWS_SECRET_ACCESS_KEY": "another"})
    (check,) = found  # and not that something may be left: nothing was written
    assert (check.name, check.state) == ("objects: reach", "fail")
    assert "SignatureDoesNotMatch" in check.said
    assert "AWS_SECRET_ACCESS_KEY" in check.said


@contextmanager
def refusing(status: int, code: str) -> Iterator[str]:
    """A store that answers everything with one refusal, as S3 words it; gives its endpoint."""

    class Refusal(BaseHTTPRequestHandler):
        def _refuse(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b"" if self.command == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _refuse

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Refusal)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, "ExpiredToken", "AWS_SESSION_TOKEN"),
        (403, "InvalidAccessKeyId", "AWS_ACCESS_KEY_ID"),
        (403, "RequestTimeTooSkewed", "NTP"),
        (400, "AuthorizationHeaderMalformed", "AWS_REGION"),
        (301, "PermanentRedirect", "AWS_REGION"),
        (404, "NoSuchBucket", "create it"),
        (403, "AccessDenied", "s3:GetObject"),
        (403, "QuotaExceeded", "no space left"),
    ],
)
async def test_check__store_refuses__says_what_to_do(status: int, code: str, said: str) -> None:
    with refusing(status, code) as endpoint:
        env = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_REGION": "us-east-1",
        }
        (check,) = await checks_at("s3://bucket/place", env)
    assert (check.name, check.state) == ("objects: reach", "fail")
    assert said in check.said
