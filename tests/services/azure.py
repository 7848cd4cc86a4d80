"""Azure Blob Storage: Azurite. It has the Blob API and none of the Data Lake one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

from tests.services._service import Missing, Service, accepts, daemon, free_port, made_once

VERSION = "3.37.0"
ACCOUNT, CONTAINER = "devstoreaccount1", "tests"
# The emulator's, known to everybody.
ACCOUNT_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
API_VERSION = "2023-11-03"
# Azurite closes a connection that was idle for 5 s, even while a request is on its way, and no
# client can know whether that took effect. Its option for the time has no effect (3.37).
KEEP_ALIVE = """
const http = require("http"), create = http.createServer;
const time = { get: () => 600_000, set: () => {} };
http.createServer = (...given) => Object.defineProperty(create(...given), "keepAliveTimeout", time);
"""


@contextmanager
def service() -> Iterator[Service]:
    """Serve one container, which exists."""
    program = _program()
    with tempfile.TemporaryDirectory(prefix="seafloor-azure-") as name:
        folder = Path(name)
        port = free_port()
        patience = folder / "patience.js"
        patience.write_text(KEEP_ALIVE)
        command = [
            *("node", "--require", str(patience)),
            *(str(program), "--blobHost", "127.0.0.1", "--blobPort", str(port)),
            *("--location", str(folder / "data"), "--silent", "--skipApiVersionCheck"),
            "--disableTelemetry",
        ]
        with daemon(command, folder / "log") as server:
            server.wait_until(lambda: accepts(port))
            endpoint = f"http://127.0.0.1:{port}/{ACCOUNT}"
            make_container(endpoint, CONTAINER)
            yield Service(
                name=f"Azurite {VERSION} (Azure Blob)",
                url=f"az://{CONTAINER}",
                env={
                    "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                    "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
                    "AZURE_STORAGE_ENDPOINT": endpoint,
                },
                note=f"also abfs://{CONTAINER}@{ACCOUNT}.dfs.core.windows.net",
            )


def make_container(endpoint: str, name: str) -> None:
    """Make a container; no client of ours can."""
    date = formatdate(usegmt=True)
    headers = f"x-ms-date:{date}\nx-ms-version:{API_VERSION}\n"
    # The account stands twice: as the owner of the resource and as the path's first part.
    resource = f"/{ACCOUNT}/{ACCOUNT}/{name}\nrestype:container"
    to_sign = "PUT" + "\n" * 12 + headers + resource
    signature = hmac.digest(base64.b64decode(ACCOUNT_KEY), to_sign.encode(), hashlib.sha256)
    request = urllib.request.Request(
        f"{endpoint}/{name}?restype=container",
        method="PUT",
        headers={
            "x-ms-date": date,
            "x-ms-version": API_VERSION,
            "Content-Length": "0",
            "Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}",
        },
    )
    with urllib.request.urlopen(request, timeout=30):
        pass


def _program() -> Path:
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise Missing("install nodejs and npm")
    return made_once(f"azurite-{VERSION}", _install) / "node_modules/azurite/dist/src/blob/main.js"


def _install(folder: Path) -> None:
    command = ["npm", "install", "--no-audit", "--no-fund", f"azurite@{VERSION}"]
    ended = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise Missing(f"npm cannot install azurite@{VERSION}: {ended.stderr[-500:]}")
