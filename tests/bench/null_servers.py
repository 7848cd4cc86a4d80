"""Servers that store nothing: what remains to be gained.

``python -m tests.bench.null_servers bare <port>`` reads a body and answers ``{}``; with ``ours``
followed by what ``python -m seafloor.boot`` takes, it is our server whose two calls of metrics are
ordinary routes that do the same.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_LOGGING = ("log-metric", "log-batch")


def bare(port: int, _folder: Path) -> list[str]:
    """The command of a server that is nothing else."""
    return _command("bare", str(port))


def ours(port: int, folder: Path) -> list[str]:
    """The command of a server of ours that stores no metrics."""
    return _command("ours", "up", "--data", str(folder), "--port", str(port))


def _command(*arguments: str) -> list[str]:
    path = f"PYTHONPATH={ROOT}:{ROOT / 'tests'}"
    return ["env", path, sys.executable, "-m", "tests.bench.null_servers", *arguments]


async def _answer(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-length", b"2"), (b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


def _without_stores() -> None:
    """Have the two routes read their bodies and nothing more."""
    from litestar import Request, post

    from seafloor.http.mlflow import metric_path, runs
    from seafloor.http.requests import body_bytes

    def nothing(name: str) -> Any:
        async def stored(request: Request) -> dict[str, str]:
            await body_bytes(request, size_bytes_max=1 << 26)
            return {}

        stored.__annotations__ = {"request": Request, "return": dict[str, str]}
        return post(f"/runs/{name}", status_code=200)(stored)

    for name in _LOGGING:
        del metric_path.WAYS[f"/api/2.0/mlflow/runs/{name}"]
    paths = {f"/runs/{name}" for name in _LOGGING}
    runs.ROUTES[:] = [route for route in runs.ROUTES if not paths & set(route.paths)]
    runs.ROUTES.extend(nothing(name) for name in _LOGGING)


def main(arguments: list[str]) -> int:
    """Serve until the end."""
    if arguments[0] == "bare":
        import uvicorn

        uvicorn.run(
            _answer,
            host="127.0.0.1",
            port=int(arguments[1]),
            log_level="error",
            access_log=False,
        )
        return 0
    _without_stores()
    from seafloor.boot.__main__ import main as boot

    return boot(arguments[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
