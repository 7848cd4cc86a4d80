"""Requests to S3 that no client of ours makes: to look from outside."""

from __future__ import annotations

import hashlib
import hmac
import re
import urllib.request
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

from tests.services._service import Service


def unfinished_uploads(service: Service, *, below: str) -> list[str]:
    """Keys of multipart uploads that are neither complete nor given up."""
    bucket = urlsplit(service.url).netloc
    answer = _get(service, f"/{bucket}", {"max-uploads": "1000", "uploads": ""})
    return sorted(key for key in re.findall(r"<Key>(.*?)</Key>", answer) if key.startswith(below))


def _get(service: Service, path: str, query: dict[str, str]) -> str:
    """Send a signed request (Signature Version 4) and give its answer."""
    env = service.env
    host = urlsplit(env["AWS_ENDPOINT_URL"]).netloc
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    empty = hashlib.sha256(b"").hexdigest()
    asked = "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(query.items()))
    names = "host;x-amz-content-sha256;x-amz-date"
    headers = f"host:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{now}\n"
    request = "\n".join(["GET", path, asked, headers, names, empty])
    scope = f"{now[:8]}/{env['AWS_REGION']}/s3/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, digest])
    key = b"AWS4" + env["AWS_SECRET_ACCESS_KEY"].encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, to_sign.encode(), "sha256").hex()
    credential = f"{env['AWS_ACCESS_KEY_ID']}/{scope}"
    with urllib.request.urlopen(
        urllib.request.Request(
            f"http://{host}{path}?{asked}",
            headers={
                "x-amz-date": now,
                "x-amz-content-sha256": empty,
                "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, "
                f"SignedHeaders={names}, Signature={signature}",
            },
        ),
        timeout=120,
    ) as answer:
        return answer.read().decode()
