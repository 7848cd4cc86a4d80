"""Start, idle memory, import time and installed size, beside ``mlflow server``.

The peer is installed into a virtual environment of its own under ``~/.cache/seafloor-bench`` and
started as its users do by default, and at its best (one worker, no job runner).
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import urllib3
from tests.bench.measuring import Measured, alternate, table

PEER = "mlflow==3.17.2"
PEER_DRIVER = "psycopg[binary]==3.3.9"
START_SECONDS_MAX = 300
"""The peer takes minutes on a machine that is busy otherwise."""
CACHE = Path(os.environ.get("SEAFLOOR_BENCH_CACHE", "~/.cache/seafloor-bench")).expanduser()
ROOT = Path(__file__).resolve().parents[2]


def _uv(*arguments: str) -> None:
    # The one of this environment, wherever the path leads.
    found = Path(sys.executable).with_name("uv")
    subprocess.run([str(found), *arguments], check=True, stdout=subprocess.DEVNULL)


def peer_environment() -> Path:
    """The peer's virtual environment, built once."""
    folder = CACHE / PEER.replace("=", "-")
    if not (folder / "ready").exists():
        _uv("venv", "--quiet", "--python", sys.executable, str(folder))
        _uv("pip", "install", "--quiet", "--python", str(folder / "bin/python"), PEER)
        (folder / "ready").touch()
    if not (folder / "ready-psycopg").exists():
        _uv("pip", "install", "--quiet", "--python", str(folder / "bin/python"), PEER_DRIVER)
        (folder / "ready-psycopg").touch()
    return folder


def light_environment() -> Path:
    """Seafloor without the server's packages, installed from this checkout."""
    folder = CACHE / "light"
    shutil.rmtree(folder, ignore_errors=True)
    _uv("venv", "--quiet", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--quiet", "--python", str(folder / "bin/python"), str(ROOT))
    return folder


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextmanager
def running(
    command: Callable[[int, Path], list[str]],
) -> Iterator[tuple[str, psutil.Process, float]]:
    """Start a server; give its address, process and the seconds until /health answered."""
    folder = Path(tempfile.mkdtemp(prefix="seafloor-bench-"))
    port = free_port()
    pool = urllib3.PoolManager(retries=False, timeout=5.0)
    url = f"http://127.0.0.1:{port}"
    begun = time.perf_counter()
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command(port, folder), cwd=folder, stdout=log, stderr=log, start_new_session=True
        )
    try:
        while True:
            try:
                if pool.request("GET", f"{url}/health").status == 200:
                    break
            except urllib3.exceptions.HTTPError:
                if process.poll() is not None or time.perf_counter() - begun > START_SECONDS_MAX:
                    raise RuntimeError((folder / "log").read_text()[-2000:]) from None
                time.sleep(0.01)
        yield url, psutil.Process(process.pid), time.perf_counter() - begun
    finally:
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def seafloor(port: int, folder: Path) -> list[str]:
    """The command of our server."""
    return [
        sys.executable, "-m", "seafloor.boot", "up", "--data", str(folder), "--port", str(port),
    ]  # fmt: skip


def peer_default(port: int, folder: Path) -> list[str]:
    """The command of the peer, as its users start it."""
    database = f"sqlite:///{folder}/mlflow.db"
    return [
        str(peer_environment() / "bin/mlflow"), "server", "--port", str(port),
        "--backend-store-uri", database,
    ]  # fmt: skip


def peer_best(port: int, folder: Path) -> list[str]:
    """The command of the peer at its best: one worker, no job runner."""
    return [
        "env", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", *peer_default(port, folder),
        "--workers", "1",
    ]  # fmt: skip


SIDES = {"seafloor": seafloor, "mlflow, default": peer_default, "mlflow, one worker": peer_best}


def _resident_mb(process: psutil.Process) -> float:
    pss_bytes = process.memory_full_info().pss
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended since it was listed
            pss_bytes += child.memory_full_info().pss
    return pss_bytes / 1e6


def _starts() -> None:
    memory: dict[str, list[float]] = {name: [] for name in SIDES}

    def measure(name: str) -> float:
        with running(SIDES[name]) as (_, process, seconds):
            time.sleep(3)  # what "idle" means here: three seconds after it first answered
            memory[name].append(_resident_mb(process))
            return seconds

    found = alternate({name: lambda name=name: measure(name) for name in SIDES}, rounds=3)
    table("until /health answers", "s", found, base="seafloor")
    idle = {name: Measured(tuple(values[1:])) for name, values in memory.items()}
    table("idle, proportional set size of all processes", "MB", idle, base="seafloor")


def _imports() -> None:
    light, peer = light_environment() / "bin/python", peer_environment() / "bin/python"

    def measure(python: Path, statement: str) -> float:
        begun = time.perf_counter()
        subprocess.run([str(python), "-c", statement], check=True)
        return time.perf_counter() - begun

    found = alternate(
        {
            "python -c pass": lambda: measure(light, "pass"),
            "import seafloor": lambda: measure(light, "import seafloor"),
            "seafloor.start_run": lambda: measure(light, "import seafloor; seafloor.start_run"),
            "import mlflow": lambda: measure(peer, "import mlflow"),
        },
        rounds=7,
    )
    table("a whole process", "s", found, base="import seafloor")


def _sizes() -> None:
    for name, folder in (("seafloor (light)", light_environment()), (PEER, peer_environment())):
        total = sum(
            file.lstat().st_size
            for file in (folder / "lib").rglob("*")
            if file.is_file() and not file.is_symlink()
        )
        print(f"  installed: {name:24s} {total / 1e6:8.1f} MB")


def run() -> None:
    """Print every table."""
    _sizes()
    _imports()
    _starts()
