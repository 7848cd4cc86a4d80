"""Packages made on the spot, so that tests of environments need no network and no time."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from seafloor.environments.uv_command import PackageSource

# The backend of a source package says that it was called, then waits for a file: a build that
# takes as long as a test wants it to.
WAITING_BACKEND = """
import pathlib, time
HERE = pathlib.Path({gate!r})
def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    (HERE / "started").touch()
    deadline = time.monotonic() + 120
    while not (HERE / "go").exists():
        if time.monotonic() > deadline:
            raise SystemExit("nobody opened the gate")
        time.sleep(0.01)
    wheel = HERE / {wheel!r}
    pathlib.Path(wheel_directory, wheel.name).write_bytes(wheel.read_bytes())
    return wheel.name
"""


@dataclass(frozen=True)
class Shelf:
    """A folder of packages.

    Args:
        folder: Where the archives lie.
        source: Says that packages come from there and from nowhere else.
    """

    folder: Path

    @property
    def source(self) -> PackageSource:
        return PackageSource(find_links=(str(self.folder),), offline=True)

    def add(
        self,
        name: str,
        version: str,
        *,
        requires: Sequence[str] = (),
        size_bytes: int = 0,
        script: str | None = None,
    ) -> Path:
        """Put a wheel with one module on the shelf; the module knows its version.

        Args:
            script: Name of a program that prints it.
        """
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + "".join(
            f"Requires-Dist: {requirement}\n" for requirement in requires
        )
        files = {
            f"{module}.py": f"version = {version!r}\n",
            f"{module}.txt": "x" * size_bytes,
            f"{info}/METADATA": metadata,
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        if script is not None:
            files[f"{info}/entry_points.txt"] = f"[console_scripts]\n{script} = {module}:main\n"
            files[f"{module}.py"] += "def main():\n    print(version)\n"
        record = "".join(f"{path},{_sum(text)},{len(text)}\n" for path, text in files.items())
        path = self.folder / f"{module}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for inner, text in {**files, f"{info}/RECORD": record + f"{info}/RECORD,,\n"}.items():
                archive.writestr(inner, text)
        return path

    def add_gated(self, name: str, version: str, *, gate: Path) -> Path:
        """Put a source package on the shelf that is built once ``gate / "go"`` exists."""
        gate.mkdir()
        wheel = self.add(name, version).rename(gate / f"{name}-{version}-py3-none-any.whl")
        texts = {
            "backend.py": WAITING_BACKEND.format(gate=str(gate), wheel=wheel.name),
            "pyproject.toml": f'[project]\nname = "{name}"\nversion = "{version}"\n'
            '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
            "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: {version}\n",
        }
        path = self.folder / f"{name}-{version}.tar.gz"
        with tarfile.open(path, "w:gz") as archive:
            for inner, text in texts.items():
                member = tarfile.TarInfo(f"{name}-{version}/{inner}")
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
        return path


def _sum(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
