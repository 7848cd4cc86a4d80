"""What ``deploy/kubernetes`` comes to, as files: ``python -m tests.kube.deployed`` writes them.

They are kept so that a change of it is seen whole, and so that it is checked where no kubectl is.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = Path(__file__).parent / "overlays"
SOURCES: Final = {
    "base": ROOT / "deploy/kubernetes/base",
    "laptop": ROOT / "deploy/kubernetes/overlays/laptop",
    "postgresql-s3": ROOT / "deploy/kubernetes/overlays/postgresql-s3",
    "everything": FOLDER / "everything",
}
MINOR_MIN: Final = 21
"""The first kubectl whose kustomize knows components."""


def render(name: str) -> str:
    """What kubectl makes of it."""
    command = ["kubectl", "kustomize", str(SOURCES[name])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "", "kustomize warns"
    return done.stdout


def problem() -> str | None:
    """Why this machine cannot render them; None: it can."""
    if shutil.which("kubectl") is None:
        return f"no kubectl: one of 1.{MINOR_MIN} or newer would lift this"
    command = ["kubectl", "version", "--client", "--output=json"]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    minor = int(said["clientVersion"]["minor"].rstrip("+"))
    if minor < MINOR_MIN:
        return f"kubectl 1.{minor} knows no components: 1.{MINOR_MIN} or newer would lift this"
    return None


def main() -> None:
    """Write the files."""
    for name in SOURCES:
        (FOLDER / f"{name}.yaml").write_text(render(name), encoding="utf-8")


if __name__ == "__main__":
    main()
