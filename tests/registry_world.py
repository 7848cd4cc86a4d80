"""Images in a registry."""

from __future__ import annotations

import hashlib
import json
from functools import partial

import httpx

from live_server import PATIENCE_S

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def push(registry: str, repository: str, tag: str, content: bytes) -> str:
    """Put the smallest image there is into a registry; its digest."""
    base = f"http://{registry}/v2/{repository}"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    upload = httpx.post(f"{base}/blobs/uploads/", timeout=PATIENCE_S).headers["Location"]
    joint = "&" if "?" in upload else "?"
    put = partial(httpx.put, timeout=PATIENCE_S)
    put(f"{upload}{joint}digest={digest}", content=content).raise_for_status()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": digest,
            "size": len(content),
        },
        "layers": [],
    }
    done = put(
        f"{base}/manifests/{tag}",
        content=json.dumps(manifest).encode(),
        headers={"Content-Type": MANIFEST},
    )
    done.raise_for_status()
    return done.headers["Docker-Content-Digest"]
