"""Tracks runs with a real Aim; run by the Python that has it.

``python aim_script.py FOLDER`` makes FOLDER/.aim and FOLDER/tracked.json, which says what Aim has
as their hashes.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from aim import Audio, Distribution, Image, Run, Text

STEPS = 30
PARAMS = {
    "lr": 0.1,
    "layers": [1, 2],
    "opt": "ädam",
    "flag": True,
    "none": None,
    "nested": {"a": {"b": 1}},
}


def whole(folder: Path) -> str:
    """A run with something of everything."""
    run = Run(
        repo=str(folder),
        experiment="vision",
        system_tracking_interval=None,
        log_system_params=False,
    )
    run.name, run.description = "first run", "some words"
    run["hparams"] = PARAMS
    run.add_tag("best, so far")
    for step in range(STEPS):
        run.track(
            1 / (step + 1), name="loss", step=step, epoch=step // 10, context={"subset": "train"}
        )
        run.track(2 / (step + 1), name="loss", step=step, context={"subset": "val"})
    run.track(float("nan"), name="odd", step=0)
    run.track(float("inf"), name="odd", step=1)
    run.track(3, name="count", step=5)
    run.track(Distribution(hist=np.array([1, 0, 2]), bin_range=(0.0, 3.0)), name="weights", step=1)
    run.track(Text("hello"), name="words", step=2)
    pixels = np.zeros((4, 5, 3), dtype=np.uint8)
    run.track([Image(pixels, caption="one"), Image(pixels + 9, caption="two")], name="pics", step=3)
    run.track(Audio(np.zeros(80, dtype=np.int16), rate=8000, caption="beep"), name="sound", step=4)
    (folder / "model.bin").write_bytes(b"model")
    run.set_artifacts_uri((folder / "kept").as_uri())
    run.log_artifact(str(folder / "model.bin"), name="weights.bin", block=True)
    run.close()
    return run.hash


def killed(folder: Path) -> None:
    """A run whose process ends without a word."""
    run = Run(
        repo=str(folder),
        experiment="vision",
        system_tracking_interval=None,
        log_system_params=False,
    )
    run.name = "killed"
    for step in range(STEPS):
        run.track(step, name="loss", step=step)
    time.sleep(1.5)
    os._exit(9)


def main(folder: Path, *names: str) -> None:
    """Track the runs of some names."""
    tracked: dict[str, Any] = {"whole": whole(folder)} if "whole" in names else {}
    (folder / "tracked.json").write_text(json.dumps(tracked)) if tracked else None
    if "killed" in names:
        killed(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
