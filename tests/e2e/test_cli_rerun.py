"""``seafloor rerun`` and ``seafloor reproduce``, against a real server."""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from client_process import Client
from git_world import Repository
from live_server import LiveServer


@pytest.fixture
def user(tmp_path: Path, shared_server: LiveServer) -> Client:
    return Client(tmp_path / "home", shared_server.url)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "train.py").write_text("import os, sys\nprint(sys.argv[1:], os.environ.get('A'))\n")
    return folder


def launched(user: Client, folder: Path, *options: str) -> dict[str, object]:
    command = [sys.executable, "train.py", "--lr", "0.5", "--note", "two words"]
    run: dict[str, object] = user.json("run", *options, "--", *command, cwd=folder)
    assert run["state"] == "succeeded"
    return run


def test_rerun__with_changes__only_they_differ(user: Client, folder: Path) -> None:
    first = launched(user, folder, "--param", "lr=0.5", "--param", "seed=1", "-e", "A=b")
    (folder / "train.py").write_text("raise SystemExit('this is not what ran')\n")
    done = user.cli("rerun", str(first["id"]), "--with", "lr=0.25", "--with", "A=it's")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "['--lr', '0.25', '--note', 'two words'] it's\n"
    again = user.json("runs", "show", "@last")["run"]
    assert again["id"] != first["id"]
    assert again["code"] == first["code"]
    assert again["params"] == {"lr": "0.25", "seed": "1"}
    assert again["tags"]["seafloor.rerun_of"] == first["id"]
    assert "Python it was given" in done.stderr


def test_rerun__of_a_rerun__keeps_the_change(user: Client, folder: Path) -> None:
    first = launched(user, folder)
    second = user.json("rerun", str(first["id"]), "--with", "note=x y")
    third = user.cli("rerun", str(second["id"]))
    assert third.stdout == "['--lr', '0.5', '--note', 'x y'] None\n"


def test_rerun__a_name_that_it_does_not_have__nothing_is_submitted(
    user: Client, folder: Path
) -> None:
    first = launched(user, folder)
    done = user.cli("rerun", str(first["id"]), "--with", "lrr=1")
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: --with: " in done.stderr
    assert 'Did you mean "lr"?' in done.stderr
    assert user.json("runs", "show", "@last")["run"]["id"] == first["id"]


@pytest.mark.parametrize(
    "changes",
    [("lr=1", "lr=2"), ("learning-rate=1", "learning_rate=2")],
    ids=["one name", "one option"],
)
def test_rerun__one_name_with_two_values__nothing_is_submitted(
    user: Client, folder: Path, changes: tuple[str, str]
) -> None:
    command = [sys.executable, "train.py", "--lr", "0.5", "--learning-rate", "1"]
    first = user.json("run", "--", *command, cwd=folder)
    done = user.cli("rerun", first["id"], "--with", changes[0], "--with", changes[1])
    assert (done.returncode, done.stdout) == (2, "")
    assert "which is meant?" in done.stderr
    assert user.json("runs", "show", "@last")["run"]["id"] == first["id"]


def test_rerun__tracked_run__says_who_can(user: Client) -> None:
    made = user.run_script(
        "import seafloor\nwith seafloor.start_run(experiment='outside') as run: print(run.id)"
    )
    assert made.returncode == 0, made.stderr
    done = user.cli("rerun", made.stdout.strip())
    assert done.returncode == 4
    assert "started by a program of its own" in done.stderr
    told = user.cli("reproduce", made.stdout.strip(), "--json")
    assert told.returncode == 1
    assert {part["part"]: part["exact"] for part in json.loads(told.stdout)["parts"]} == {
        "code": "no",
        "environment": "no",
        "command": "no",
        "data": "unproven",
    }


def test_reproduce__commit_is_gone__says_so(user: Client, tmp_path: Path) -> None:
    repository = Repository.create(tmp_path / "repository")
    repository.commit({"train.py": "print('here')\n"})
    address = str(repository.path)
    run = user.json("run", "--git", address, "--", sys.executable, "repository/train.py")
    assert run["state"] == "succeeded"

    def parts() -> dict[str, list[str]]:
        told = user.cli("reproduce", run["id"], "--json")
        assert told.returncode == 1, told.stderr  # it had no environment
        found = json.loads(told.stdout)
        assert found["run"] == run["id"]
        return {part["part"]: [part["exact"], part["why"]] for part in found["parts"]}

    before = parts()
    assert {name: exact for name, (exact, _) in before.items()} == {
        "code": "yes",
        "environment": "no",
        "command": "yes",
        "data": "unproven",
    }
    shutil.rmtree(repository.path)
    exact, why = parts()["code"]
    assert exact == "no"
    assert run["code"]["commit"][:12] in why


def test_reproduce__commit_in_the_cache_of_this_machine__can_be_had_from_there(
    user: Client, tmp_path: Path
) -> None:
    repository = Repository.create(tmp_path / "repository")
    repository.commit({"train.py": "print('here')\n"})
    command = (sys.executable, "repository/train.py")
    run = user.json("run", "--git", str(repository.path), "--", *command)
    checked_out = user.cli("code", "checkout", run["id"], "--to", str(tmp_path / "copy"))
    assert checked_out.returncode == 0, checked_out.stderr
    shutil.rmtree(repository.path)

    (code,) = _code(user, run["id"])
    assert code["exact"] == "yes"
    assert "in its cache" in code["why"]
    again = user.cli("code", "checkout", run["id"], "--to", str(tmp_path / "again"))
    assert again.returncode == 0, again.stderr


def test_reproduce__what_else_the_run_had_is_gone__is_no_word_on_its_code(
    user: Client, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "code.tgz", "w:gz") as archive:
        archive.add(__file__, "code/train.py")
    (tmp_path / "none.txt").write_text("")
    assert user.cli("env", "create", "passing", "-r", str(tmp_path / "none.txt")).returncode == 0
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        "experiment:\n  name: archived\n  environment: passing\n"
        f"  code: {{sync_mode: file, url: {tmp_path}/code.tgz}}\n  command: 'true'\n"
    )
    created = user.json("run", "-f", str(spec), "--detach")
    user.json("runs", "stop", created["id"])
    assert user.cli("env", "rm", "passing").returncode == 0

    (code,) = _code(user, created["id"])
    assert (code["exact"], code["why"]) == ("yes", f"file://{tmp_path}/code.tgz is unchanged.")


def _code(user: Client, run: str) -> list[dict[str, str]]:
    told = json.loads(user.cli("reproduce", run, "--json").stdout)
    return [part for part in told["parts"] if part["part"] == "code"]
