"""The agent as one file that any Python 3.8+ runs. Not part of that file.

``python -m seafloor.agent.bundle FILE`` writes it, for a container that brings it into a pod.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import os
import secrets
import sys
import zipfile
from pathlib import Path
from typing import Final

_PACKAGE: Final = "seafloor_agent"
_LEFT_OUT: Final = "bundle.py"
_MAIN: Final = f"import sys\nfrom {_PACKAGE}.command import main\nsys.exit(main())\n"
_TIME: Final = (1980, 1, 1, 0, 0, 0)
# What decides whether a .pyc is compared with its source: never, the archive holds both or neither.
_UNCHECKED_HASH: Final = 0b01


def build_agent(cache_dir: Path) -> Path:
    """Give the agent's file, making it if it is not there.

    The same sources and the same Python give the same bytes; the name has their digest, so that
    agents of an older version that still run keep the file they were started from.

    Args:
        cache_dir: Where it is kept; made if missing. Processes may share it.

    Returns:
        ``<cache_dir>/agent-<digest>.pyz``.

    Raises:
        OSError: it cannot be written.
    """
    content = _archive()
    path = cache_dir / f"agent-{hashlib.sha256(content).hexdigest()[:16]}.pyz"
    if not path.exists():
        cache_dir.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        try:
            part.write_bytes(content)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    return path


def write_agent(path: Path) -> None:
    """Write the agent's file to a path, readable by whatever user runs it; whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    part.write_bytes(_archive())
    part.chmod(0o644)
    os.replace(part, path)


def _archive() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        _put(archive, "__main__.py", _MAIN.encode())
        for path in sorted(Path(__file__).parent.glob("*.py")):
            if path.name != _LEFT_OUT:
                source = path.read_bytes()
                name = f"{_PACKAGE}/{path.name}"
                _put(archive, name, source)
                # This Python need not compile it at every start; another passes over it.
                _put(archive, name + "c", _compiled(source, name))
    return buffer.getvalue()


def _put(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _TIME), content)


def _compiled(source: bytes, name: str) -> bytes:
    import marshal

    code = compile(source, name, "exec", dont_inherit=True)
    header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH.to_bytes(4, "little")
    return header + importlib.util.source_hash(source) + marshal.dumps(code)


if __name__ == "__main__":
    write_agent(Path(sys.argv[1]))
