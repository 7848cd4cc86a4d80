"""A server whose database or bucket goes away says 503 and when to come back, never 500."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import urllib3
from sqlalchemy.engine import make_url
from tests.databases import fresh_database
from tests.services._service import Service

from live_server import LiveServer, wait_for
from seafloor.testing.fault_proxy import FaultProxy

CONTENT = b"content " * 1000
HTTP = urllib3.PoolManager(retries=False, timeout=60.0)


@dataclass
class Place:
    """A server with a proxy before each of its stores."""

    server: LiveServer
    database: FaultProxy
    objects: FaultProxy
    run_id: str = ""

    def ask(self, method: str, path: str, body: Any = None) -> urllib3.BaseHTTPResponse:
        """Make a request."""
        url = self.server.url + path
        if isinstance(body, dict):
            return HTTP.request(method, url, json=body)
        return HTTP.request(method, url, body=body)

    @property
    def run(self) -> str:
        """The path of its run."""
        return f"/api/v1/runs/{self.run_id}"


@pytest.fixture(params=["postgresql", "mariadb"])
def place(
    request: pytest.FixtureRequest, service: Callable[[str], Service], tmp_path: Path
) -> Iterator[Place]:
    """A server on a database and a bucket, with a run that has a file."""
    bucket = service("s3")
    with ExitStack() as stack:
        url = make_url(stack.enter_context(fresh_database(service(request.param))))
        database = stack.enter_context(FaultProxy(url.port or 0))
        endpoint = urlsplit(bucket.env["AWS_ENDPOINT_URL"])
        objects = stack.enter_context(FaultProxy(endpoint.port or 0))
        env = {**bucket.env, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{objects.port}"}
        server = LiveServer(tmp_path / "data", env=env)
        stack.callback(server.stop)
        behind = url.set(host="127.0.0.1", port=database.port)
        server.start(
            "--metadata",
            behind.render_as_string(hide_password=False),
            "--objects",
            f"{bucket.url}/{uuid.uuid4().hex}",
        )
        made = Place(server, database, objects)
        made.run_id = server.post("/api/v1/runs", {"experiment": "away"})["id"]
        assert made.ask("PUT", f"{made.run}/artifacts/there.bin", CONTENT).status in (200, 201)
        yield made
        database.come_up()
        objects.come_up()


def assert_says_when_to_come_back(answer: urllib3.BaseHTTPResponse) -> None:
    """503 with a time, and words that are the user's."""
    assert answer.status == 503, (answer.status, answer.data)
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.data
    assert b"Traceback" not in answer.data


def test_database__goes_away__every_request_is_told_and_works_again_after(place: Place) -> None:
    points = {"points": [["loss", 0.5, 1, 1_700_000_000_000]]}
    requests: list[tuple[str, str, Any]] = [
        ("GET", "/api/v1/runs", None),
        ("GET", place.run, None),
        ("POST", "/api/v1/runs", {"experiment": "away"}),
        ("POST", f"{place.run}/metrics", points),
        ("GET", f"{place.run}/metrics", None),
        ("PUT", f"{place.run}/artifacts/new.bin", CONTENT),
        ("GET", f"{place.run}/artifacts/there.bin", None),
        ("POST", "/api/2.0/mlflow/runs/search", {"experiment_ids": ["0"]}),
        ("GET", "/api/2.0/mlflow/experiments/get?experiment_id=0", None),
    ]
    place.database.go_down()
    for request in requests:
        assert_says_when_to_come_back(place.ask(*request))
    place.database.come_up()
    wait_for(lambda: place.ask("GET", place.run).status == 200, what="the database")
    for method, path, body in requests:
        answer = place.ask(method, path, body)
        assert answer.status in (200, 201), (method, path, answer.status, answer.data)
    series = place.server.get(f"{place.run}/metrics/series?key=loss")
    assert [point[2] for point in series["points"]] == [0.5]


def test_bucket__goes_away__files_are_told_of_and_the_rest_goes_on(place: Place) -> None:
    place.objects.go_down()
    for method, path, body in (
        ("PUT", f"{place.run}/artifacts/new.bin", CONTENT),
        ("GET", f"{place.run}/artifacts/there.bin", None),
    ):
        assert_says_when_to_come_back(place.ask(method, path, body))
    assert place.ask("GET", place.run).status == 200
    assert place.ask("GET", f"{place.run}/artifacts").status == 200
    place.objects.come_up()
    assert place.ask("PUT", f"{place.run}/artifacts/new.bin", CONTENT).status in (200, 201)
    for name in ("there.bin", "new.bin"):
        answer = place.ask("GET", f"{place.run}/artifacts/{name}")
        assert hashlib.sha256(answer.data).digest() == hashlib.sha256(CONTENT).digest(), name
