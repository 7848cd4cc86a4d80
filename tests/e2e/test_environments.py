"""Environments as users make them: from files of other tools, compared, frozen."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from client_process import Client
from conda_channel import PLACEHOLDER, CondaChannel
from live_server import LiveServer


@pytest.fixture
def user(tmp_path: Path, shared_server: LiveServer) -> Client:
    return Client(tmp_path / "home", shared_server.url)


def unique(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def test_environment_yml__conda_and_pip_from_a_channel_in_a_folder__runs(
    user: Client, tmp_path: Path
) -> None:
    channel = CondaChannel(tmp_path / "channel")
    channel.add_python()
    channel.add("krill", "1.5", {"site-packages/krill.py": b"size = 3\n"},
                depends=["python"], noarch="python")  # fmt: skip
    channel.add("where", "0.1", {"bin/where": f"#!/bin/sh\necho {PLACEHOLDER}\n".encode()})
    channel.index()
    name = unique("whales")
    file = tmp_path / "environment.yml"
    file.write_text(
        f"name: {name}\nchannels: [{channel.address}]\n"
        "dependencies: [krill, where, {pip: [six==1.17.0]}]\n"
    )
    made = user.json("env", "create", "-f", str(file))
    assert made["reference"] == f"{name}@1"
    script = "import krill, six, sys; print(krill.size, six.__version__, sys.prefix)"
    done = user.cli(
        "run",
        "--env",
        name,
        "--",
        "sh",
        "-c",
        f'python -c "{script}" && where && echo $CONDA_PREFIX',
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    first, where, prefix = done.stdout.splitlines()
    assert first == f"3 1.17.0 {where}"
    assert prefix == where

    parts = user.json("reproduce", "@last")["parts"]
    assert {one["part"]: one["exact"] for one in parts}["environment"] == "yes"

    # Another channel content is another version; runs and versions can be compared.
    channel.add("krill", "2.0", {"site-packages/krill.py": b"size = 4\n"},
                depends=["python"], noarch="python")  # fmt: skip
    channel.index()
    assert user.json("env", "create", "-f", str(file))["reference"] == f"{name}@2"
    compared = user.json("env", "diff", "@last", name)
    assert compared["environments"] == [f"{name}@1", f"{name}@2"]
    assert compared["differences"] == [
        {"kind": "conda", "name": "krill", "before": "1.5 0", "after": "2.0 0"}
    ]
    said = user.cli("env", "diff", f"{name}@1", f"{name}@1")
    assert said.returncode == 0
    assert "same packages" in said.stderr


def test_diff__of_nothing_there__names_the_environment(user: Client) -> None:
    done = user.cli("env", "diff", "nobody-has-this", "nor-this")
    assert done.returncode != 0
    assert 'There is no environment "nobody-has-this"' in done.stderr


def test_freeze__a_python_with_a_package_and_a_folder__creates_what_can_be_had_again(
    user: Client, tmp_path: Path
) -> None:
    folder = tmp_path / "edited"
    folder.mkdir()
    (folder / "pyproject.toml").write_text('[project]\nname = "edited"\nversion = "0.1"\n')
    venv = tmp_path / "venv"
    uv = Path(sys.executable).with_name("uv")
    for command in (
        ["venv", "--quiet", "--python", sys.executable, str(venv)],
        ["pip", "install", "--quiet", "--python", str(venv / "bin/python"), "six==1.17.0"],
    ):
        subprocess.run([uv, *command], check=True, capture_output=True)
    site = next(venv.glob("lib/python*/site-packages"))
    info = site / "edited-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: edited\nVersion: 0.1\n")
    (info / "direct_url.json").write_text(
        json.dumps({"url": folder.as_uri(), "dir_info": {"editable": True}})
    )

    name = unique("frozen")
    python = ("--python", str(venv / "bin/python"))
    refused = user.cli("env", "freeze", name, *python, "--strict")
    assert refused.returncode != 0
    assert "edited" in refused.stderr
    shown = user.json("env", "freeze", name, *python, "--dry-run")
    assert (shown["spec"]["pip"], shown["left_out"]) == (["six==1.17.0"], ["edited"])
    done = user.cli("env", "freeze", name, *python)
    assert done.returncode == 0, done.stderr
    assert f"{name}@1" in done.stdout
    assert "Left out, since no other machine can get it: edited" in done.stderr
    assert user.json("env", "show", name)["environment"]["lock"].startswith("six==1.17.0 --hash=")
