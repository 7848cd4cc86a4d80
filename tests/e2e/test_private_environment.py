"""An environment from a private index, from the settings to the run: the secret is nowhere else."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from client_process import Client
from live_server import LiveServer
from private_index import CANARY, assert_nowhere, guarded, simple_index
from seafloor.stores.secrets.folder import SECRETS_FOLDER, FolderSecrets


def _wheel(folder: Path) -> Path:
    path = folder / "whale-2.0-py3-none-any.whl"
    info = "whale-2.0.dist-info"
    files = {
        "whale.py": "size = 30\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: whale\nVersion: 2.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/RECORD": f"whale.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def test_run__environment_of_a_private_index__works_and_shows_no_secret(tmp_path: Path) -> None:
    simple_index(tmp_path / "site", _wheel(tmp_path))
    data, work = tmp_path / "data", tmp_path / "work"
    work.mkdir()
    secrets = FolderSecrets(data / SECRETS_FOLDER)
    for key, value in (("hosts", "127.0.0.1"), ("username", "captain"), ("password", CANARY)):
        secrets.put("nexus", key, value.encode())
    with guarded(tmp_path / "site") as index:
        settings = {
            "SEAFLOOR_ENVIRONMENTS__INDEX_URL": f"{index.url}/simple",
            "SEAFLOOR_ENVIRONMENTS__SECRETS": "nexus",
            "SEAFLOOR_SERVER__LOG_LEVEL": "debug",
        }
        server = LiveServer(data, env=settings).start()
        try:
            user = Client(tmp_path / "home", server.url)
            made = user.json("env", "create", "sea", "--pip", "whale")
            done = user.cli(
                "run", "--env", "sea", "--", "sh", "-c",
                "env && python -c 'import whale; print(whale.size)'", cwd=work,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            assert "30" in done.stdout.splitlines()
            refused = user.cli("env", "create", "sky", "--pip", "no-such-thing")
            assert refused.returncode != 0
            shown = [user.json("env", "show", "sea"), user.json("config", "show")]
        finally:
            server.stop()
        for key in secrets.get("nexus"):
            (data / SECRETS_FOLDER / "nexus" / key).unlink()
        assert any(said for _, said in index.asked)
        told = (done.stdout, done.stderr, refused.stdout, refused.stderr)
        assert_nowhere(data, index, json.dumps([made, *shown]), *told)
