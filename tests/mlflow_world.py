"""The unmodified mlflow client, in an environment of its own, driven from tests.

The environment is built once from ``examples/digits/requirements.txt`` into a cache folder outside
the repository, named by the digest of what it is built from; two test sessions share it. A real
``mlflow server`` to compare with has one, too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
from tests.services._service import free_port
from uv import find_uv_bin

from live_server import wait_for

ROOT = Path(__file__).parents[1]
REQUIREMENTS = ROOT / "examples" / "digits" / "requirements.txt"
SERVER_REQUIREMENTS = ROOT / "tests" / "compat" / "mlflow-server.txt"
AUTOLOG_REQUIREMENTS = ROOT / "tests" / "compat" / "autolog.txt"
TORCH_REQUIREMENTS = ROOT / "tests" / "compat" / "autolog-torch.txt"
SCENARIOS = Path(__file__).with_name("mlflow_scenarios.py")
BUILD_TIMEOUT_S = 600
PROGRAMS_TIMEOUT_S = 1500


def client_python() -> Path:
    """The Python that has mlflow's client; its environment is built when it is missing."""
    return python_with(REQUIREMENTS)


def server_python() -> Path:
    """The Python that has a whole mlflow, with its server; likewise."""
    return python_with(SERVER_REQUIREMENTS)


def plugin_python() -> Path:
    """The Python that has mlflow's client and this checkout of Seafloor; likewise."""
    return python_with(REQUIREMENTS, checkout=ROOT)


def autolog_python() -> Path:
    """The Python with mlflow's client, xgboost and lightgbm; likewise."""
    return python_with(AUTOLOG_REQUIREMENTS)


def torch_python() -> Path:
    """The Python with mlflow's client, lightning and transformers; likewise."""
    return python_with(TORCH_REQUIREMENTS)


