"""Whether commands can have their code at ``/code`` on this machine, and look at a shared tree."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from seafloor.agent import code_mount

_WITHIN_S: Final = 60.0
"""Far more than a busy machine needs: what came of it is kept for as long as the server lives."""
_NOT_IN_LAYERS: Final = frozenset(":,\\")
"""What has a meaning of its own where layers are named."""


class CodeMounts:
    """Tries it once, in a process of its own, when somebody first wants to know.

    Args:
        wanted: Whether it is to be done at all.
    """

    def __init__(self, *, wanted: bool) -> None:
        self._guard = threading.Lock()
        self.wanted = wanted
        self._works: bool | None = None if wanted else False
        self._shares: dict[tuple[Path, Path], bool] = {}

    def work(self) -> bool:
        """Whether they do. Blocking, the first time."""
        with self._guard:
            if self._works is None:
                self._works = not why_no_mount()
            return self._works

    def problem(self, paths: Sequence[str]) -> str:
        """Why volumes cannot be at some paths; ``""``: they can. Blocking, each time."""
        if not self.wanted:
            return "launch.mount_code is off"
        with tempfile.TemporaryDirectory(prefix="seafloor-") as folder:
            stage = Path(folder, "stage")
            for path in (stage, Path(folder, "stage.volume")):
                path.mkdir()
            return _tried({"stage": str(stage)}, *paths)

    def share(self, trees: Path, work_dir: Path) -> bool:
        """Whether they can, each with a layer of its own above a tree that all look at.

        Blocking, the first time.

        Args:
            trees: Where trees are.
            work_dir: Where the layers would be.
        """
        if not self.work():
            return False
        with self._guard:
            if (trees, work_dir) not in self._shares:
                self._shares[trees, work_dir] = not why_no_layers(trees, work_dir)
            return self._shares[trees, work_dir]


def why_no_mount() -> str:
    """Say why nothing can be at ``/code``; empty when it can."""
    with tempfile.TemporaryDirectory(prefix="seafloor-") as folder:
        wanted = {name: str(Path(folder, name)) for name in ("source", "stage")}
        for path in wanted.values():
            Path(path).mkdir()
        return _tried(wanted)


def why_no_layers(trees: Path, work_dir: Path) -> str:
    """Say why no layer can be; empty when it can.

    Args:
        trees, work_dir: As ``CodeMounts.share`` has them; made if missing.

    Raises:
        OSError: they cannot be written.
    """
    if _NOT_IN_LAYERS & set(f"{trees}{work_dir}"):
        return "there is a colon, a comma or a backslash in its path"
    for folder in (trees, work_dir):
        folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="probe-", dir=trees) as lower,
        tempfile.TemporaryDirectory(
            prefix="probe-", dir=work_dir, ignore_cleanup_errors=True
        ) as own,
    ):
        wanted = shared_mount(Path(own), Path(lower), "code")
        file = Path(lower, "old", "file")
        file.parent.mkdir()
        for path in (file, file.with_name("other")):
            path.write_text("as it was")
        why = _tried(wanted)
        if not why and file.read_text() != "as it was":
            return "what is written goes into the tree"
        return why


def shared_mount(own: Path, tree: Path, folder: str) -> dict[str, str]:
    """Make what a command needs to look at a shared tree; see ``agent.CodeMount``.

    Args:
        own: A folder of the command's own; what is missing in it is made.
        tree: What it looks at.
        folder: Its name in the folder of the code.
    """
    wanted = {name: str(own / name) for name in ("source", "stage", "view", "upper", "work")}
    for path in wanted.values():
        Path(path).mkdir(parents=True, exist_ok=True)
    Path(wanted["view"], folder).mkdir(exist_ok=True)
    return {**wanted, "tree": str(tree), "folder": folder}


def _tried(wanted: dict[str, str], *paths: str) -> str:
    argv = [sys.executable, "-I", "-S", code_mount.__file__, json.dumps(wanted), *paths]
    try:
        ended = subprocess.run(
            argv, capture_output=True, timeout=_WITHIN_S, check=False, text=True, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if ended.returncode == 0 else ended.stderr.strip() or "no reason was given"
