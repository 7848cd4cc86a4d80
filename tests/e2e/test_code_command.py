"""``seafloor code checkout`` and ``seafloor code diff``, against a real server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from archive_corpus import item, tar
from client_process import Client
from git_world import Repository, tree_of
from live_server import LiveServer
from seafloor.code.removal import remove_tree


@pytest.fixture
def user(tmp_path: Path, shared_server: LiveServer) -> Client:
    return Client(tmp_path / "home", shared_server.url)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
    made = Repository.create(tmp_path / "digits")
    made.commit({"train.py": "print(1)\n", "lib/model.py": "x = 1\ny = 2\n", "old.py": "gone\n"})
    return made


def launched(user: Client, folder: Path, *options: str) -> str:
    run = user.json("run", *options, "--", sys.executable, "-c", "pass", cwd=folder)
    assert run["state"] == "succeeded"
    return str(run["id"])


def changed(repository: Repository) -> None:
    repository.write({"lib/model.py": "x = 3\ny = 2\n", "new.bin": b"\0\1"})
    (repository.path / "old.py").unlink()


def test_code_checkout__snapshot__is_what_ran_though_the_folder_changed(
    user: Client, repository: Repository, tmp_path: Path
) -> None:
    expected = tree_of(repository.path)
    run = launched(user, repository.path)
    changed(repository)

    done = user.cli("code", "checkout", run, "--to", str(tmp_path / "again"))

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(tmp_path / "again/digits")
    assert tree_of(tmp_path / "again/digits") == expected
    receipt = json.loads((tmp_path / "again/.receipt.json").read_text())
    assert receipt["kind"] == "snapshot"


def test_code_checkout__git_and_no_folder_given__is_named_after_the_run(
    user: Client, repository: Repository, tmp_path: Path
) -> None:
    commit = repository.head
    run = launched(user, tmp_path, "--git", str(repository.path), "--name", "a run/1")
    repository.commit({"later.py": ""})

    found = user.json("code", "checkout", run, cwd=tmp_path)

    assert found["path"] == str(tmp_path / "a-run-1/digits")
    assert found["code"]["commit"] == commit
    assert not (tmp_path / "a-run-1/digits/later.py").exists()


def test_code_checkout__archive__is_held_to_the_digest_that_the_run_had(
    user: Client, tmp_path: Path
) -> None:
    archive = tmp_path / "digits.tar"
    archive.write_bytes(tar(item("train.py", b"first")))
    spec = tmp_path / "spec.yaml"
    spec.write_text(
        f"experiment:\n  name: x\n  command: 'true'\n  code: {{sync_mode: file, "
        f"url: 'file://{archive}'}}\n"
    )
    run = user.json("run", "-f", str(spec), cwd=tmp_path)["id"]
    there = user.json("code", "checkout", run, "--to", str(tmp_path / "there"))
    archive.write_bytes(tar(item("train.py", b"other")))

    gone = user.cli(
        "code",
        "checkout",
        run,
        "--to",
        str(tmp_path / "gone"),
        SEAFLOOR_DATA=str(tmp_path / "empty"),
    )

    assert Path(there["path"], "train.py").read_bytes() == b"first"
    assert gone.returncode == 6
    assert not (tmp_path / "gone/digits").exists()


def test_code_checkout__folder_with_something_in_it__is_left_alone(
    user: Client, repository: Repository, tmp_path: Path
) -> None:
    run = launched(user, repository.path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").write_text("mine")

    done = user.cli("code", "checkout", run, "--to", str(tmp_path / "full"))

    assert done.returncode == 4
    assert "not empty" in done.stderr
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_code_checkout__after_one_that_was_killed__is_repeated(
    user: Client, repository: Repository, tmp_path: Path
) -> None:
    run = launched(user, repository.path)
    folder = tmp_path / "again"
    half = folder / ".localize-partial-0123abcd"
    half.mkdir(parents=True)
    (half / "train.py").write_text("pri")
    (folder / ".localize.lock").touch()

    done = user.cli("code", "checkout", run, "--to", str(folder))

    assert done.returncode == 0, done.stderr
    assert tree_of(folder / "digits") == tree_of(repository.path)
    assert not half.exists()


def test_code_checkout__on_the_servers_own_folder__keeps_what_the_server_would(
    repository: Repository, tmp_path: Path
) -> None:
    one_kib = {"SEAFLOOR_CODE__SNAPSHOTS_SIZE_MAX_GIB": str(2**-20)}
    server = LiveServer(tmp_path / "data", env=one_kib).start()
    try:
        user = Client(tmp_path / "home", server.url)
        runs = [launched(user, repository.path)]
        repository.write({"noise": os.urandom(2000)})
        runs.append(launched(user, repository.path))
        kept = server.data / "cache/snapshots"
        remove_tree(kept)

        for run in runs:
            command = ("--data", str(server.data), "code", "checkout", run)
            done = user.cli(*command, "--to", str(tmp_path / run))
            assert done.returncode == 0, done.stderr

        # The newest stays, however large it is.
        assert len(list(kept.glob("*.tar.zst"))) == 1
    finally:
        server.stop()


def test_code_diff__settings_of_the_users_own_repositories__change_nothing(
    user: Client, repository: Repository, tmp_path: Path
) -> None:
    first = launched(user, repository.path)
    changed(repository)
    second = launched(user, repository.path)
    expected = user.cli("code", "diff", first, second).stdout
    settings = tmp_path / "settings"
    settings.write_text(
        "[diff]\n\torderFile = order\n\trelative = true\n\tmnemonicPrefix = true\n"
        "\texternal = /bin/false\n[core]\n\tattributesFile = ~/attributes\n"
    )
    (user.home / "attributes").write_text("* -diff\n")

    done = user.cli(
        "code", "diff", first, second, GIT_CONFIG_GLOBAL=str(settings), HOME=str(user.home)
    )

    assert (done.returncode, done.stdout) == (0, expected), done.stderr


def test_code_diff__no_git_on_this_machine__says_so(user: Client, repository: Repository) -> None:
    first = launched(user, repository.path)
    changed(repository)
    second = launched(user, repository.path)

    done = user.cli("code", "diff", first, second, PATH="/nonexistent")

    assert done.returncode == 6
    assert "git is not installed" in done.stderr


def test_code_diff__snapshot_and_commit__shows_what_differs(
    user: Client, repository: Repository
) -> None:
    first = launched(user, repository.path, "--git", str(repository.path))
    changed(repository)
    second = launched(user, repository.path)

    patch = user.cli("code", "diff", first, second)
    stat = user.cli("code", "diff", "--stat", first, second)
    found = user.json("code", "diff", first, second)

    assert patch.returncode == 0, patch.stderr
    assert "-x = 1\n+x = 3\n" in patch.stdout
    assert "a/old.py" in patch.stdout
    assert ".git" not in stat.stdout
    assert "3 files changed" in stat.stdout
    assert found["files"] == [
        {"path": "lib/model.py", "added": 1, "removed": 1},
        {"path": "new.bin", "added": None, "removed": None},
        {"path": "old.py", "added": 0, "removed": 1},
    ]


def test_code_diff__same_content_of_two_kinds__says_so(
    user: Client, repository: Repository
) -> None:
    first = launched(user, repository.path, "--git", str(repository.path))
    second = launched(user, repository.path)

    for other in (first, second):
        done = user.cli("code", "diff", first, other)
        assert (done.returncode, done.stdout) == (0, "")
        assert "the same code" in done.stderr
    assert user.json("code", "diff", first, second)["files"] == []


def test_code_diff__one_commit_of_which_a_run_had_a_part__shows_the_rest(
    user: Client, repository: Repository, tmp_path: Path
) -> None:
    whole = launched(user, repository.path, "--git", str(repository.path))
    spec = tmp_path / "part.yaml"
    code = f"{{sync_mode: git, url: '{repository.path}', sparse: [train.py, lib]}}"
    spec.write_text(f"experiment:\n  name: part\n  command: 'true'\n  code: {code}\n")
    part = user.json("run", "-f", str(spec), cwd=tmp_path)["id"]

    found = user.json("code", "diff", whole, part)

    assert found["files"] == [{"path": "old.py", "added": 0, "removed": 1}]


def test_code_diff__run_without_code__says_so(user: Client, repository: Repository) -> None:
    first = launched(user, repository.path)
    made = user.run_script(
        "import seafloor\nwith seafloor.start_run(experiment='outside') as run: print(run.id)"
    )

    done = user.cli("code", "diff", first, made.stdout.strip())

    assert done.returncode == 3
    assert "no code that is kept" in done.stderr
