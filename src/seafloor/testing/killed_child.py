"""Running a Python program and killing it with -9 in the middle of its work."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence


def run_until_killed(
    module: str, arguments: Sequence[str], *, after_lines: int, wait_s: float = 60.0
) -> list[str]:
    """Run ``python -m module``, kill it once it has said enough, return all it said.

    Args:
        module: What prints one line per thing that was acknowledged to it, flushed.
        arguments: For the module.
        after_lines: SIGKILL is sent when so many lines were read; the program goes on meanwhile.
        wait_s: How long it may take.

    Returns:
        Its lines, those after the signal was sent included; a torn last line is left out.

    Raises:
        AssertionError: it ended by itself before it had said enough.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert child.stdout is not None
    said: list[bytes] = []
    try:
        for line in child.stdout:
            said.append(line)
            if len(said) == after_lines:
                child.send_signal(signal.SIGKILL)
        child.wait(timeout=wait_s)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert child.returncode == -signal.SIGKILL, f"it ended by itself: {child.returncode}"
    return [line.decode().rstrip("\n") for line in said if line.endswith(b"\n")]
