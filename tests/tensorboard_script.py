"""Writes event files as TensorFlow 2 does, and reads a folder as TensorBoard does; run by the
Python that has TensorBoard.

``python tensorboard_script.py write FOLDER`` makes the runs ``tf2`` and ``tf2/validation``;
``… read FOLDER`` prints what TensorBoard finds: run → tag → [[step, value, wall time]].
"""

from __future__ import annotations

import io
import json
import sys
import time
import wave
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram import summary_v2 as histograms
from tensorboard.plugins.hparams import summary_v2 as hparams
from tensorboard.plugins.scalar import summary_v2 as scalars
from tensorboard.plugins.text import summary_v2 as texts
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util.tensor_util import make_ndarray

STEPS = 50


def write(folder: Path) -> None:
    """Write the runs."""
    for name in ("tf2", "tf2/validation"):
        writer = EventFileWriter(str(folder / name))

        def add(summary: Any, step: int, to: EventFileWriter = writer) -> None:
            to.add_event(Event(wall_time=time.time(), step=step, summary=summary))

        params = {"lr": 0.001, "layers": 3, "bias": True, "opt": "adam"}
        add(hparams.hparams_pb(params, trial_id="t", start_time_secs=0), 0)
        for step in range(STEPS):
            add(scalars.scalar_pb("epoch_loss", 1 / (step + 1)), step)
        add(scalars.scalar_pb("nan", float("nan")), 0)
        add(histograms.histogram_pb("weights", np.arange(10.0), buckets=4), 1)
        add(texts.text_pb("words", "a *text*"), 1)
        png = io.BytesIO()
        Image.new("L", (5, 4)).save(png, "PNG")
        picture = Summary.Image(
            height=4, width=5, colorspace=1, encoded_image_string=png.getvalue()
        )
        add(Summary(value=[Summary.Value(tag="picture", image=picture)]), 1)
        wav = io.BytesIO()
        with wave.open(wav, "wb") as sound:
            sound.setparams((1, 2, 8000, 0, "NONE", ""))
            sound.writeframes(bytes(160))
        heard = Summary.Audio(
            sample_rate=8000, num_channels=1, length_frames=80, encoded_audio_string=wav.getvalue()
        )
        add(Summary(value=[Summary.Value(tag="sound", audio=heard)]), 1)
        writer.add_event(Event(wall_time=time.time(), graph_def=b"graph"))
        writer.close()


def read(folder: Path) -> dict[str, Any]:
    """Read all scalars."""
    found = EventMultiplexer(tensor_size_guidance={"scalars": 0})
    found.AddRunsFromDirectory(str(folder))
    found.Reload()
    runs: dict[str, Any] = {}
    for run in found.Runs():
        tags = found.GetAccumulator(run).PluginTagToContent("scalars")
        runs[run] = {
            tag: [
                [one.step, repr(float(make_ndarray(one.tensor_proto))), one.wall_time]
                for one in found.Tensors(run, tag)
            ]
            for tag in tags
        }
    return runs


if __name__ == "__main__":
    action, place = sys.argv[1:]
    if action == "write":
        write(Path(place))
    else:
        print(json.dumps(read(Path(place))))
