"""What MLflow keeps, written by hand: changed between two imports, and damaged."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from import_world import files_of, imported, runs_of
from live_server import LiveServer
from seafloor.sdk.client import Client

RUNNING, FINISHED = 1, 3
T0_MS = 1_700_000_000_000


@pytest.fixture
def client(shared_server: LiveServer) -> Iterator[Client]:
    client = Client(shared_server.url)
    yield client
    client.close()


class Folder:
    """An ``mlruns`` folder with one experiment."""

    def __init__(self, root: Path) -> None:
        self.name = f"by hand {uuid.uuid4().hex}"
        self.experiment = root / "mlruns" / "1"
        self.experiment.mkdir(parents=True)
        self.meta(self.experiment, name=self.name, lifecycle_stage="active")

    @property
    def root(self) -> str:
        """What an import is given."""
        return str(self.experiment.parent)

    def meta(self, folder: Path, **fields: Any) -> None:
        """Write the file that says what a folder is; YAML reads JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "meta.yaml").write_text(json.dumps(fields))

    def run(self, name: str, *, status: int = FINISHED) -> Path:
        """Write a run, or what it has become, with a metric and a tag."""
        run_id = uuid.uuid5(uuid.NAMESPACE_OID, self.name + name).hex
        folder = self.experiment / run_id
        self.meta(
            folder,
            run_id=run_id,
            run_name=name,
            status=status,
            start_time=T0_MS,
            artifact_uri=(folder / "artifacts").as_uri(),
        )
        self.text(folder / "metrics" / "loss", f"{T0_MS} 0.5 1\n")
        self.text(folder / "tags" / "kind", "good")
        return folder

    def text(self, path: Path, content: str | bytes) -> None:
        """Write a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def failures(report: dict[str, Any]) -> str:
    """What did not come, and why."""
    return "\n".join(f"{one['name']}: {one['reason']}" for one in report["failures"])


def test_import__of_a_file_that_changed_and_kept_its_size__brings_it_again(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    run = folder.run("grows", status=RUNNING)
    folder.text(run / "artifacts" / "model.bin", "OLD-CONTENT")
    folder.text(run / "artifacts" / "same.bin", "the same")
    assert imported(shared_server, "mlflow", folder.root)["files"] == 2
    folder.run("grows", status=FINISHED)
    folder.text(run / "artifacts" / "model.bin", "NEW-CONTENT")
    report = imported(shared_server, "mlflow", folder.root)
    assert (report["failures"], report["files"]) == ([], 1)
    found = runs_of(client, folder.name)["grows"]
    assert found.state == "succeeded"
    assert files_of(client, found, tmp_path) == {
        "model.bin": b"NEW-CONTENT",
        "same.bin": b"the same",
    }


def test_import__of_a_models_file_that_changed_and_kept_its_size__brings_it_again(
    shared_server: LiveServer, client: Client, tmp_path: Path
) -> None:
    folder = Folder(tmp_path)
    model_id = f"m-{uuid.uuid4().hex}"
    model = folder.experiment / "models" / model_id
    for status, content in ((1, "OLD-CONTENT"), (2, "NEW-CONTENT")):
        folder.meta(
            model,
            model_id=model_id,
            name="cnn",
            status=status,
            creation_timestamp=T0_MS,
            artifact_location=(model / "artifacts").as_uri(),
        )
        folder.text(model / "artifacts" / "weights.bin", content)
        assert imported(shared_server, "mlflow", folder.root)["failures"] == []
    assert client.models.get(model_id).state == "ready"
    client.models.get_file(model_id, "weights.bin", tmp_path / "fetched")
    assert (tmp_path / "fetched").read_text() == "NEW-CONTENT"