def python_with(requirements: Path, *, checkout: Path | None = None) -> Path:
    """The Python of an environment of requirements, and of a checkout of ours; likewise."""
    made_of = requirements.read_bytes() + sys.version.encode()
    if checkout is not None:
        made_of += str(checkout).encode() + (checkout / "pyproject.toml").read_bytes()
    wanted = hashlib.sha256(made_of).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "seafloor-tests"
    folder = cache / f"mlflow-{wanted}"
    folder.mkdir(parents=True, exist_ok=True)
    python, whole = folder / "venv" / "bin" / "python", folder / "whole"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not whole.exists():
            shutil.rmtree(folder / "venv", ignore_errors=True)
            _uv("venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
            more = [] if checkout is None else ["-e", str(checkout)]
            _uv(
                "pip", "install", "--quiet", "--python", str(python), "-r", str(requirements), *more
            )
            whole.touch()
    return python


def _uv(*arguments: str) -> None:
    clean = {k: v for k, v in os.environ.items() if k not in ("VIRTUAL_ENV", "PYTHONPATH")}
    clean["SEAFLOOR_SKIP_WEB"] = "1"
    # A folder of wheels that pip is told of may have torch without CUDA's gigabytes.
    if "PIP_FIND_LINKS" in clean:
        clean.setdefault("UV_FIND_LINKS", clean["PIP_FIND_LINKS"])
    done = subprocess.run(
        [find_uv_bin(), *arguments],
        env=clean,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


class MlflowClientProcess:
    """A process with mlflow in it that runs scenarios, one after the other."""

    def __init__(
        self, python: Path, url: str, work: Path, *, scenarios: Path = SCENARIOS, **env: str
    ) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SEAFLOOR_"))}
        self._log = (work / "mlflow.log").open("wb")
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", str(scenarios)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            cwd=work,
            env={
                **kept,
                "MLFLOW_TRACKING_URI": url,
                "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
                "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "MPLCONFIGDIR": str(work),
                "OMP_NUM_THREADS": "1",
                **env,
            },
        )

    def run(self, scenario: str, **arguments: Any) -> Any:
        """Run a scenario and give what it returns; what it raises is an AssertionError here."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        ask = json.dumps({"scenario": scenario, "arguments": arguments})
        self._process.stdin.write(ask.encode() + b"\n")
        self._process.stdin.flush()
        while line := self._process.stdout.readline():
            if line.startswith(b"@answer "):  # mlflow prints addresses of its pages in between
                answer = json.loads(line[8:])
                assert "error" not in answer, answer["error"]
                return answer["result"]
        raise AssertionError(f"the client ended with {self._process.wait()}")

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)
        self._process.stdout.close()
        self._log.close()


@dataclass(frozen=True)
class PluginUser:
    """A user on this machine whose scripts use mlflow and log through the plugin.

    Args:
        work: Where his scripts run.
        url: Of the server.
        home: His ``SEAFLOOR_HOME``; None: below ``work``.
    """

    work: Path
    url: str
    home: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Of his processes."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SEAFLOOR_"))}
        return {
            **kept,
            "MLFLOW_TRACKING_URI": f"seafloor+{self.url}",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "SEAFLOOR_HOME": str(self.home or self.work / "home"),
            "SEAFLOOR_URL": self.url,
        }

    def script(self, code: str, *arguments: str, **env: str) -> subprocess.Popen[str]:
        """Start a script, with more patience at its end than a user's: the machine may be busy."""
        return subprocess.Popen(
            [str(plugin_python()), "-W", "ignore", "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.work,
            env={**self.environment, "SEAFLOOR_EXIT_WAIT_S": "100", **env},
        )

    def sync(self) -> list[str]:
        """Run ``seafloor sync``; the states of the runs that waited."""
        done = subprocess.run(
            [sys.executable, "-m", "seafloor.cli", "--json", "sync"],
            capture_output=True,
            text=True,
            timeout=200,
            env=self.environment,
            check=False,
        )
        return [report["state"] for report in json.loads(done.stdout)["items"]]

    @property
    def waiting(self) -> list[Path]:
        """Write-ahead files that wait."""
        return sorted((self.home or self.work / "home").glob("spool/*/*.wal"))


def run_programs(url: str, work: Path, *names: str) -> dict[str, Any]:
    """Run the programs of ``mlflow_programs`` against a server; their outcomes by name."""
    work.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SEAFLOOR_"))}
    with (work / "programs.log").open("wb") as log:
        done = subprocess.run(
            [
                *(str(server_python()), "-W", "ignore", "-m", "mlflow_programs"),
                *(str(work / "outcomes.json"), *names),
            ],
            stdout=log,
            stderr=log,
            cwd=work,
            timeout=PROGRAMS_TIMEOUT_S,
            check=False,
            env={
                **kept,
                "PYTHONPATH": str(Path(__file__).parent),
                "MLFLOW_TRACKING_URI": url,
                "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
                "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "OMP_NUM_THREADS": "1",
            },
        )
    assert done.returncode == 0, (work / "programs.log").read_text()[-3000:]
    return json.loads((work / "outcomes.json").read_bytes())


@contextmanager
def mlflow_server(folder: Path, *more: str, store: str | None = None) -> Iterator[str]:
    """Run a real ``mlflow server`` at its best, one worker and no jobs; its address.

    ``store`` is where its runs are; None: a database in the folder. ``more`` are options.
    """
    port = free_port()  # it listens there only after seconds: it must be nobody's meanwhile
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "SEAFLOOR_"))}
    command = [
        *(str(server_python()), "-m", "mlflow", "server", "--port", str(port), "--workers", "1"),
        *("--backend-store-uri", store or f"sqlite:///{folder}/mlflow.db"),
        *("--artifacts-destination", str(folder / "artifacts")),
        # It would close a connection that was idle for five seconds, maybe as a request comes.
        *("--uvicorn-opts", "--timeout-keep-alive 600"),
        *more,
    ]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            cwd=folder,
            start_new_session=True,
            env={
                **kept,
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
                "MLFLOW_ALLOW_FILE_STORE": "true",
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
        )
    pool = urllib3.PoolManager(retries=False, timeout=5.0)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
        try:
            return pool.request("GET", f"{url}/health").status == 200
        except urllib3.exceptions.HTTPError:
            return False

    try:
        wait_for(answers, what="the mlflow server", timeout_s=300)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        pool.clear()
