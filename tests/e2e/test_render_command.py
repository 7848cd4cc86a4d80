"""``seafloor render``: a spec in, YAML out, with no cluster; what it names can be fetched."""

from __future__ import annotations

import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.services._service import Service

from archive_world import ArchiveServer, Served, sha256_of
from client_process import Client
from git_world import GitServer, Repository, copy_as_served
from live_server import LiveServer
from registry_world import push
from seafloor.boot.render import load_policy
from seafloor.domain.errors import InvalidValue

IMAGE = "registry.example.com/ml@sha256:" + "0" * 64
POLICY = f"""
namespaces: [ml]
environments: {{team-default-ml-env: {{image: "{IMAGE}"}}}}
"""


class Desk:
    """A folder with specs, and a user in it."""

    def __init__(self, root: Path, url: str = "") -> None:
        self.root = root
        self.client = Client(root / "home", url)
        self.write("policy.yaml", POLICY)

    def write(self, name: str, text: str) -> None:
        (self.root / name).write_text(text, encoding="utf-8")

    def render(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = self.client.cli("render", *arguments, cwd=self.root)
        assert done.returncode == code, done
        if code:
            assert done.stdout == ""
            assert len(done.stderr.splitlines()) == 1, done.stderr
        return done

    def manifests(self, *arguments: str) -> list[dict[str, Any]]:
        return list(yaml.safe_load_all(self.render(*arguments).stdout))


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str]]:
    """Address and head of a repository on a server."""
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@example.com")
    repository = Repository.create(tmp_path / "training-job")
    head = repository.commit({"train.py": "print(1)\n"})
    copy_as_served(repository, tmp_path / "served", "training-job.git")
    with GitServer(tmp_path / "served") as running:
        yield f"{running.url}/training-job.git", head


def spec_of(url: str) -> str:
    return f"""
experiment:
  name: digits
  environment: team-default-ml-env
  code: {{sync_mode: git, url: "{url}", ref: main}}
  command: python training-job/train.py
  resources: {{gpu: 1}}
  secrets: {{GIT_TOKEN: team/git-token}}
  env: {{API_TOKEN: hunter2}}
"""


def test_render__of_a_git_run__names_the_commit_and_is_the_same_again(
    tmp_path: Path, served: tuple[str, str]
) -> None:
    url, head = served
    desk = Desk(tmp_path)
    desk.write("train.yaml", spec_of(url))
    first = desk.render("-f", "train.yaml", "--policy", "policy.yaml")
    again = desk.render("-f", "train.yaml", "--policy", "policy.yaml")
    assert first.stdout == again.stdout
    anchor, pod = yaml.safe_load_all(first.stdout)
    assert (anchor["kind"], pod["kind"]) == ("ConfigMap", "Pod")
    assert pod["metadata"]["namespace"] == "ml"
    assert f"--ref={head}" in pod["spec"]["initContainers"][0]["args"]
    assert f"--repo={url}" in pod["spec"]["initContainers"][0]["args"]
    assert "env.API_TOKEN looks like a secret" in first.stderr
    assert "hunter2" not in first.stderr


def test_render__with_our_localizer__what_the_pod_is_told_brings_the_code(
    tmp_path: Path, served: tuple[str, str]
) -> None:
    url, _ = served
    desk = Desk(tmp_path)
    desk.write("train.yaml", spec_of(url))
    desk.write("policy.yaml", POLICY + "images: {seafloor: s:1}\ngit: {localizer: seafloor}\n")
    _, pod = desk.manifests("-f", "train.yaml", "--policy", "policy.yaml")
    _fetch(desk, pod)
    assert (tmp_path / "code/training-job/train.py").read_text() == "print(1)\n"


