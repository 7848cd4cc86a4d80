"""``/api/v1/projects`` and ``/api/v1/experiments``."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from http_world import Answer, check_envelope

Call = Callable[..., Answer]


def test_project__is_created_once(call: Call) -> None:
    name = f"p-{uuid.uuid4().hex}"
    assert call("POST", "/api/v1/projects", {"name": name}).status == 201
    check_envelope(
        call("POST", "/api/v1/projects", {"name": name}), code="already_exists", status=409
    )
    names = [project["name"] for project in call("GET", "/api/v1/projects").json["items"]]
    assert "default" in names
    assert name in names
    error = check_envelope(
        call("POST", "/api/v1/projects", {"name": "Team A"}), code="invalid_value", status=400
    )
    assert '"team-a" would do' in error["message"]
    run = call("POST", "/api/v1/runs", {"project": name, "experiment": "x"}).json
    assert run["project"] == name
    check_envelope(
        call("POST", "/api/v1/runs", {"project": name + "x", "experiment": "x"}),
        code="not_found",
        status=404,
    )


def test_experiment__of_its_life__is_created_changed_deleted_restored(call: Call) -> None:
    name = f"größe {uuid.uuid4().hex}"
    made = call("POST", "/api/v1/experiments", {"name": name, "tags": {"a": "1"}})
    assert made.status == 201
    path = f"/api/v1/experiments/{made.json['id']}"
    assert call("GET", path).json == made.json
    check_envelope(
        call("POST", "/api/v1/experiments", {"name": name}), code="already_exists", status=409
    )
    changed = call("PATCH", path, {"name": name + "!", "tags": {"b": "2"}, "delete_tags": ["a"]})
    assert (changed.json["name"], changed.json["tags"]) == (name + "!", {"b": "2"})
    run = call("POST", "/api/v1/runs", {"experiment": name + "!"}).json
    assert run["experiment"] == {"id": made.json["id"], "name": name + "!"}
    assert call("DELETE", path).json["deleted_ns"] is not None
    assert call("GET", f"/api/v1/runs/{run['id']}").json["deleted_ns"] is not None
    check_envelope(call("PATCH", path, {"name": "x"}), code="conflict", status=409)
    check_envelope(
        call("POST", "/api/v1/runs", {"experiment": name + "!"}), code="conflict", status=409
    )
    listed = call("GET", "/api/v1/experiments?deleted=deleted").json["items"]
    assert made.json["id"] in [one["id"] for one in listed]
    assert call("POST", f"{path}/restore").json["deleted_ns"] is None
    assert call("GET", f"/api/v1/runs/{run['id']}").json["deleted_ns"] is None


def test_experiment__refused_for_one_part__stays_as_it_was(call: Call) -> None:
    made = call("POST", "/api/v1/experiments", {"name": uuid.uuid4().hex}).json
    path = f"/api/v1/experiments/{made['id']}"
    for bad, status in (
        ({"tags": {"//": "x"}}, 400),
        ({"delete_tags": ["none"]}, 409),
        ({"spec": {"name": "x"}}, 400),
        ({"name": "Default", "tags": {"a": "1"}}, 409),
    ):
        answer = call("PATCH", path, {"name": uuid.uuid4().hex, **bad})
        assert answer.status == status, answer
        assert call("GET", path).json == made


def test_experiment__with_a_spec__keeps_it(call: Call) -> None:
    spec = {"name": "x", "command": "python train.py"}
    made = call("POST", "/api/v1/experiments", {"name": uuid.uuid4().hex, "spec": spec}).json
    assert made["spec"] == spec
    bad = {"name": uuid.uuid4().hex, "spec": {"name": "x", "command": "y", "env": {"A": 1}}}
    error = check_envelope(
        call("POST", "/api/v1/experiments", bad), code="invalid_value", status=400
    )
    assert error["field"] == "env.A"


def test_experiment__default__cannot_be_deleted(call: Call) -> None:
    assert call("GET", "/api/v1/experiments/0").json["name"] == "Default"
    check_envelope(call("DELETE", "/api/v1/experiments/0"), code="conflict", status=409)


def test_experiment__of_an_odd_number__is_not_found_or_refused(call: Call) -> None:
    for number in ("99999999", str(2**63 - 1)):
        check_envelope(call("GET", f"/api/v1/experiments/{number}"), code="not_found", status=404)
    for number in (str(2**63), "9" * 30, "-1"):
        answer = call("GET", f"/api/v1/experiments/{number}")
        check_envelope(answer, code="invalid_value", status=400)
    for number in ("x", "1.5", "9" * 5000):
        check_envelope(call("GET", f"/api/v1/experiments/{number}"), code="not_found", status=404)
