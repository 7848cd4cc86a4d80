"""How obstore's client behaves, for every cloud."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from seafloor.domain.errors import InvalidValue

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CONNECT_TIMEOUT_S = 5.0
SILENCE_TIMEOUT_S = 60.0
"""How long an answer, or its next bytes, may take to come; a part has to go up within it."""

# Of a whole request. A reader may take its time, so only silence is bounded tightly.
_REQUEST_TIMEOUT = timedelta(hours=24)

NO_RETRIES: RetryConfig = {"max_retries": 0}
"""Repeating is the work of ``RetryObjectStore``: two layers of it would multiply."""

PART_TRIES_MAX = 4
"""The exception: a part of a large put, whose stream nobody could begin again."""

PART_RETRIES: RetryConfig = {
    "max_retries": PART_TRIES_MAX - 1,
    "retry_timeout": timedelta(seconds=60),
    "backoff": {
        "init_backoff": timedelta(milliseconds=100),
        "max_backoff": timedelta(seconds=2),
        "base": 2,
    },
}


def client_options(endpoint: str) -> ClientConfig:
    """Give the options for an endpoint (empty: the cloud's own, which is https)."""
    return {
        "allow_http": endpoint.startswith("http://"),
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
        "read_timeout": timedelta(seconds=SILENCE_TIMEOUT_S),
        "timeout": _REQUEST_TIMEOUT,
        "user_agent": "seafloor",
    }


def check_endpoint(endpoint: str, variable: str) -> None:
    """Check an endpoint that a variable gives; empty is fine.

    Raises:
        InvalidValue: it is no http(s) URL, or holds credentials.
    """
    if not endpoint:
        return
    parts = urlsplit(endpoint)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
        raise InvalidValue(
            f"{variable} is no endpoint: give http(s)://host[:port], without credentials.",
            field="stores.objects",
        )
