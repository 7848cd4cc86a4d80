"""``If-Match`` and ``If-None-Match`` where files are read, deleted, or shown through a model."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from http_world import Answer, check_envelope
from live_server import LiveServer
from seafloor.domain.artifacts import ANY, NONE_THERE, FileCondition
from seafloor.domain.errors import NotFound, PreconditionFailed
from seafloor.sdk.client import Client

Call = Callable[..., Answer]


def etag_of(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()}"'


def _native(run_id: str, path: str) -> str:
    return f"/api/v1/runs/{run_id}/artifacts/{path}"


def _by_mlflow(run_id: str, path: str) -> str:
    return f"/api/2.0/mlflow-artifacts/artifacts/0/{run_id}/artifacts/{path}"


@pytest.mark.parametrize("route", [_native, _by_mlflow])
def test_delete__with_a_condition_that_does_not_hold__deletes_nothing(
    call: Call, run_id: str, route: Callable[[str, str], str]
) -> None:
    old = etag_of(b"old")
    for path in ("a", "folder/a"):
        call("PUT", _native(run_id, path), b"old")
    for asked in (
        {"If_Match": etag_of(b"other")},
        {"If_Match": f"W/{old}"},
        {"If_None_Match": "*"},
        {"If_None_Match": f"W/{old}"},
    ):
        refused = call("DELETE", route(run_id, "a"), **asked)
        assert refused.status == 412, asked
        assert call("GET", _native(run_id, "a")).body == b"old"
    assert call("DELETE", route(run_id, "folder"), If_Match="*").status == 412  # no file
    assert call("GET", _native(run_id, "folder/a")).body == b"old"
    assert call("DELETE", route(run_id, "a"), If_Match=f'"other", {old}').status == 200
    assert call("GET", _native(run_id, "a")).status == 404
    assert call("DELETE", route(run_id, "folder/a"), If_Match="*").status == 200
    assert call("DELETE", _native(run_id, "a"), If_Match="*").status == 404


@pytest.mark.parametrize("route", [_native, _by_mlflow])
def test_get__in_parts_of_what_was_replaced__is_refused(
    call: Call, run_id: str, route: Callable[[str, str], str]
) -> None:
    old, place = etag_of(b"old bytes"), route(run_id, "a")
    call("PUT", _native(run_id, "a"), b"old bytes")
    assert call("GET", place, If_Match=old, Range="bytes=0-2").body == b"old"
    assert call("GET", place, If_Match=f'"other", {old}').body == b"old bytes"
    call("PUT", _native(run_id, "a"), b"new bytes")
    refused = call("GET", place, If_Match=old, Range="bytes=3-")
    assert refused.status == 412
    assert etag_of(b"new bytes")[1:-1] in refused.body.decode()
    assert call("GET", place, If_Match=f"W/{etag_of(b'new bytes')}").status == 412
    assert call("GET", place, If_Match="*").body == b"new bytes"


def test_head__asked_for_another__is_refused_and_else_says_that_ranges_work(
    call: Call, run_id: str
) -> None:
    call("PUT", _native(run_id, "a"), b"there")
    assert call("HEAD", _native(run_id, "a"), If_Match='"other"').status == 412
    assert call("HEAD", _native(run_id, "a")).headers["accept-ranges"] == "bytes"


def test_put__where_a_model_shows_a_file__is_compared_with_that_file(
    call: Call, run_id: str
) -> None:
    body = {"experiment_id": "0", "name": "model", "source_run_id": run_id}
    made = call("POST", "/api/2.0/mlflow/logged-models", body).json["model"]["info"]
    of_model = f"/api/2.0/mlflow-artifacts/artifacts/0/models/{made['model_id']}/artifacts/weights"
    assert call("PUT", of_model, b"trained").status == 200
    place, trained = _native(run_id, "model/weights"), etag_of(b"trained")
    assert call("GET", place).body == b"trained"
    for asked in (
        {"If_None_Match": "*"},
        {"If_None_Match": trained},
        {"If_Match": etag_of(b"other")},
    ):
        refused = call("PUT", place, b"mine", **asked)
        check_envelope(refused, code="precondition_failed", status=412)
        assert call("GET", place).body == b"trained"
    assert call("PUT", _native(run_id, "model/new"), b"new", If_None_Match="*").status == 200
    assert call("PUT", place, b"mine", If_Match=trained).status == 200
    assert call("PUT", place, b"again", If_Match=trained).status == 412  # the run's own by now
    assert call("GET", place).body == b"mine"
    assert call("GET", of_model).body == b"trained"


def test_sdk__with_a_condition__puts_and_deletes_only_if_it_holds(
    shared_server: LiveServer, run_id: str, tmp_path: Path
) -> None:
    artifacts = Client(shared_server.url).artifacts
    source = tmp_path / "source"

    def put(data: bytes, only_if: FileCondition) -> str:
        source.write_bytes(data)
        return artifacts.put(run_id, "a", source, only_if=only_if).sha256

    with pytest.raises(PreconditionFailed):
        put(b"1", FileCondition(any_of=frozenset({ANY})))
    first = put(b"1", NONE_THERE)
    in_place_of_first = FileCondition(any_of=frozenset({first, "0" * 64}))
    with pytest.raises(PreconditionFailed):
        put(b"2", NONE_THERE)
    put(b"2", in_place_of_first)
    with pytest.raises(PreconditionFailed):
        put(b"3", in_place_of_first)
    with pytest.raises(PreconditionFailed):
        artifacts.delete(run_id, "a", only_if=in_place_of_first)
    target = tmp_path / "target"
    artifacts.get(run_id, "a", target)
    assert target.read_bytes() == b"2"
    assert artifacts.delete(run_id, "a", only_if=FileCondition(any_of=frozenset({ANY}))).files == 1
    with pytest.raises(NotFound):
        artifacts.delete(run_id, "a", only_if=in_place_of_first)
