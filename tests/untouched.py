"""What a server and its disk hold, to be compared before and after what must leave nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from live_server import LiveServer

# What grows without anybody's request, and what says nothing of a user's work.
_PASSING = ("seafloor.db", "server.log", "server.json")


def held_by(server: LiveServer) -> dict[str, Any]:
    """Every row that a user can see, deleted ones too, and every file of the data folder."""
    return {
        "runs": _ids(server, "/api/v1/runs?limit=1000&deleted=all"),
        "experiments": _ids(server, "/api/v1/experiments?deleted=all"),
        "environments": server.get("/api/v1/environments")["items"],
        "projects": server.get("/api/v1/projects"),
        "files": files_below(server.data),
    }


def files_below(folder: Path) -> list[str]:
    """Every file and folder but locks, caches of packages and what changes by itself."""
    found = (path.relative_to(folder) for path in everything_below(folder))
    return sorted(
        str(path)
        for path in found
        if not path.name.startswith(_PASSING)
        and path.suffix != ".lock"
        and path.parts[:2] != ("cache", "environments")
    )


def everything_below(folder: Path) -> Iterator[Path]:
    """Every file and folder, however a server that runs makes and removes others meanwhile."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            yield Path(place, name)


def _ids(server: LiveServer, path: str) -> list[Any]:
    return sorted(found["id"] for found in server.get(path)["items"])


def assert_no_traceback(server: LiveServer, *texts: str) -> None:
    """Fail when anything that was said, or the server's log, has a traceback."""
    log = (server.data / "server.log").read_text(errors="replace")
    for text in (*texts, log):
        assert "Traceback" not in text, text[text.index("Traceback") :][:4000]
        assert "bug of its own" not in text, text
        assert "error of its own" not in text, text
