"""``seafloor plan --policy``: what a spec would be in a cluster, and what has changed since."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from client_process import Client
from git_world import GitServer, Repository, copy_as_served, git
from live_server import LiveServer

IMAGE = "registry.example.com/ml@sha256:" + "0" * 64
POLICY = f"""
namespaces: [ml]
environments: {{team-default-ml-env: {{image: "{IMAGE}"}}}}
secrets: ["team*"]
"""
PLAN = ("plan", "-f", "train.yaml", "--policy", "policy.yaml")


class Job:
    """A repository on a server, and a folder with a spec of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._repository = Repository.create(root / "training-job")
        self.head = self._repository.commit({"train.py": "print(1)\n"})
        self._served = copy_as_served(self._repository, root / "served", "training-job.git")
        self.url = ""
        (root / "policy.yaml").write_text(POLICY)

    def commit(self) -> str:
        """Another commit, on the server."""
        self.head = self._repository.commit({"more.py": "print(2)\n"})
        git(self._repository.path, "push", "--quiet", str(self._served), "main")
        return self.head

    def write(self, text: str) -> None:
        """The spec, whose code is this repository."""
        code = f'  code: {{sync_mode: git, url: "{self.url}", ref: main}}\n'
        (self.root / "train.yaml").write_text(f"experiment:\n  name: digits\n{code}{text}")


@pytest.fixture
def job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Job]:
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
    made = Job(tmp_path)
    with GitServer(tmp_path / "served") as running:
        made.url = f"{running.url}/training-job.git"
        yield made


IN_A_CLUSTER = """\
  environment: team-default-ml-env
  command: python training-job/train.py
  resources: {gpu: 1}
  secrets: {GIT_TOKEN: team/git-token}
  env: {API_TOKEN: "of-the-test"}
"""


def test_plan__for_a_cluster_without_a_server__says_images_secrets_and_what_is_fetched(
    job: Job, tmp_path: Path
) -> None:
    job.write(IN_A_CLUSTER)
    user = Client(tmp_path / "home")
    done = user.cli(*PLAN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for said in (
        "namespace ml",
        f"{IMAGE}  (main)",
        f"commit {job.head} of {job.url}  by one pod: its size is known once it is fetched",
        "team (git-token) for GIT_TOKEN",
        "nvidia.com/gpu 1",
        "by tag: it may be another tomorrow",  # git-sync
    ):
        assert said in done.stdout
    assert "env.API_TOKEN looks like a secret" in done.stderr
    assert "of-the-test" not in done.stdout + done.stderr
    assert "difference" not in done.stdout


def test_plan__for_a_cluster_after_a_run__says_what_changed_and_about_how_large_it_is(
    job: Job, tmp_path: Path, server: LiveServer
) -> None:
    user = Client(tmp_path / "home", server.url)
    job.write(f"  command: [{sys.executable}, training-job/train.py]\n")
    ran: dict[str, Any] = json.loads(
        user.cli("run", "-f", "train.yaml", "--json", cwd=tmp_path).stdout
    )
    assert ran["state"] == "succeeded"
    before = job.head

    (tmp_path / "policy.yaml").write_text(f'{POLICY}images: {{default: "{IMAGE}"}}\n')
    done = user.cli(*PLAN, cwd=tmp_path)
    assert done.stdout.endswith("ago)\n  nothing\n"), done

    job.write(IN_A_CLUSTER)
    made = json.loads(user.cli(*PLAN, "--json", cwd=tmp_path).stdout)
    assert made["last_run"]["id"] == ran["id"]
    changes = {one["field"]: (one["before"], one["after"]) for one in made["differences"]}
    assert changes["environment"] == (None, "team-default-ml-env")
    assert changes["resources.gpu"] == (None, "1")
    assert changes["command"][1] == "python training-job/train.py"
    assert not any(field.startswith("code") for field in changes)
    (fetch,) = made["manifests"]["fetches"]
    assert fetch["size_bytes"] == len("print(1)\n")
    assert fetch["basis"].startswith("this commit in run ")

    after = job.commit()
    done = user.cli(*PLAN, cwd=tmp_path)
    assert f"code.commit: {before} → {after}" in done.stdout
    assert f"about 9 B ({before[:12]} in run {ran['id'][:12]}, checked out)" in done.stdout
    assert len(server.get("/api/v1/runs")["items"]) == 1


@pytest.mark.parametrize(
    ("spec", "more", "code", "said"),
    [
        (IN_A_CLUSTER.replace("team/git", "other/git"), (), 7, "secrets"),
        (IN_A_CLUSTER, ("--retries-not", "1"), 2, "No such option"),
        (IN_A_CLUSTER, ("--env", "x"), 2, "give a spec by -f"),
        (IN_A_CLUSTER, ("-n", "other"), 7, "namespaces"),
    ],
)
def test_plan__that_is_refused__is_one_line_and_an_exit_code(
    job: Job, tmp_path: Path, spec: str, more: tuple[str, ...], code: int, said: str
) -> None:
    job.write(spec)
    done = Client(tmp_path / "home").cli(*PLAN, *more, cwd=tmp_path)
    assert done.returncode == code, done
    assert said in done.stderr
    assert done.stdout == ""
