"""What is refused, and by which rule; what cannot be; what is warned of."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import msgspec
import pytest
from tests.kube.cases import ARCHIVE, COMMIT, DIGEST, ENVIRONMENT, HTTPS, SNAPSHOT, SSH, policy_of

from seafloor.domain.cluster_specs import parse_cluster_spec
from seafloor.domain.code import ArchiveCode, CodeSource, GitCode
from seafloor.domain.errors import CallerError, Forbidden, InvalidValue, NotSupported
from seafloor.domain.specs import EnvironmentSpec, check_on_machine, parse_experiment
from seafloor.launch.kubernetes import rules
from seafloor.launch.kubernetes.policy import Policy, read_policy
from seafloor.launch.kubernetes.request import PodRequest
from seafloor.launch.kubernetes.workload import Rendered, render

RUN = {"name": "a", "command": "true", "environment": ENVIRONMENT}
NOTEBOOK = {"name": "a", "environment": ENVIRONMENT}
SERVING = {"name": "a", "environment": ENVIRONMENT, "command": "true"}


def made(
    kind: str,
    body: dict[str, Any],
    *,
    policy: str | Policy = "strict",
    code: CodeSource | None = None,
) -> Rendered:
    spec = parse_cluster_spec({kind: body})
    assert not isinstance(spec, EnvironmentSpec)
    found = policy_of(policy) if isinstance(policy, str) else policy
    images = {"own": "docker.io/me/own:1", "loose": "registry.example.com/a:1"}
    return render(PodRequest(spec=spec, code=code, namespace="ml", images=images), found)


REFUSALS: list[tuple[str, str, dict[str, Any]]] = [
    ("images.default", "experiment", {"environment": None, "policy": "plain"}),
    ("environments", "experiment", {"environment": "team-default-ml-enw"}),
    ("images.allowed", "experiment", {"environment": "own"}),
    ("images.digest_required", "experiment", {"environment": "loose"}),
    ("node_pools", "experiment", {"resources": {"pool": "a10"}}),
    ("gpus.allowed", "experiment", {"resources": {"gpu": 1, "gpu_resource": "x.com/gpu"}}),
    ("resources.sizes", "experiment", {"resources": {"size": "huge"}}),
    ("resources.maximum.cpu", "experiment", {"resources": {"cpu": 17}}),
    ("resources.maximum.memory", "notebook", {"resources": {"memory": "129Gi"}}),
    ("resources.maximum.gpu", "serving", {"resources": {"gpu": 9}}),
    (
        "resources.maximum.shared_memory",
        "experiment",
        {"resources": {"memory": "32Gi", "shared_memory": "17Gi"}},
    ),
    ("volumes", "experiment", {"volumes": [{"volume": "other", "path": "/data"}]}),
    (
        "volumes.team-data.read_only",
        "experiment",
        {"volumes": [{"volume": "team-data", "path": "/data"}]},
    ),
    ("secrets", "experiment", {"secrets": {"A": "root/key"}}),
    ("storage.classes", "notebook", {"storage_class": "gold"}),
    ("storage.home_maximum", "notebook", {"home": "101Gi"}),
    ("limits.timeout_maximum", "experiment", {"timeout": "8d"}),
    (
        "limits.tasks_maximum",
        "experiment",
        {"command": None, "tasks": {"worker": {"replicas": 17, "command": "true"}}},
    ),
    ("limits.replicas_maximum", "serving", {"replicas": 9}),
    ("limits.replicas_maximum", "serving", {"autoscale": {"max_replicas": 9}}),
]


@pytest.mark.parametrize(("rule", "kind", "fields"), REFUSALS)
def test_refusal__of_what_a_policy_does_not_allow__names_its_rule(
    rule: str, kind: str, fields: dict[str, Any]
) -> None:
    base = {"experiment": RUN, "notebook": NOTEBOOK, "serving": SERVING}[kind]
    policy = fields.pop("policy", "strict")
    body = {key: value for key, value in {**base, **fields}.items() if value is not None}
    with pytest.raises(Forbidden, match=rf"\(Rule `{rule}` of the policy\.\)") as caught:
        made(kind, body, policy=policy)
    assert caught.value.field


def test_namespace__by_the_policy__is_the_first_or_an_allowed_one() -> None:
    policy = policy_of("strict")
    assert rules.namespace(policy, None) == "ml"
    assert rules.namespace(policy, "ml-team") == "ml-team"
    with pytest.raises(Forbidden, match="Rule `namespaces`"):
        rules.namespace(policy, "kube-system")
    with pytest.raises(InvalidValue):
        rules.namespace(policy, "ML")


@pytest.mark.parametrize("code", [SNAPSHOT, ARCHIVE])
def test_localizer__without_an_image__is_refused_by_its_rule(code: CodeSource) -> None:
    policy = read_policy(f"environments: {{{ENVIRONMENT}: {{image: 'a@{DIGEST}'}}}}")
    rule = "server.url" if code is SNAPSHOT else "images.seafloor"
    with pytest.raises(Forbidden, match=f"Rule `{rule}`"):
        made("experiment", RUN, policy=policy, code=code)


def test_code__that_pods_cannot_reach_or_that_may_change__is_refused() -> None:
    for url in ("/home/me/repo", "file:///home/me/repo"):
        with pytest.raises(InvalidValue, match="on this machine"):
            made("experiment", RUN, code=GitCode(url, COMMIT, "repo"))
    with pytest.raises(InvalidValue, match="sha256"):
        made("experiment", RUN, code=ArchiveCode("s3://b/a.zip", "a", etag="x"))
    with pytest.raises(Forbidden, match="Rule `secrets`"):
        made("experiment", RUN, code=msgspec.structs.replace(HTTPS, secret="root"))
    with pytest.raises(NotSupported, match="git-sync"):
        made("experiment", RUN, code=SSH, policy="lfs")


UNSOUND: list[tuple[str, dict[str, Any], str]] = [
    ("experiment", {"name": "a"}, "command"),
    ("experiment", {**RUN, "tasks": {"worker": {"command": "true"}}}, "command"),
    ("experiment", {"name": "a", "tasks": {"worker": {}}}, "tasks.worker.command"),
    ("experiment", {"name": "a", "tasks": {"Worker": {"command": "true"}}}, "tasks.Worker"),
    (
        "experiment",
        {"name": "a", "tasks": {"w": {"command": "true", "replicas": 0}}},
        "tasks.w.replicas",
    ),
    ("experiment", {**RUN, "resources": {"gpu": -1}}, "resources.gpu"),
    ("experiment", {**RUN, "resources": {"gpu_resource": "gpu"}}, "resources.gpu_resource"),
    ("experiment", {**RUN, "secrets": {"A": "hunter2"}}, "secrets.A"),
    ("experiment", {**RUN, "secrets": {"A": "Hunter2!/x"}}, "secrets.A"),
    ("experiment", {**RUN, "secrets": {"A B": "team/key"}}, "secrets.A B"),
    ("experiment", {**RUN, "secrets": {"/code/x": "team"}}, "secrets./code/x"),
    ("experiment", {**RUN, "secrets": {"/a": "team/.."}}, "secrets./a"),
    (
        "experiment",
        {**RUN, "code": {"sync_mode": "git", "url": "https://a/b", "secret": "a_b"}},
        "code.secret",
    ),
    ("experiment", {**RUN, "volumes": [{"volume": "My Data", "path": "/d"}]}, "volumes[0].volume"),
    ("experiment", {**RUN, "volumes": [{"volume": "v", "path": "/tmp/"}]}, "volumes[0].path"),
    (
        "notebook",
        {**NOTEBOOK, "volumes": [{"volume": "v", "path": "/home/seafloor"}]},
        "volumes[0].path",
    ),
    ("experiment", {**RUN, "volumes": [{"volume": "v", "path": "/code"}]}, "volumes[0].path"),
    ("experiment", {**RUN, "volumes": [{"volume": "v", "path": "data"}]}, "volumes[0].path"),
    ("experiment", {**RUN, "volumes": [{"volume": "v", "path": "/a/../b"}]}, "volumes[0].path"),
    ("experiment", {**RUN, "volumes": [{"volume": "v", "path": "/a"}] * 2}, "volumes"),
    ("notebook", {**NOTEBOOK, "port": 80}, "port"),
    ("notebook", {**NOTEBOOK, "home": "many"}, "home"),
    ("serving", {"name": "a"}, "serving"),
    ("serving", {**SERVING, "replicas": 0}, "replicas"),
    ("serving", {**SERVING, "autoscale": {"max_replicas": 0}}, "autoscale.max_replicas"),
    ("serving", {**SERVING, "health": "health"}, "health"),
    ("environment", {"name": "a"}, "image"),
    ("environment", {"name": "a", "image": "x", "pip": ["six"]}, "pip"),
]


@pytest.mark.parametrize(("kind", "body", "field"), UNSOUND)
def test_spec__whose_fields_cannot_be__is_refused_at_the_field(
    kind: str, body: dict[str, Any], field: str
) -> None:
    with pytest.raises(CallerError) as caught:
        parse_cluster_spec({kind: body})
    assert field in (caught.value.field, "serving")
    assert "unter2" not in str(caught.value)


def test_render__shared_memory_above_memory__is_refused() -> None:
    with pytest.raises(InvalidValue, match="cannot be more"):
        made("experiment", {**RUN, "resources": {"memory": "1Gi", "shared_memory": "2Gi"}})


def test_render__a_variable_that_is_a_secret_too__is_refused() -> None:
    with pytest.raises(InvalidValue, match="stands in `env` too"):
        made("experiment", {**RUN, "env": {"A": "1"}, "secrets": {"A": "team/a"}})


@pytest.mark.parametrize(
    ("env", "warned"),
    [
        ({"API_TOKEN": "x"}, True),
        ({"PGPASSWORD": "x", "DB_PASSWORD": "y"}, True),
        ({"URL": "https://me:hunter2@example.com"}, True),
        ({"X": "AKIAABCDEFGHIJKLMNOP"}, True),
        ({"TOKENIZERS_PARALLELISM": "false", "MAX_TOKENS": "5", "API_TOKEN": ""}, False),
        ({"URL": "https://example.com/a@b"}, False),
    ],
)
def test_render__plain_values_like_secrets__are_warned_of(
    env: dict[str, str], *, warned: bool
) -> None:
    found = made("experiment", {**RUN, "env": env}).warnings
    assert bool(found) == warned
    assert not any(value in text for text in found for value in env.values() if len(value) > 1)


def test_render__fields_that_only_a_server_heeds__are_warned_of() -> None:
    found = made("experiment", {**RUN, "retries": 2, "params": {"lr": "0.1"}}).warnings
    assert [text.split("`")[1] for text in found] == ["retries", "params"]


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("namespace: [a]", "namespace"),
        ("namespaces: []", "namespaces"),
        ("images: {allow: []}", "images.allow"),
        ("git: {auth: password}", "git.auth"),
        ("git: {sync_timeout: soon}", "git.sync_timeout"),
        ("default_pool: cpu", "default_pool"),
        ("resources: {sizes: {big: {memory: 5GB}}}", "resources.sizes.big.memory"),
        ("labels: {seafloor/kind: run}", "labels"),
        ("limits: {clean_up_after: never}", "limits.clean_up_after"),
        (
            "environments: {a: {image: x, kernel: {url: u, sha256: abc}}}",
            "environments.a.kernel.sha256",
        ),
        ("server: {token: plain}", "secrets.SEAFLOOR_TOKEN"),
        ("server: {url: 'https://me:hunter2@example.com'}", "server.url"),
        ("network: {http_proxy: 'http://me:hunter2@proxy:3128'}", "network.http_proxy"),
        ("- a", None),
        ("a: [", None),
    ],
)
def test_policy__that_cannot_be__is_refused_at_the_field(text: str, field: str | None) -> None:
    with pytest.raises(InvalidValue) as caught:
        read_policy(text)
    assert caught.value.field == field
    assert "hunter2" not in str(caught.value)


def test_policy__without_anything__is_the_default() -> None:
    assert read_policy("") == Policy()


@pytest.mark.parametrize("field", ["gpu_resource", "shared_memory", "size", "pool"])
def test_processes__fields_of_clusters__are_refused(field: str) -> None:
    body = {"name": "a", "command": "true", "resources": {field: "a/b"}}
    with pytest.raises(NotSupported, match=field):
        check_on_machine(parse_experiment(body))


def test_codes__of_a_run__decide_its_names() -> None:
    one = made("experiment", RUN, code=HTTPS).manifests[0]["metadata"]["name"]
    again = made("experiment", RUN, code=HTTPS).manifests[0]["metadata"]["name"]
    other = made("experiment", RUN, code=ARCHIVE).manifests[0]["metadata"]["name"]
    assert one == again != other
    notebooks = {
        made("notebook", NOTEBOOK, code=code).manifests[0]["metadata"]["name"]
        for code in (HTTPS, ARCHIVE)
    }
    assert len(notebooks) == 1
    other_project = made("notebook", {**NOTEBOOK, "project": "vision"}).manifests[0]
    assert other_project["metadata"]["name"] not in notebooks


def test_policy__every_field__is_documented_with_its_default() -> None:
    page = Path(__file__).parents[2] / "docs/reference/kubernetes-policy.md"
    rows: dict[str, str] = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`([^`]+)`", cells[0])
        for name in names:
            whole = names[0].rpartition(".")[0] + name if name.startswith(".") else name
            rows[whole] = cells[1]
    fields = dict(_fields(Policy, ""))
    assert set(rows) == set(fields) - {"resources.init.gpu", "resources.init.shared_memory"}
    for name, default in fields.items():
        if isinstance(default, str | bool | int) and "," not in rows.get(name, ","):
            assert (
                rows[name] == f"`{str(default).lower() if default in (True, False) else default}`"
            )


def _fields(cls: type[msgspec.Struct], path: str) -> Iterator[tuple[str, object]]:
    """Every field that a policy may have, by its path in the page, with its default."""
    hints = get_type_hints(cls)
    for field in msgspec.structs.fields(cls):
        here = f"{path}{field.name}"
        for kind in (hints[field.name], *get_args(hints[field.name])):
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
                many = get_origin(hints[field.name]) is dict
                yield from _fields(kind, f"{here}.<name>." if many else f"{here}.")
                break
        else:
            yield here, field.default
