"""The program of a kubeconfig that gives tokens, asked by many at once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import httpx2
import pytest
from lightkube.config.models import UserExec

from live_server import wait_for
from seafloor.agent.processes import process
from seafloor.launch.kubernetes import exec_credentials
from seafloor.launch.kubernetes.exec_credentials import VERSIONS, CredentialsError, ExecCredentials

PROGRAM = """
import pathlib, sys, time
runs = pathlib.Path(sys.argv[1])
runs.write_text(runs.read_text() + "x")
time.sleep(0.3)  # as one that asks a server
sys.exit("log in first")
"""


async def test_auth__program_gives_nothing_to_many_who_wait__ran_once_for_all_of_them(
    tmp_path: Path,
) -> None:
    runs = tmp_path / "runs"
    runs.touch()
    asked = UserExec(
        apiVersion=VERSIONS[0], command=sys.executable, args=["-c", PROGRAM, str(runs)]
    )
    credentials = ExecCredentials(asked, None)

    async def ask() -> None:
        with pytest.raises(CredentialsError, match="log in first"):
            await anext(credentials.async_auth_flow(httpx2.Request("GET", "https://cluster/")))

    await asyncio.gather(*(ask() for _ in range(5)))
    assert runs.read_text() == "x"
    await ask()  # somebody who comes later may find it mended
    assert runs.read_text() == "xx"


async def test_auth__script_whose_child_hangs__is_ended_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    child = tmp_path / "child"
    script = f"sleep 300 & echo $! > {child}; wait"
    asked = UserExec(apiVersion=VERSIONS[0], command="sh", args=["-c", script])
    within_s = 0.25
    while not (child.exists() and child.read_text()):  # a busy shell may take longer to begin
        within_s *= 2
        assert within_s < 60, "it began no child"
        monkeypatch.setattr(exec_credentials, "TIMEOUT_S", within_s)
        credentials = ExecCredentials(asked, None)
        async with asyncio.timeout(120):
            with pytest.raises(CredentialsError, match="did not end within"):
                await anext(credentials.async_auth_flow(httpx2.Request("GET", "https://cluster/")))

    def is_over() -> bool:
        found = process(int(child.read_text()))
        return found is None or found.state == "Z"

    wait_for(is_over, what="the end of the child")
