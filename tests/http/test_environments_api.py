"""``/api/v1/environments``."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from tests.services._service import Service

from http_world import Answer, check_envelope
from registry_world import push

Call = Callable[..., Answer]


def test_environment__without_packages__is_locked_versioned_and_deleted(call: Call) -> None:
    name = f"e-{uuid.uuid4().hex[:8]}"
    made = call("POST", "/api/v1/environments", {"spec": {"name": name}})
    assert made.status == 201, made
    assert made.json["reference"] == f"{name}@1"
    again = call("POST", "/api/v1/environments", {"spec": {"name": name}})
    assert again.json["reference"] == f"{name}@1"
    assert call("GET", f"/api/v1/environments/{name}").json == again.json
    assert call("GET", f"/api/v1/environments/{name}@1").json == again.json
    near = check_envelope(
        call("GET", f"/api/v1/environments/{name}x"), code="not_found", status=404
    )
    assert f'Did you mean "{name}"?' in near["message"]
    check_envelope(call("GET", f"/api/v1/environments/{name}@9"), code="not_found", status=404)
    assert call("DELETE", f"/api/v1/environments/{name}").json["versions"] == 1
    check_envelope(call("GET", f"/api/v1/environments/{name}"), code="not_found", status=404)


@pytest.mark.parametrize(
    ("spec", "code", "field"),
    [
        ({}, "invalid_value", "name"),
        ({"name": "A B"}, "invalid_value", "name"),
        ({"name": "x", "pip": ["six"], "pips": []}, "invalid_value", "pips"),
        ({"name": "x", "python": 3.11}, "invalid_value", "python"),
        ({"name": "x", "image": "de bian"}, "invalid_value", "image"),
        ({"name": "x", "project": "nobody"}, "not_found", None),
    ],
)
def test_environment__of_a_bad_spec__is_refused(
    call: Call, spec: dict[str, object], code: str, field: str | None
) -> None:
    answer = call("POST", "/api/v1/environments", {"spec": spec})
    status = {"invalid_value": 400, "not_found": 404}[code]
    error = check_envelope(answer, code=code, status=status)
    if field is not None:
        assert error["field"] == field


@pytest.mark.parametrize("reference", ["x@0", "x@y", "X", "x@" + "9" * 4500, "x@1@2", "%00"])
def test_environment__of_an_odd_reference__is_refused(call: Call, reference: str) -> None:
    for method in ("GET", "DELETE"):
        answer = call(method, f"/api/v1/environments/{reference}")
        check_envelope(answer, code="invalid_value", status=400)


def test_run__in_an_unknown_environment__names_the_nearest(call: Call) -> None:
    name = f"e-{uuid.uuid4().hex[:8]}"
    call("POST", "/api/v1/environments", {"spec": {"name": name}})
    spec = {"name": "x", "command": "true", "environment": name[:-1]}
    error = check_envelope(
        call("POST", "/api/v1/runs", {"spec": spec}), code="not_found", status=404
    )
    assert f'Did you mean "{name}"?' in error["message"]
    check_envelope(call("POST", "/api/v1/plans", {"spec": spec}), code="not_found", status=404)


def test_run__in_an_environment_of_an_image_alone__is_refused_with_the_fix(
    call: Call, service: Callable[[str], Service]
) -> None:
    registry = service("docker_registry").url
    digest = push(registry, "team/torch", "1", b"{}")
    name = f"e-{uuid.uuid4().hex[:8]}"
    image = {"name": name, "image": f"{registry}/team/torch:1", "description": "for whales"}
    made = call("POST", "/api/v1/environments", {"spec": image}).json["environment"]
    assert made["image"] == f"{registry}/team/torch:1@{digest}"
    assert made["description"] == "for whales"
    spec = {"name": "x", "command": "true", "environment": name}
    for route in ("runs", "plans"):
        answer = call("POST", f"/api/v1/{route}", {"spec": spec})
        error = check_envelope(answer, code="not_supported", status=501)
        assert error["field"] == "environment"
        assert f"seafloor env create {name} --pip" in error["message"]
