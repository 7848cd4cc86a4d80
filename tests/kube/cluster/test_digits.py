"""The example on a real node, started by a server: code from each source, packages that it built.

Pods reach no index of packages: what the server built and stored is what they fetch. Their user is
one that no image knows, and their root file system cannot be written to.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml
from tests.kube.cluster.conftest import Namespace
from tests.kube.cluster.launched_world import Launching, said, wait_state
from tests.kube.restricted import violations
from tests.services._forward import forwarded
from tests.services._service import Service
from tests.services.kubernetes import GATEWAY

from client_process import Client
from git_world import GitServer, Repository, copy_as_served
from live_server import LiveServer
from seafloor.stores.objects.open import open_objects

pytestmark = pytest.mark.timeout(1200)

EXAMPLE = Path(__file__).parents[3] / "examples" / "digits"
FILES = ("requirements.txt", "train.py")
EPOCHS = 2


class Sources:
    """The example as a repository, as an archive in a bucket, and as a working folder.

    Args:
        folder: Of the test's own.
        host: Address by which pods reach this machine.
        bucket: The S3 service.
        stack: What is to be closed.
    """

    def __init__(self, folder: Path, host: str, bucket: Service, stack: ExitStack) -> None:
        self._host, self._stack = host, stack
        self.work = folder / "digits"
        repository = Repository.create(self.work)
        self.commit = repository.commit({name: (EXAMPLE / name).read_bytes() for name in FILES})
        copy_as_served(repository, folder / "served", "digits")
        self.git = f"{self._reach(stack.enter_context(GitServer(folder / 'served')).url)}/digits"
        content = subprocess.run(
            ["git", "-C", str(self.work), "archive", "--format=tar", "--prefix=top/", "HEAD"],
            check=True,
            capture_output=True,
        ).stdout
        self.sha256 = hashlib.sha256(content).hexdigest()
        name = f"{uuid.uuid4().hex}/digits.tar"
        self.archive = f"{bucket.url}/{name}"
        asyncio.run(_put(bucket, name, content))
        self.variables = {
            **bucket.env,
            "AWS_ENDPOINT_URL": self._reach(bucket.env["AWS_ENDPOINT_URL"]),
            "AWS_ALLOW_HTTP": "true",
        }

    def _reach(self, url: str) -> str:
        """Where pods find what listens on loopback."""
        parts = urlsplit(url)
        if parts.hostname == self._host:
            return url
        assert parts.port is not None
        address = (self._host, 0)
        return f"http://{self._stack.enter_context(forwarded(address, parts.port))}"

    def code(self) -> dict[str, dict[str, object]]:
        """What specs say of it."""
        return {
            "git": {"sync_mode": "git", "url": self.git, "ref": "main"},
            "archive": {
                "sync_mode": "s3",
                "url": self.archive,
                "sha256": self.sha256,
                "strip_components": 1,
            },
            "snapshot": {"sync_mode": "local", "path": str(self.work)},
        }


async def _put(store: Service, name: str, content: bytes) -> None:
    objects = open_objects(store.url, store.env)
    await objects.put(name, content)
    await objects.close()


@pytest.fixture
def sources(
    cluster: Service,
    service: Callable[[str], Service],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Sources]:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
    with ExitStack() as stack:
        yield Sources(tmp_path / "sources", cluster.env[GATEWAY], service("s3"), stack)


def test_digits__code_from_each_source__leave_everything(
    launching: Launching, namespace: Namespace, sources: Sources, user: int, tmp_path: Path
) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bucket"}}
    namespace.create({**secret, "stringData": sources.variables})
    server = launching.start(
        agent=True,
        policy={
            "git": {"localizer": "seafloor"},
            "archives": {"secret": "bucket"},
            "security": {"run_as_user": user, "fs_group": user, "read_only_root": True},
            "limits": {"clean_up_after": "1h"},
            "resources": {
                "default": {"cpu": "500m", "memory": "1Gi"},
                "init": {"cpu": "500m", "memory": "512Mi"},
            },
        },
        env=sources.variables,
    )
    person = Client(tmp_path / "home", server.url)

    def ask(*words: str) -> str:
        done = person.cli("--json", *words, SEAFLOOR_TOKEN=server.token)
        assert done.returncode == 0, done
        return done.stdout

    ask("env", "create", "digits", "-r", str(EXAMPLE / "requirements.txt"))

    runs: dict[str, str] = {}
    for source, code in sources.code().items():
        spec = {
            "name": "digits",
            "environment": "digits",
            "code": code,
            "command": f"python /code/digits/train.py --epochs {EPOCHS}",
            "env": {"OMP_NUM_THREADS": "1", "MPLCONFIGDIR": "/tmp/matplotlib"},
        }
        file = tmp_path / f"{source}.yaml"
        file.write_text(yaml.safe_dump({"experiment": spec}))
        runs[source] = json.loads(ask("run", "--detach", "-f", str(file)))["id"]

    for source, run_id in runs.items():
        ended = wait_state(server, run_id, "succeeded")
        assert ended["ending"]["exit_code"] == 0
        check_products(server, run_id)
        (attempt,) = server.get(f"/api/v1/runs/{run_id}/attempts")["items"]
        (receipt,) = attempt["receipts"].values()
        if source == "git":
            assert receipt["commit"] == sources.commit
        elif source == "archive":
            assert receipt["sha256"] == sources.sha256
        assert receipt["files"] == len(FILES), receipt
    pods = namespace.pods()
    assert len(pods) == len(runs)
    for pod in pods:
        assert violations(pod["spec"]) == []
        assert pod["spec"]["securityContext"]["runAsUser"] == user
        names = {one["name"] for one in pod["spec"]["initContainers"]}
        assert {"agent", "kernel-fetch"} < names


def check_products(server: LiveServer, run_id: str) -> None:
    """Log, metrics of mlflow, tf.events and outputs of a run have come."""
    lines = [line["text"] for line in server.log_lines(run_id)]
    epochs = [line.split(":")[0] for line in lines if ": train loss" in line]
    assert epochs == [f"epoch {number:2}" for number in range(1, EPOCHS + 1)], lines
    found = server.get(f"/api/v1/runs/{run_id}/metrics")["items"]
    points = {key: metric["points"] for key, metric in found.items()}
    assert points == {
        "train/loss": 45 * EPOCHS,
        "tb/loss": 45 * EPOCHS,
        "tb/accuracy": EPOCHS,
        "val/loss": EPOCHS,
        "val/accuracy": EPOCHS,
        "epoch": EPOCHS,
    }
    files = server.get(f"/api/v1/runs/{run_id}/artifacts?recursive=true&limit=1000")["items"]
    assert {"report.json", "weights.npz", "plots/confusion.png"} <= {one["path"] for one in files}
    assert "Started." in said(server, run_id)
