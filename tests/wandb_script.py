"""Logs offline runs with a real wandb, and notes what was logged; run by wandb's own Python.

``python wandb_script.py FOLDER NAME...`` makes runs below FOLDER/wandb and FOLDER/logged.json.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import time
from pathlib import Path
from typing import Any

os.environ.update(WANDB_MODE="offline", WANDB_SILENT="true", WANDB_DISABLE_GIT="true")

import numpy as np
import wandb

STEPS = 40
MANY = 2_000
CONFIG = {
    "lr": 0.1,
    "layers": {"n": 3, "sizes": [1, 2]},
    "flag": True,
    "none": None,
    "opt": "ädam",
    "a.b": 1,
    "a": {"b": 2},
    "odd key (%)": 5,
}


def text(value: float) -> str:
    """A number as JSON that has no NaN."""
    return repr(float(value))


# Sampling so often that a short run is measured too; each version has its own names of these.
OFTEN = {
    "x_stats_sampling_interval": 0.1,
    "x_stats_buffer_size": 1,
    "_stats_sample_rate_seconds": 0.1,
    "_stats_samples_to_average": 1,
}


def measured(run: Any) -> None:
    """Wait until wandb measured the machine, which a run that ends at once may not live to see."""
    end = time.monotonic() + 60
    while not run._system_metrics:
        if time.monotonic() > end:
            raise TimeoutError("wandb measured nothing in a minute")
        time.sleep(0.05)


class Noted:
    """A run whose every point is noted."""

    def __init__(self, logged: dict[str, Any], **init: Any) -> None:
        self.run = wandb.init(project="vision", **init)
        self.noted = logged.setdefault(self.run.id, {"points": {}, "name": init.get("name")})
        self.step = -1

    def log(
        self, values: dict[str, Any], points: dict[str, float], step: int | None = None
    ) -> None:
        self.step = self.step + 1 if step is None else step
        self.run.log(values, **({} if step is None else {"step": step}))
        for key, value in points.items():
            self.noted["points"].setdefault(key, []).append([self.step, text(value)])


def whole(logged: dict[str, Any]) -> None:
    """A run with something of everything."""
    one = Noted(
        logged,
        name="first run",
        group="g",
        job_type="train",
        tags=["a", "b,c"],
        notes="Notes\nin two lines",
        config=CONFIG,
        id="whole",
        settings=wandb.Settings(
            **{name: value for name, value in OFTEN.items() if name in dir(wandb.Settings())}
        ),
    )
    print("a line printed")
    one.run.define_metric("loss", summary="min")
    for number in range(STEPS):
        nested = {"x": number, "deep": {"y": -number}}
        points = {"loss": 1 / (number + 1), "nested.x": number, "nested.deep.y": -number}
        one.log({"loss": points["loss"], "nested": nested}, points)
    odd = {"nan": math.nan, "inf": math.inf, "ninf": -math.inf, "big": 2**60}
    more = {"flag": True, "np": np.float32(0.1), "acc (%)": 99.5}
    words = {"text": "a text", "list": [1, 2, "x"], "none": None}
    one.log({**odd, **more, **words}, {**odd, **more})
    one.log({"hist": wandb.Histogram(np_histogram=([1, 0, 2], [0.0, 1.0, 2.0, 3.0]))}, {})
    pixels = np.zeros((4, 5, 3), dtype=np.uint8)
    two = [wandb.Image(pixels + 1, caption="first"), wandb.Image(pixels + 9, caption="second")]
    one.log({"image": wandb.Image(pixels, caption="one"), "images": two}, {})
    table = wandb.Table(columns=["a", "b"], data=[[1, "x"], [2.5, None]])
    one.log({"table": table, "html": wandb.Html("<b>x</b>")}, {})
    Path("sound.wav").write_bytes(sound())
    one.log({"sound": wandb.Audio("sound.wav", caption="beep")}, {})
    one.log({"late": 7}, {"late": 7}, step=1000)
    one.run.config.update({"opt": "sgd"}, allow_val_change=True)
    one.run.summary["best"] = 0.99
    one.run.summary["word"] = "fine"
    Path("weights.bin").write_bytes(b"weights")
    one.run.save("weights.bin")
    Path("far.txt").write_text("far")
    artifact = wandb.Artifact("model", "model", metadata={"k": 1})
    artifact.add_file("weights.bin", "w/weights.bin")
    artifact.add_reference(Path("far.txt").resolve().as_uri())
    one.run.log_artifact(artifact)
    one.run.alert("title", "text")
    measured(one.run)
    one.run.finish()


def sound() -> bytes:
    """A WAV of a few samples."""
    samples = struct.pack("<4h", 0, 1, 2, 3)
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 8000, 16000, 2, 16)
    body = b"WAVE" + form + struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI", b"RIFF", len(body)) + body


def failed(logged: dict[str, Any]) -> None:
    """A run that fails."""
    one = Noted(logged, id="failed")
    one.log({"loss": 1.5}, {"loss": 1.5})
    one.run.finish(exit_code=3)


def many(logged: dict[str, Any]) -> None:
    """A run whose file has many blocks, and records longer than a block."""
    one = Noted(logged, id="many", config={"long": "x" * 100_000})
    for number in range(MANY):
        points = {f"m/{key}": number * 0.5 + key for key in range(3)}
        one.log(dict(points), points)
    one.run.finish()


def resumed(logged: dict[str, Any]) -> None:
    """A run of two processes, the second of which goes on; offline its steps begin anew."""
    for part in range(2):
        one = Noted(logged, id="resumed", resume="allow", config={f"part{part}": part})
        picture = wandb.Image(np.full((2, 2, 3), part * 99, dtype=np.uint8))
        one.log({"loss": 10.0 + part, "picture": picture}, {"loss": 10.0 + part})
        one.run.finish()


def main(folder: Path, *names: str) -> None:
    """Log the runs of some names."""
    os.chdir(folder)
    logged: dict[str, Any] = {}
    for name in names:
        globals()[name](logged)
    (folder / "logged.json").write_text(json.dumps(logged))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
