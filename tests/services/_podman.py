"""Containers of the tests: podman with runc, its images kept between runs.

Its store is in the cache folder, so that layers that were built once are there the next time.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.services._service import Missing, Refused, cache_folder

# runc: crun refuses machines whose cgroups are of version 1. Podman's own limits are higher than
# some machines let root set.
_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "{folder}/tmp"
"""
_STORAGE = """\
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""
_TIMEOUT_S = 900.0


class Podman:
    """The program, with a store and a configuration of its own.

    Raises:
        Missing: it cannot be had on this machine.
    """

    def __init__(self) -> None:
        for program, package in (("podman", "podman"), ("runc", "runc")):
            if shutil.which(program) is None and not Path("/usr/sbin", program).exists():
                raise Missing(f"apt-get install {package}")
        if os.geteuid() != 0:
            raise Missing("images are made by debootstrap, which needs root")
        self._folder = cache_folder() / "podman"
        self._folder.mkdir(exist_ok=True)
        self.env = {
            **os.environ,
            "PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin",
            "CONTAINERS_CONF": str(self._file("containers.conf", _CONTAINERS)),
            "CONTAINERS_STORAGE_CONF": str(self._file("storage.conf", _STORAGE)),
        }
        _probe_kernel()
        said = self.run("info", check=False)
        if said.returncode:
            raise Refused(f"podman cannot work on this machine: {last_line(said.stderr)}")

    def _file(self, name: str, text: str) -> Path:
        path = self._folder / name
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(text.format(folder=self._folder))
        part.rename(path)
        return path

    def run(
        self, *arguments: str, check: bool = True, timeout_s: float = _TIMEOUT_S
    ) -> subprocess.CompletedProcess[str]:
        """Run ``podman`` with arguments; fail with what it said unless told not to check."""
        done = subprocess.run(
            ["podman", *arguments],
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        if check and done.returncode:
            said = f"{done.stdout[-2000:]}\n{done.stderr[-6000:]}"
            raise RuntimeError(f"podman {arguments[0]} ended with {done.returncode}:\n{said}")
        return done

    def has_image(self, name: str) -> bool:
        """Whether an image of that name is in the store."""
        return self.run("image", "exists", name, check=False).returncode == 0

    def probe(self, image: str) -> None:
        """Run one trivial container.

        Raises:
            Refused: this machine's kernel refuses containers; with its reason.
        """
        done = self.run("run", "--rm", "--network=none", image, "/bin/true", check=False)
        if done.returncode:
            raise Refused(f"containers do not run on this machine: {last_line(done.stderr)}")


def _probe_kernel() -> None:
    """Do what making and running images is made of: namespaces, a mount, a device.

    Raises:
        Refused: this machine does not let root do it.
    """
    inside = "mount -t tmpfs none /mnt && mknod /mnt/null c 1 3"
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "sh", "-c", inside],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise Refused(f"this machine refuses containers: {last_line(done.stderr)}")


def last_line(text: str) -> str:
    """What a program said last, for people."""
    lines: Sequence[str] = text.strip().splitlines() or ("no reason was given",)
    return lines[-1][:300]
