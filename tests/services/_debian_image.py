"""A base image without a registry: Debian from its own packages, made once per machine.

The image of Seafloor is built on it, and it is what a node of the tests' cluster has: Python 3.11
with venv, git with LFS, ssh, certificates. Whoever wants it calls ``debian_image()``, gets its name
and the podman whose store has it, and can ``podman save`` it for another container runtime.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from tests.services._podman import Podman, last_line
from tests.services._service import Missing, made_once

SUITE: Final = "bookworm"
PACKAGES: Final = (
    "ca-certificates",
    "git",
    "git-lfs",
    "libnss-wrapper",
    "openssh-client",
    "python3",
    "python3-venv",
)
IMAGE: Final = f"localhost/seafloor-debian:{SUITE}-2"
"""Another number whenever what is in it changes."""

_PATH: Final = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def debian_image() -> tuple[Podman, str]:
    """Make the image, unless it is there; a minute or two the first time, with the packages.

    Raises:
        Missing: this machine cannot make it, or runs no containers.
    """
    podman = Podman()
    if not podman.has_image(IMAGE):
        archive = made_once(IMAGE.partition("/")[2].replace(":", "-"), _make) / "root.tar"
        podman.run("import", "--quiet", "--change", f"ENV {_PATH}", str(archive), IMAGE)
    podman.probe(IMAGE)
    return podman, IMAGE


def _make(folder: Path) -> None:
    program = shutil.which("debootstrap") or "/usr/sbin/debootstrap"
    if not Path(program).exists():
        raise Missing("apt-get install debootstrap")
    root = folder / "root"
    command = [program, "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, str(root)]
    made = subprocess.run(
        [*command, *_mirror()],
        env={**os.environ, "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise Missing(f"debootstrap ended with {made.returncode}: {last_line(made.stdout)}")
    # What is of this machine only: its name, where it has its packages from, the packages.
    for left in ("etc/apt/sources.list", "etc/hostname", "etc/resolv.conf"):
        (root / left).unlink(missing_ok=True)
    for left in ("var/cache/apt/archives", "var/lib/apt/lists", "var/log"):
        shutil.rmtree(root / left, ignore_errors=True)
        (root / left).mkdir(parents=True)
    subprocess.run(
        ["tar", "-C", str(root), "-cf", str(folder / "root.tar"), "."],
        check=True,
    )
    shutil.rmtree(root)


def _mirror() -> list[str]:
    """Where apt has its packages from; debootstrap's own default where apt does not say."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    found = [line.split(" ") for line in asked.stdout.splitlines()]
    return [site for site, release in found if release == SUITE][:1]
