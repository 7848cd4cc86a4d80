"""``/api/v1/snapshots/{sha256}``."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable

from http_world import Answer, check_envelope

Call = Callable[..., Answer]


def test_snapshot__is_kept_once_and_given_back(call: Call) -> None:
    data = secrets.token_bytes(100_000)
    digest = hashlib.sha256(data).hexdigest()
    path = f"/api/v1/snapshots/{digest}"
    assert call("HEAD", path).status == 404
    assert call("PUT", path, data).json == {
        "sha256": digest,
        "size_bytes": 100_000,
        "created": True,
    }
    assert call("PUT", path, data).json["created"] is False
    assert call("GET", path).body == data
    assert call("HEAD", path).headers["content-length"] == "100000"


def test_snapshot__that_is_gone__is_said_so_that_who_wants_its_code_knows_what_to_do(
    call: Call,
) -> None:
    digest = hashlib.sha256(secrets.token_bytes(8)).hexdigest()
    answer = call("GET", f"/api/v1/snapshots/{digest}")
    check_envelope(answer, code="not_found", status=404)
    assert answer.json["message"] == (
        f"The snapshot {digest[:12]}… is not on the server: it was never uploaded, or was removed "
        "from the object store. Submit the folder that it was taken of again."
    )


def test_snapshot__of_other_bytes__is_refused_and_not_there(call: Call) -> None:
    digest = hashlib.sha256(secrets.token_bytes(8)).hexdigest()
    path = f"/api/v1/snapshots/{digest}"
    check_envelope(call("PUT", path, b"other"), code="invalid_value", status=400)
    check_envelope(call("GET", path), code="not_found", status=404)
    for name in ("x", digest.upper(), digest[:-1], "..%2f" + digest):
        answer = call("PUT", f"/api/v1/snapshots/{name}", b"x")
        assert answer.status in (400, 404, 405), answer
