"""Whether commands can have their code at ``/code`` on this machine."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Final

from seafloor.agent import code_mount

_WITHIN_S: Final = 10.0


class CodeMounts:
    """Tries it once, in a process of its own, when somebody first wants to know.

    Args:
        wanted: Whether it is to be done at all.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._guard = threading.Lock()
        self._works: bool | None = None if wanted else False

    def work(self) -> bool:
        """Whether they do. Blocking, the first time."""
        with self._guard:
            if self._works is None:
                self._works = _tried()
            return self._works


def _tried() -> bool:
    with tempfile.TemporaryDirectory(prefix="seafloor-") as folder:
        source, stage = Path(folder, "source"), Path(folder, "stage")
        source.mkdir()
        stage.mkdir()
        argv = [sys.executable, "-I", "-S", code_mount.__file__, str(source), str(stage)]
        try:
            ended = subprocess.run(argv, capture_output=True, timeout=_WITHIN_S, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return False
        return ended.returncode == 0
