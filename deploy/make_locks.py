"""Writes what the image is built from: every package with its version and the digests of its files.

``.venv/bin/python deploy/make_locks.py`` after ``constraints.txt`` or the dependencies in
``pyproject.toml`` have changed; ``tests/docs/test_locks.py`` says when it was forgotten. The
digests hold for every platform, so one file serves all of them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
PYTHON: Final = "3.11"
LOCKS: Final = {
    "requirements.lock": ("pyproject.toml", "--extra=server"),
    "build.lock": ("deploy/build.in",),
}
"""Name to what it is made of."""

HEAD: Final = "# Made by deploy/make_locks.py from pyproject.toml and constraints.txt.\n"


def make_lock(sources: tuple[str, ...]) -> str:
    """Resolve within ``constraints.txt``, with digests."""
    uv = Path(sys.executable).parent / "uv"
    command = [str(uv), "pip", "compile", "--quiet", "--no-header", "--no-annotate"]
    command += ["--generate-hashes", f"--python-version={PYTHON}", "-c", "constraints.txt"]
    done = subprocess.run(
        [*command, *sources], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    return HEAD + done.stdout


def main() -> int:
    """Write them all."""
    for name, sources in LOCKS.items():
        Path(ROOT, "deploy", name).write_text(make_lock(sources), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
