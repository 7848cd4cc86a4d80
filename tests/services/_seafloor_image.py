"""The image of Seafloor, built as ``deploy/Dockerfile`` says on a base that needs no registry."""

from __future__ import annotations

import fcntl
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.services._debian_image import debian_image
from tests.services._podman import Podman
from tests.services._service import cache_folder

ROOT: Final = Path(__file__).resolve().parents[2]
NAME: Final = "localhost/seafloor"
_CONTEXT: Final = (
    ".dockerignore",
    "LICENSE",
    "README.md",
    "build_web.py",
    "pyproject.toml",
    "deploy/Dockerfile",
    "deploy/build.lock",
    "deploy/requirements.lock",
    "src",
)
_PAGE: Final = ROOT / "src/seafloor/http/web/index.html"
_CERTIFICATES: Final = Path("/etc/ssl/certs")
_PIP_SETTINGS: Final = ("index-url", "trusted-host", "proxy", "cert", "client-cert", "timeout")
_OLD: Final = "48h"


def seafloor_image() -> tuple[Podman, str]:
    """Build the image of these sources, unless it is there.

    A minute or two the first time; seconds when only our own sources changed, as the layers of
    what they need are kept.

    Raises:
        Missing: this machine cannot make it, or runs no containers.
    """
    podman, base = debian_image()
    image = f"{NAME}:{_digest()}"
    with (cache_folder() / "seafloor-image.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not podman.has_image(image):
            _build(podman, image, base)
            _remove_old(podman)
    return podman, image


def _digest() -> str:
    digest = hashlib.sha256()
    for path in _files():
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _files() -> Iterator[Path]:
    for name in _CONTEXT:
        path = ROOT / name
        found = [path] if path.is_file() else sorted(path.rglob("*"))
        yield from (one for one in found if one.is_file() and "__pycache__" not in one.parts)


def _build(podman: Podman, image: str, base: str) -> None:
    settings = _pip_settings().items()
    with tempfile.NamedTemporaryFile("w", prefix="pip-", suffix=".conf") as secret:
        secret.write("[global]\n" + "".join(f"{key} = {value}\n" for key, value in settings))
        secret.flush()
        podman.run(
            "build",
            "--quiet",
            "--layers",
            "--network=host",
            f"--volume={_CERTIFICATES}:{_CERTIFICATES}:ro",
            f"--secret=id=pip.conf,src={secret.name}",
            f"--build-arg=BASE={base}",
            f"--build-arg=PAGE={'required' if _PAGE.exists() else 'none'}",
            f"--file={ROOT / 'deploy/Dockerfile'}",
            f"--tag={image}",
            str(ROOT),
        )


def _pip_settings() -> dict[str, str]:
    """How this machine reaches its index of packages: for the build only, it stays in no layer."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, str] = {}
    for line in listed.stdout.splitlines():
        name, _, value = line.partition("=")
        key = name.rpartition(".")[2]
        if key in _PIP_SETTINGS:
            found.setdefault(key, value.strip("'\""))  # variables come first, and win
    return found


def _remove_old(podman: Podman) -> None:
    """Let go of images of sources that were: they would fill the disk."""
    filters = (f"--filter=reference={NAME}", f"--filter=until={_OLD}")
    listed = podman.run("images", "--quiet", *filters)
    for old in set(listed.stdout.split()):
        podman.run("rmi", "--force", old, check=False)
