"""Runs with something of every kind, for exports, and ``seafloor`` as a user runs it."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import msgspec

from event_file import event_file
from live_server import LiveServer
from seafloor.domain.media import Blob, Image, MediaRecord, Text
from seafloor.domain.metrics import STEP_MAX
from seafloor.domain.models import DatasetInput
from seafloor.domain.span_documents import pair as attribute
from seafloor.domain.traces import Assessment, AssessmentKind, Trace, TraceState
from seafloor.sdk.client import Client
from seafloor.wire.metric_batches import BatchIn
from seafloor.wire.models import LoggedModelPut, ModelUse, RunInputs
from seafloor.wire.runs import RunCreate, RunUpdate
from seafloor.wire.traces import TracePut

T0_NS = 1_700_000_000_123_456_789
EVENTS = event_file([(0, "scalar", 0.5), (1, "scalar", math.nan)])
PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)


def command(server: LiveServer, *arguments: str) -> tuple[list[str], dict[str, str]]:
    made = [sys.executable, "-m", "seafloor.cli", *arguments, "--url", server.url]
    return made, {**server.environment, "SEAFLOOR_HOME": str(server.data / "home")}


def seafloor(server: LiveServer, *arguments: str) -> subprocess.CompletedProcess[str]:
    made, env = command(server, *arguments)
    return subprocess.run(made, env=env, capture_output=True, text=True, check=False, timeout=250)


def batch(points: list[tuple[str, int, int, float]], attempt: int) -> BatchIn:
    keys = list(dict.fromkeys(point[0] for point in points))
    count = len(points)
    return BatchIn(
        keys=keys,
        key=struct.pack(f"<{count}i", *[keys.index(point[0]) for point in points]),
        step=struct.pack(f"<{count}q", *[point[1] for point in points]),
        time_ms=struct.pack(f"<{count}q", *[point[2] for point in points]),
        value=struct.pack(f"<{count}d", *[point[3] for point in points]),
        attempt=attempt,
    )


def filled(client: Client, project: str, experiment: str, run: dict[str, Any]) -> str:
    """A run with something of every kind."""
    run_id = uuid.uuid4().hex
    client.runs.create(
        RunCreate(
            id=run_id,
            project=project,
            experiment=experiment,
            name=run["name"],
            user="ünü",
            params=run["params"],
            tags=run["tags"],
            created_ns=T0_NS,
            started_ns=T0_NS + 1,
        )
    )
    for attempt, points in run["points"].items():
        if points:
            client.metrics.append_columns(run_id, batch(points, attempt))
    digest = hashlib.sha256(PNG).hexdigest()
    image = MediaRecord("pictures", STEP_MAX, 7, Image(3, 4), Blob(digest, "png", len(PNG)), 1)
    client.media.put_blob(run_id, image.blob.name, PNG)
    client.media.append(run_id, [image, MediaRecord("words", 0, 0, Text(run["text"]))])
    with tempfile.NamedTemporaryFile() as file:
        file.write(run["file"])
        file.flush()
        client.artifacts.put(run_id, "größe/file.bin", Path(file.name))
    client.artifacts.append_event_file(run_id, "events.out.tfevents.1", offset=0, data=EVENTS)
    model_id = f"m-{uuid.uuid4().hex}"
    experiment_id = client.runs.get(run_id).experiment.id
    model = LoggedModelPut(
        experiment_id=experiment_id,
        name="cnn",
        created_ns=T0_NS + 2,
        source_run_id=run_id,
        params={"depth": "3"},
    )
    client.models.put(model_id, model)
    dataset = DatasetInput("digits", "abc", "local", "{}", None, "{}", {"mlflow.data.context": "t"})
    client.models.add_inputs(run_id, RunInputs((dataset,), (), (ModelUse(model_id, 3),)))
    if run.get("model_deleted"):
        client.models.delete(model_id)
    traced(client, experiment_id, run_id, run)
    if run["state"]:
        client.runs.update(run_id, RunUpdate(state=run["state"], ended_ns=T0_NS + 10**9))
    if run["deleted"]:
        client.runs.delete(run_id)
    return run_id


def traced(client: Client, experiment_id: int, run_id: str, run: dict[str, Any]) -> None:
    """A trace with spans, assessments, a file, and a link to a run."""
    trace_id = f"tr-{uuid.uuid4().hex}"
    documents = [
        msgspec.json.encode(
            {
                "span_id": base64.b64encode(bytes([0] * 7 + [number])).decode(),
                "name": run["name"],
                "start_time_unix_nano": T0_NS + number,
                "attributes": [
                    attribute("mlflow.spanType", "LLM"),
                    *(attribute(key, [value, 1, None]) for key, value in run["params"].items()),
                ],
            }
            | ({} if number == 1 else {"parent_span_id": "AAAAAAAAAAE=", "status": {"message": ""}})
        )
        for number in (1, 2)
    ]
    client.traces.add_spans(trace_id, documents, experiment_id=experiment_id)
    said = Assessment(
        id="a-1",
        trace_id=trace_id,
        name=run["name"],
        kind=AssessmentKind.EXPECTATION,
        value={"text": run["text"], "n": [1, None, 0.5]},
        source_type="HUMAN",
        metadata=run["params"],
        valid=False,
        created_ms=1,
        updated_ms=2,
    )
    more = {
        "id": "a-0",
        "kind": AssessmentKind.FEEDBACK,
        "value": None,
        "error": {"error_code": "E"},
    }
    trace = Trace(
        id=trace_id,
        experiment_id=experiment_id,
        time_ms=T0_NS // 10**6,
        state=TraceState.IN_PROGRESS,
        request_preview=run["text"],
        response_preview="",
        tags=run["tags"],
        metadata={"m": run["text"]},
        assessments=(said, msgspec.structs.replace(said, **more)),
    )
    client.traces.put(TracePut(trace, (run_id,)))
    with tempfile.NamedTemporaryFile() as file:
        file.write(run["file"])
        file.flush()
        client.traces.put_file(trace_id, "attachments/größe.bin", Path(file.name))
