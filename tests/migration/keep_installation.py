"""Keep an installation as today's version leaves it, for later versions to open.

``python -m tests.migration.keep_installation NAME`` writes ``installations/NAME.tar.xz``: a data
folder that ``installation_world.build`` filled, and what a user saw of it (``seen.json``). To be
run before each release. An archive is never made anew: what an old version wrote is what counts.
"""

from __future__ import annotations

import json
import sys
import tarfile
import tempfile
from pathlib import Path

from installation_world import build, seen
from live_server import LiveServer

KEPT = Path(__file__).parent / "installations"
PARTS = ("seafloor.db", "objects", "spool")


def keep(name: str) -> Path:
    """Make the archive; one of that name must not be there."""
    with tempfile.TemporaryDirectory() as folder:
        server = LiveServer(Path(folder) / "data").start()
        try:
            build(server, Path(folder))
            (server.data / "seen.json").write_text(json.dumps(seen(server), ensure_ascii=False))
        finally:
            server.stop()
        path = KEPT / f"{name}.tar.xz"
        with tarfile.open(path, "x:xz") as archive:
            for part in (*PARTS, "seen.json"):
                archive.add(server.data / part, part)
    return path


if __name__ == "__main__":
    print(keep(sys.argv[1]))
