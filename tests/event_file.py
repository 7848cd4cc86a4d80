"""tf.events files as a real writer makes them, in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from tensorboardX import SummaryWriter


def event_file(scalars: Iterable[tuple[int, str, float]]) -> bytes:
    """The bytes of a file with (step, tag, value)."""
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for step, tag, value in scalars:
                writer.add_scalar(tag, value, step)
        (file,) = Path(folder).iterdir()
        return file.read_bytes()