def test_render__of_a_working_folder__what_the_pod_is_told_brings_it(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    desk = Desk(tmp_path, shared_server.url)
    (tmp_path / "work").mkdir()
    desk.write("work/train.py", "print(2)\n")
    body = "name: a\n  environment: team-default-ml-env\n  command: python train.py\n"
    desk.write("run.yaml", f"experiment:\n  {body}  code: {{sync_mode: local, path: work}}\n")
    desk.write(
        "policy.yaml",
        POLICY + f"images: {{seafloor: s:1}}\nserver: {{url: '{shared_server.url}'}}\n",
    )
    _, pod = desk.manifests("-f", "run.yaml", "--policy", "policy.yaml")
    _fetch(desk, pod)
    (main,) = pod["spec"]["containers"]
    assert main["workingDir"] == "/code/work"
    assert (tmp_path / "code/work/train.py").read_text() == "print(2)\n"


def test_render__with_a_kernel__what_the_pod_is_told_brings_it_before_the_path(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    (tmp_path / "kernel-1/bin").mkdir(parents=True)
    desk.write("kernel-1/bin/tool", "#!/bin/sh\n")
    with tarfile.open(tmp_path / "kernel.tar.gz", "w:gz") as archive:
        archive.add(tmp_path / "kernel-1", "kernel-1")
    content = (tmp_path / "kernel.tar.gz").read_bytes()
    with ArchiveServer() as web:
        web.files["/kernel.tar.gz"] = Served(content)
        kernel = f"{{url: '{web.url}/kernel.tar.gz', sha256: {sha256_of(content)}"
        desk.write(
            "policy.yaml",
            "images: {seafloor: s:1}\nenvironments:\n"
            f"  thick: {{image: '{IMAGE}', kernel: {kernel}, strip_components: 1}}}}\n",
        )
        desk.write("run.yaml", "experiment: {name: a, environment: thick, command: tool}")
        _, pod = desk.manifests("-f", "run.yaml", "--policy", "policy.yaml")
        _fetch(desk, pod, place="/seafloor/environment")
    (main,) = pod["spec"]["containers"]
    path = next(one["value"] for one in main["env"] if one["name"] == "PATH")
    assert path.startswith("/seafloor/environment/kernel/bin:")
    assert (tmp_path / "code/kernel/bin/tool").read_bytes() == b"#!/bin/sh\n"


def _fetch(desk: Desk, pod: dict[str, Any], place: str = "/code") -> None:
    """Run what prepares a pod as it is told to, in a folder in the place of its volume."""
    (one,) = pod["spec"]["initContainers"]
    assert one["command"] == ["seafloor", "localize"]
    code = str(desk.root / "code")
    arguments = [word.replace(f"={place}", f"={code}") for word in one["args"]]
    variables = {env["name"]: env["value"] for env in one["env"]}
    del variables["HOME"]
    done = desk.client.cli("localize", *arguments, cwd=desk.root, **variables)
    assert done.returncode == 0, done


def test_render__of_a_working_folder_without_a_server__says_what_to_do(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("run.yaml", "experiment: {name: a, command: 'true', code: {sync_mode: local}}")
    done = desk.render("-f", "run.yaml", code=2)
    assert "seafloor up" in done.stderr
    assert "sync_mode: git" in done.stderr


def test_render__of_an_environment_of_ones_own__uses_its_image(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write("serve.yaml", "serving: {name: a, environment: mine, command: python serve.py}")
    desk.write("env.yaml", f"environment: {{name: mine, image: '{IMAGE}'}}")
    found = desk.manifests("-f", "serve.yaml", "-f", "env.yaml", "-n", "default")
    assert [one["kind"] for one in found] == ["ConfigMap", "Service", "Deployment"]
    template = found[2]["spec"]["template"]["spec"]
    assert template["containers"][0]["image"] == IMAGE


def test_render__of_an_environment_of_the_server__uses_its_image_with_the_digest(
    tmp_path: Path, shared_server: LiveServer, service: Callable[[str], Service]
) -> None:
    registry = service("docker_registry").url
    digest = push(registry, "team/torch", "2", b"{}")
    desk = Desk(tmp_path, shared_server.url)
    desk.write("env.yaml", f"environment: {{name: kept-image, image: '{registry}/team/torch:2'}}")
    made = desk.client.cli("env", "create", "-f", "env.yaml", cwd=tmp_path)
    assert made.returncode == 0, made
    desk.write("run.yaml", "experiment: {name: a, environment: kept-image@1, command: 'true'}")
    done = desk.render("-f", "run.yaml", "--policy", "policy.yaml", "--json")
    listed = json.loads(done.stdout)
    assert listed["kind"] == "List"
    assert [one["kind"] for one in listed["items"]] == ["ConfigMap", "Pod"]
    (main,) = listed["items"][1]["spec"]["containers"]
    assert main["image"] == f"{registry}/team/torch:2@{digest}"


@pytest.mark.parametrize(
    ("spec", "options", "code", "said"),
    [
        ("experiment: {name: a, comand: x}", (), 2, "run.yaml:1:23: Unknown field"),
        ("environment: {name: a, image: b}", (), 2, "Give one spec"),
        ("experiment: {name: a, command: x}", (), 7, "Rule `images.default`"),
        ("experiment: {name: a, command: x}", ("-n", "other"), 7, "Rule `namespaces`"),
        ("experiment: {name: a, command: x}", ("--policy", "none.yaml"), 3, "none.yaml"),
    ],
)
def test_render__what_is_refused__is_one_line_and_an_exit_code(
    tmp_path: Path, spec: str, options: tuple[str, ...], code: int, said: str
) -> None:
    desk = Desk(tmp_path)
    desk.write("run.yaml", spec)
    policy = () if "--policy" in options else ("--policy", "policy.yaml")
    assert said in desk.render("-f", "run.yaml", *policy, *options, code=code).stderr


VOLUMES = """
experiment:
  name: a
  command: 'true'
  volumes: [{volume: data, path: /data}, {volume: given, path: /given, read_only: true}]
"""
OURS = ("--volume-claim", "data=seafloor-volume-data-0123456789")
IMAGED = POLICY + f'images: {{default: "{IMAGE}"}}\n'
LISTED = IMAGED + "volumes: {given: {claim: of-the-administrator}}\n"


def test_render__with_volumes_and_no_server__takes_the_claims_that_the_user_names(
    tmp_path: Path,
) -> None:
    desk = Desk(tmp_path)
    desk.write("run.yaml", VOLUMES)
    desk.write("policy.yaml", IMAGED)
    wanted = ("-f", "run.yaml", "--policy", "policy.yaml")
    _, pod = desk.manifests(*wanted, *OURS, "--volume-claim", "given=b")
    assert _claims(pod) == {"data": "seafloor-volume-data-0123456789", "given": "b"}
    assert pod["metadata"]["name"] != _named_otherwise(desk, wanted)
    desk.write("policy.yaml", LISTED)
    _, pod = desk.manifests(*wanted, *OURS)
    assert _claims(pod)["given"] == "of-the-administrator"
    plan = desk.client.cli("plan", *wanted, *OURS, cwd=tmp_path)
    assert plan.returncode == 0, plan
    assert "seafloor-volume-data-0123456789  the volume data" in plan.stdout
    assert "of-the-administrator (read-only)" in plan.stdout


def _named_otherwise(desk: Desk, wanted: tuple[str, ...]) -> str:
    _, pod = desk.manifests(*wanted, "--volume-claim", "data=a", "--volume-claim", "given=b")
    return pod["metadata"]["name"]


def _claims(pod: dict[str, Any]) -> dict[str, str]:
    """The claims of a pod by the last part of the path at which they are."""
    spec = pod["spec"]
    claims = {
        one["name"]: one["persistentVolumeClaim"]["claimName"]
        for one in spec["volumes"]
        if "persistentVolumeClaim" in one
    }
    mounts = spec["containers"][0]["volumeMounts"]
    return {one["mountPath"][1:]: claims[one["name"]] for one in mounts if one["name"] in claims}


@pytest.mark.parametrize(
    ("policy", "options", "code", "said"),
    [
        (IMAGED, (), 2, "`--volume-claim data=CLAIM`"),
        (LISTED, (), 2, "`--volume-claim data=CLAIM`"),
        (IMAGED, ("--volume-claim", "data=a"), 2, "`--volume-claim given=CLAIM`"),
        (IMAGED, ("--volume-claim", "dat=a"), 2, 'Did you mean "data"?'),
        (IMAGED, ("--volume-claim", "data"), 2, "NAME=VALUE"),
        (IMAGED, ("--volume-claim", "data=A_b"), 2, "names no claim"),
        (LISTED, ("--volume-claim", "data=a"), 7, "Rule `volumes`"),
        (LISTED, (*OURS, "--volume-claim", "given=a"), 7, "Rule `volumes.given`"),
        (IMAGED, ("--url", "http://127.0.0.1:9"), 2, "does not answer"),
    ],
)
def test_render__with_volumes_that_nobody_says_the_claims_of__writes_nothing(
    tmp_path: Path, policy: str, options: tuple[str, ...], code: int, said: str
) -> None:
    desk = Desk(tmp_path)
    desk.write("run.yaml", VOLUMES)
    desk.write("policy.yaml", policy)
    wanted = ("-f", "run.yaml", "--policy", "policy.yaml", *options)
    done = desk.render(*wanted, code=code)
    assert said in done.stderr
    plan = desk.client.cli("plan", *wanted, cwd=tmp_path)
    assert (plan.returncode, plan.stdout, plan.stderr) == (code, "", done.stderr)


def test_render__of_a_volume_that_is_a_folder__says_so(
    tmp_path: Path, shared_server: LiveServer
) -> None:
    shared_server.post("/api/v1/volumes", {"name": "data"})
    desk = Desk(tmp_path, shared_server.url)
    desk.write("run.yaml", VOLUMES)
    desk.write("policy.yaml", IMAGED)
    wanted = ("-f", "run.yaml", "--policy", "policy.yaml")
    assert "It is a folder" in desk.render(*wanted, code=2).stderr
    done = desk.render(*wanted, "--volume-claim", "data=a")
    assert 'The server has no volume "given": it is taken for the claim of that name' in done.stderr
    shared_server.request("DELETE", "/api/v1/volumes/data")


def test_policy__with_a_wrong_field__is_named_with_its_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text("images: {digest: true}")
    with pytest.raises(InvalidValue, match=r"p\.yaml: images\.digest: Unknown field"):
        load_policy(tmp_path / "p.yaml")
