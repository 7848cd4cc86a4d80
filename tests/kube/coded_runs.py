"""Runs whose code comes from a repository, a bucket and a server, as ``seafloor render`` has them.

The servers are real and listen on loopback; what runs in containers reaches them by another address
of this machine. What such a run prints is all that it sees of its code.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
import pytest
import yaml
from obstore.store import S3Store
from tests.services._forward import forwarded
from tests.services._service import Service

from archive_world import sha256_of
from client_process import Client
from git_world import GitServer, Repository, copy_as_served
from live_server import LiveServer

SOURCES: Final = ("git", "archive", "snapshot")
EXIT_CODE: Final = 3
FILES: Final[Mapping[str, bytes]] = {
    "train.py": b"print('trained')\n",
    "data/größe.bin": bytes(range(256)) * 300,
    "empty": b"",
    "deep/er/still/x.txt": b"x\n",
}
GIVEN: Final = "$(HOME) costs $5"
SECRET_VALUE: Final = "a secret's value: ✓ 'quoted' $HOME"

_LOOK: Final = f"""
import hashlib, json, os, pathlib, sys
code = pathlib.Path(os.environ["SEAFLOOR_CODE_DIR"])
receipt = json.loads((code / ".receipt.json").read_text())
folder = code / receipt["folder"]
files = {{}}
for path in folder.rglob("*"):
    if path.is_file() and ".git" not in path.relative_to(folder).parts:
        name = str(path.relative_to(folder))
        files[name] = hashlib.sha256(path.read_bytes()).hexdigest()
