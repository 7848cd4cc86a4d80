"""Buckets and credentials for tests of Google Cloud Storage."""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tests.services._service import Service
from tests.services.gcs import make_bucket

EMAIL = "seafloor@project.iam.gserviceaccount.com"


def endpoint_of(service: Callable[[str], Service]) -> str:
    """Where the shared server is."""
    return service("gcs").env["STORAGE_EMULATOR_HOST"]


def fresh_bucket(endpoint: str) -> str:
    """Make an empty bucket and give its name."""
    name = f"b{uuid.uuid4().hex}"
    make_bucket(endpoint, name)
    return name


@functools.cache
def private_key() -> rsa.RSAPrivateKey:
    """A key, made once in a process; each store reads it anew, for which a long one takes 50 ms."""
    return rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505  # guards nothing


def private_pem() -> str:
    """The key as it stands in a file."""
    return (
        private_key()
        .private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        .decode()
    )


def key_file(folder: Path, *, token_url: str = "", **fields: str) -> Path:
    """Write the key file of a service account.

    Args:
        token_url: Who gives tokens for it.
        fields: Written over the usual ones.
    """
    found = {
        "type": "service_account",
        "project_id": "project",
        "client_email": EMAIL,
        "private_key": private_pem(),
        "private_key_id": "key-1",
        "token_uri": token_url or "http://127.0.0.1:9/token",
        "universe_domain": "googleapis.com",
    } | fields
    path = folder / "key.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found))
    return path
