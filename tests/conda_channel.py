"""A conda channel in a folder, made on the spot: small packages, and the Python of the tests.

Only its index is made by rattler; the packages are written here, so that a test can break them.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import platform
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard
from rattler.index import index_fs

PLACEHOLDER = "/opt/" + "placeholder_" * 16
"""What packages have in their texts in place of the folder they are installed in."""

_LEFT_OUT = frozenset(
    {"test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages"}
    | {"dist-packages", "__pycache__", "EXTERNALLY-MANAGED", "pydoc_data", "distutils"}
)


@dataclass(frozen=True)
class CondaChannel:
    """A channel.

    Args:
        folder: Where it lies.
    """

    folder: Path

    @property
    def address(self) -> str:
        """What a user writes."""
        return self.folder.as_uri()

    def add(
        self,
        name: str,
        version: str,
        files: Mapping[str, bytes],
        *,
        depends: Sequence[str] = (),
        links: Mapping[str, str] | None = None,
        subdir: str = "noarch",
        noarch: str = "generic",
    ) -> Path:
        """Put a package into the channel; ``index`` makes it known.

        Args:
            files: Paths and contents; a text with ``PLACEHOLDER`` gets the folder instead.
            links: Symbolic links and where they point.
            noarch: ``generic``, or ``python`` with files below ``site-packages/``.
        """
        index = {
            "name": name, "version": version, "build": "0", "build_number": 0,
            "depends": list(depends), "subdir": subdir, "timestamp": 1_700_000_000_000,
        }  # fmt: skip
        if subdir == "noarch":
            index["noarch"] = noarch
        paths = [_described(path, data) for path, data in files.items()]
        paths += [
            {"_path": path, "path_type": "softlink", "size_in_bytes": 0} for path in links or ()
        ]
        info: dict[str, bytes] = {
            "info/index.json": json.dumps(index).encode(),
            "info/paths.json": json.dumps({"paths": paths, "paths_version": 1}).encode(),
            "info/about.json": b"{}",
        }
        if noarch == "python":
            info["info/link.json"] = json.dumps(
                {"noarch": {"type": "python"}, "package_metadata_version": 1}
            ).encode()
        path = self.folder / subdir / f"{name}-{version}-0.conda"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as whole:
            stem = path.name.removesuffix(".conda")
            whole.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
            whole.writestr(f"pkg-{stem}.tar.zst", _tar(files, links or {}))
            whole.writestr(f"info-{stem}.tar.zst", _tar(info, {}))
        return path

    def add_python(self) -> str:
        """Put the Python that runs this into the channel, without the tests of its library.

        Returns:
            Its version.
        """
        stdlib = Path(sysconfig.get_path("stdlib"))
        short = f"{sys.version_info.major}.{sys.version_info.minor}"
        files = {f"bin/python{short}": Path(sys.executable).resolve().read_bytes()}
        for path in sorted(stdlib.rglob("*")):
            inside = path.relative_to(stdlib)
            if _LEFT_OUT.isdisjoint(inside.parts) and path.is_file() and path.suffix != ".a":
                files[f"lib/python{short}/{inside}"] = _as_upstream(path)
        links = {"bin/python": f"python{short}", "bin/python3": f"python{short}"}
        self.add("python", platform.python_version(), files, links=links, subdir="linux-64")
        return platform.python_version()

    def index(self) -> None:
        """Make known what is in the channel now."""
        for subdir in ("noarch", "linux-64"):
            (self.folder / subdir).mkdir(parents=True, exist_ok=True)
        asyncio.run(index_fs(self.folder))


def _as_upstream(path: Path) -> bytes:
    """A file of the library; Debian's is changed back so that it installs to ``site-packages``."""
    data = path.read_bytes()
    if path.name == "site.py":
        return data.replace(b"dist-packages", b"site-packages")
    if path.name == "sysconfig.py":
        data += b"\n\ndef _get_preferred_schemes():\n"
        data += b"    return dict(prefix='posix_prefix', home='posix_home', user='posix_user')\n"
    return data


def _described(path: str, data: bytes) -> dict[str, object]:
    described: dict[str, object] = {
        "_path": path,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(data).hexdigest(),
        "size_in_bytes": len(data),
    }
    if PLACEHOLDER.encode() in data:
        described |= {"prefix_placeholder": PLACEHOLDER, "file_mode": "text"}
    return described


def _tar(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o755 if name.startswith("bin/") else 0o644
            tar.addfile(member, io.BytesIO(data))
        for name, target in links.items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return zstandard.ZstdCompressor(level=1).compress(plain.getvalue())