sys.stdout.reconfigure(encoding="utf-8")
print(json.dumps({{
    "files": files, "receipt": receipt, "cwd": os.getcwd(), "user": os.getuid(),
    "secret": os.environ.get("THE_SECRET"), "given": os.environ.get("GIVEN"),
}}))
sys.exit({EXIT_CODE})
"""


class CodedRuns:
    """The servers, and the manifests of a run for each source of code.

    Args:
        folder: Of the tests' own.
        host: Address by which containers reach this machine.
        image: Of the runs: Python.
        seafloor: Image of Seafloor.
        bucket: The S3 service.
        stack: What is to be closed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        host: str,
        image: str,
        seafloor: str,
        bucket: Service,
        stack: ExitStack,
    ) -> None:
        self.image, self.seafloor = image, seafloor
        self.secret_name = f"bucket-reader-{uuid.uuid4().hex[:10]}"
        self.folder = folder
        self._work = folder / "work"
        for name, content in FILES.items():
            path = self._work / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        repository = Repository.create(folder / "mine")
        self.commit = repository.commit(dict(FILES))
        copy_as_served(repository, folder / "served", "training")

        def reach(url: str) -> str:
            """Where containers find what listens on loopback."""
            parts = urlsplit(url)
            if parts.hostname == host:
                return url
            port = parts.port
            assert port is not None
            return f"http://{stack.enter_context(forwarded((host, 0), port))}"

        git = stack.enter_context(GitServer(folder / "served"))
        self.git = f"{reach(git.url)}/training"
        token = uuid.uuid4().hex
        self.server = LiveServer(folder / "data", env={"SEAFLOOR_SERVER__TOKEN": token}).start()
        stack.callback(self.server.stop)
        self.server_url = reach(self.server.url)
        self._client, self._token = Client(folder / "home", self.server.url), token
        endpoint = reach(bucket.env["AWS_ENDPOINT_URL"])
        self.bucket = {**bucket.env, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}
        archive = _tar()
        self.sha256 = sha256_of(archive)
        self.archive = f"{bucket.url}/{uuid.uuid4().hex}/digits.tar"
        self._upload(bucket, archive)

    def _upload(self, bucket: Service, archive: bytes) -> None:
        parts = urlsplit(self.archive)
        store = S3Store(
            parts.netloc,
            endpoint=bucket.env["AWS_ENDPOINT_URL"],
            access_key_id=bucket.env["AWS_ACCESS_KEY_ID"],
            secret_access_key=bucket.env["AWS_SECRET_ACCESS_KEY"],
            region=bucket.env["AWS_REGION"],
            client_options={"allow_http": True},
        )
        obstore.put(store, parts.path.lstrip("/"), archive)

    def secret(self) -> dict[str, Any]:
        """The Secret that the manifests name."""
        values = {**self.bucket, "value": SECRET_VALUE, "token": self._token}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.secret_name},
            "data": {name: _base64(value) for name, value in values.items()},
        }

    def code(self, source: str) -> dict[str, Any]:
        """What a spec says of the code."""
        return {
            "git": {"sync_mode": "git", "url": self.git, "ref": "main"},
            "archive": {
                "sync_mode": "s3",
                "url": self.archive,
                "sha256": self.sha256,
                "strip_components": 1,
            },
            "snapshot": {"sync_mode": "local", "path": str(self._work)},
        }[source]

    def run(self, source: str) -> dict[str, Any]:
        """The spec of a run that prints what it sees, and ends with ``EXIT_CODE``."""
        return {
            "experiment": {
                "name": "digits",
                "environment": "python",
                "code": self.code(source),
                "command": ["python3", "-c", _LOOK.strip()],
                "env": {"GIVEN": GIVEN},
                "secrets": {"THE_SECRET": f"{self.secret_name}/value"},
            }
        }

    def render(self, spec: Mapping[str, Any], *options: str, **policy: Any) -> list[dict[str, Any]]:
        """The manifests of a spec."""
        rules: dict[str, Any] = {
            "images": {"seafloor": self.seafloor, "pull_policy": "Never"},
            "environments": {"python": {"image": self.image}},
            "git": {"localizer": "seafloor"},
            "archives": {"secret": self.secret_name},
            "resources": {
                "default": {"cpu": "50m", "memory": "256Mi"},
                "init": {"cpu": "50m", "memory": "512Mi"},
            },
            "server": {"url": self.server_url, "token": f"{self.secret_name}/token"},
            **policy,
        }
        files = {"spec": spec, "policy": rules}
        for name, content in files.items():
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
        done = self._client.cli(
            *("render", "--file", "spec.yaml", "--policy", "policy.yaml", *options),
            cwd=self.folder,
            SEAFLOOR_TOKEN=self._token,
        )
        assert done.returncode == 0, done.stderr
        assert SECRET_VALUE not in done.stdout
        assert self._token not in done.stdout
        return list(yaml.safe_load_all(done.stdout))

    def check(self, source: str, printed: str, *, user: int) -> dict[str, Any]:
        """Compare what a run saw with what there is; give the rest of it."""
        seen = json.loads(printed)
        assert seen["files"] == {
            name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()
        }
        assert seen["secret"] == SECRET_VALUE
        assert seen["user"] == user
        receipt = seen["receipt"]
        assert seen["cwd"].startswith("/code")
        if source == "git":
            assert receipt["commit"] == self.commit
        if source == "archive":
            assert receipt["sha256"] == self.sha256
        return seen


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as made:
        for name, content in FILES.items():
            entry = tarfile.TarInfo(f"top/{name}")
            entry.size = len(content)
            made.addfile(entry, io.BytesIO(content))
    return stream.getvalue()


@contextmanager
def coded_runs(
    folder: Path,
    *,
    host: str,
    image: str,
    seafloor: str,
    service: Callable[[str], Service],
) -> Iterator[CodedRuns]:
    """Start the servers."""
    identity = {
        f"GIT_{who}_{what}": value
        for who in ("AUTHOR", "COMMITTER")
        for what, value in (("NAME", "Test"), ("EMAIL", "test@example.com"))
    }
    with ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in identity.items():
            patch.setenv(name, value)
        yield CodedRuns(
            folder,
            host=host,
            image=image,
            seafloor=seafloor,
            bucket=service("s3"),
            stack=stack,
        )
