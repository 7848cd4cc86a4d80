"""What holds of every manifest."""

from __future__ import annotations

import ast
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.kube.cases import ENVIRONMENT, HTTPS, policy_of
from tests.kube.restricted import violations
from tests.kube.schemas import VERSIONS, problems
from tests.kube.test_golden import CASES, pod_specs

import seafloor.launch.kubernetes
from seafloor.domain.cluster_specs import SecretRef, parse_cluster_spec
from seafloor.domain.errors import CallerError
from seafloor.domain.specs import EnvironmentSpec
from seafloor.domain.workloads import WorkloadKind
from seafloor.launch.kubernetes.manifest import as_yaml, command_of, literal
from seafloor.launch.kubernetes.names import label_value, object_name
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.request import PodRequest
from seafloor.launch.kubernetes.workload import Rendered, render

_LABEL = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?\Z")
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?\Z")
_PURE = {
    "datetime",
    *("__future__", "collections", "fnmatch", "hashlib", "json", "math", "re", "shlex", "typing"),
    *("unicodedata", "msgspec", "yaml", "seafloor"),
}

texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("$()\n"), max_size=30
)
names = st.text(min_size=1, max_size=40)


def expanded(text: str, variables: dict[str, str]) -> str:
    """What the kubelet makes of a text: ``$$`` is ``$``, ``$(NAME)`` the variable's value."""

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replace, text)


@given(texts)
@example("$$x")
@example("$$(HOME)")
@example("$$$")
def test_literal__of_any_text__is_that_text_again_for_the_command(text: str) -> None:
    variables = {"HOME": "/root", "": "empty", "date": "no"}
    assert expanded(literal(text), variables) == text
    assert [expanded(word, variables) for word in command_of([text])] == [text]


@given(names, st.sampled_from(WorkloadKind), names)
def test_names__of_any_text__are_labels_that_leave_room(
    name: str, kind: WorkloadKind, key: str
) -> None:
    found = object_name(kind, name, key)
    assert len(found) <= 46
    assert _LABEL.match(found)
    assert found != object_name(kind, name, key + "x")


@given(texts)
def test_label_value__of_any_text__is_one(text: str) -> None:
    found = label_value(text)
    assert len(found) <= 63
    assert _VALUE.match(found)


@given(st.dictionaries(st.sampled_from("abc"), texts, max_size=3))
def test_yaml__of_any_texts__is_read_as_the_same_texts(data: dict[str, str]) -> None:
    assert yaml.safe_load(as_yaml([data])) == data


@pytest.mark.parametrize(
    "text", ["1e3", "0o17", "1_000", "yes", "null", "12:30:45", "0x1f", ".5", "~", ""]
)
def test_yaml__a_text_that_looks_like_something_else__is_in_quotes(text: str) -> None:
    assert as_yaml([{"a": text}]) == f"---\na: '{text}'\n"


amounts = st.fixed_dictionaries(
    {},
    optional={
        "cpu": st.sampled_from([1, 0.25, "1500m"]),
        "memory": st.sampled_from(["8Gi", 2**31, "9G"]),
        "gpu": st.integers(0, 4),
        "shared_memory": st.sampled_from(["64Mi", "1Gi"]),
        "pool": st.sampled_from(["cpu", "a100"]),
    },
)
commands = st.one_of(
    texts.filter(str.strip), st.lists(texts, min_size=1, max_size=3).filter(lambda w: w[0].strip())
)
common = {
    "name": st.sampled_from(["digits", "Zwei (2)", "日本語", "x" * 200]),
    "environment": st.just(ENVIRONMENT),
}
optional = {
    "resources": amounts,
    "env": st.dictionaries(
        st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True), texts, max_size=3
    ),
    "secrets": st.dictionaries(
        st.sampled_from(["S_ONE", "/etc/two"]), st.sampled_from(["team/key", "team-b/x.y"])
    ),
}
tasks = st.dictionaries(
    st.sampled_from(["chief", "worker", "ps", "other"]),
    st.fixed_dictionaries(
        {"command": commands}, optional={"replicas": st.integers(1, 3), "resources": amounts}
    ),
    min_size=1,
    max_size=3,
)
documents = st.one_of(
    st.fixed_dictionaries({**common, "command": commands}, optional=optional).map(
        lambda body: {"experiment": body}
    ),
    st.fixed_dictionaries({**common, "tasks": tasks}, optional=optional).map(
        lambda body: {"experiment": body}
    ),
    st.fixed_dictionaries(common, optional=optional).map(lambda body: {"notebook": body}),
    st.fixed_dictionaries({**common, "command": commands}, optional=optional).map(
        lambda body: {"serving": body}
    ),
)


def rendered(document: dict[str, Any], policy: Policy) -> Rendered:
    spec = parse_cluster_spec(document)
    assert not isinstance(spec, EnvironmentSpec)
    return render(PodRequest(spec=spec, code=HTTPS, namespace="ml"), policy)


@settings(max_examples=40, deadline=None)
@given(documents, st.sampled_from(["ours", "strict"]))
def test_manifests__of_any_spec__are_valid_restricted_and_the_same_again(
    document: dict[str, Any], policy: str
) -> None:
    found = rendered(document, policy_of(policy))
    assert found == rendered(json.loads(json.dumps(document)), policy_of(policy))
    for manifest in found.manifests:
        assert problems(manifest, VERSIONS[-1]) == []
        assert len(manifest["metadata"]["name"]) <= 63
    for pod in pod_specs(found.manifests):
        assert violations(pod) == []


_SPEAKS_TO_CLUSTERS = {
    *("connection", "cluster", "cluster_volumes", "watch_cache", "pod_events", "launcher"),
    *("container_log", "container_reader", "exec_credentials", "pod_logs", "setup_logs"),
}
"""Modules that no maker of manifests may import."""

_PURE_ROOMS = (
    *("seafloor.domain", "seafloor.wire", "seafloor.launch.kubernetes"),
    *("seafloor.launch.protocol", "seafloor.launch.rendezvous"),
)


# A secret's value ------------------------------------------------------------------------------


def test_rooms__that_make_manifests__can_read_nothing() -> None:
    """Values of secrets are in a cluster; nothing here can ask one, or anything else."""
    folder = Path(inspect.getfile(seafloor.launch.kubernetes)).parent
    for file in (*sorted(folder.glob("*.py")), folder.parent / "rendezvous.py"):
        if file.stem in _SPEAKS_TO_CLUSTERS:
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            assert {module.partition(".")[0] for module in modules} <= _PURE, file.name
            assert not any(
                module.startswith("seafloor.") and not module.startswith(_PURE_ROOMS)
                for module in modules
            )
            assert not any(module.rpartition(".")[2] in _SPEAKS_TO_CLUSTERS for module in modules)


def test_types__of_a_secret__have_a_name_and_a_key_and_nothing_else() -> None:
    assert SecretRef.__struct_fields__ == ("secret", "key")
    assert list(inspect.signature(render).parameters) == ["request", "policy"]
    fields = {"spec", "code", "namespace", "images", "claims", "kernels", "owner_uid", "start"}
    assert set(PodRequest.__struct_fields__) == fields


def _secrets(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every text below a list or mapping with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _secrets(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _secrets(item, path)
    elif isinstance(value, str):
        yield path, value


secret_names = st.from_regex(r"s3cr3t-[a-z0-9]{8}", fullmatch=True)
keys = st.from_regex(r"k3y[A-Za-z0-9._-]{8}", fullmatch=True)


@settings(max_examples=30, deadline=None)
@given(
    secret_names,
    keys,
    st.sampled_from(["A", "/etc/a"]),
    st.sampled_from(["experiment", "notebook"]),
)
def test_secrets__in_every_manifest__are_references_only(
    secret: str, key: str, name: str, kind: str
) -> None:
    body: dict[str, Any] = {
        "name": "a",
        "environment": ENVIRONMENT,
        "secrets": {name: f"{secret}/{key}"},
    }
    if kind == "experiment":
        body["command"] = "true"
    found = rendered({kind: body}, policy_of("ours"))
    seen = [
        (path, text) for path, text in _secrets(found.manifests) if secret in text or key in text
    ]
    assert seen
    for path, text in seen:
        assert path[-2:] in {("secretKeyRef", "name"), ("secretKeyRef", "key")} or path[-2:] in {
            ("secret", "secretName"),
            ("items", "key"),
            ("items", "path"),
        }
        assert text in {secret, key}


# Marked, so that none is by chance a word of the manifest or of the refusal.
values = st.text(max_size=30).map(lambda text: f"hunter2-{text}") | st.text(max_size=30).map(
    lambda text: f"{text}-hunter2"
)


@settings(max_examples=50, deadline=None)
@given(values, st.sampled_from(["A", "/etc/a"]))
def test_secrets__a_value_in_the_place_of_a_name__is_refused_unsaid_or_is_a_name(
    value: str, name: str
) -> None:
    body = {"name": "a", "environment": ENVIRONMENT, "command": "true", "secrets": {name: value}}
    try:
        found = rendered({"experiment": body}, policy_of("ours"))
    except CallerError as error:
        said = str(error)
    else:
        said = ""
    if said:
        assert value not in said
        return
    assert re.fullmatch(r"[a-z0-9.-]+(?:/[\w.-]+)?", value, re.ASCII)
    for path, text in _secrets(found.manifests):
        if value in text:
            assert path[-1] == "secretName"


def test_secrets__in_all_golden_cases__stand_in_no_plain_variable() -> None:
    for case in CASES.values():
        for pod in pod_specs(case.render().manifests):
            for one in (*pod.get("initContainers", ()), *pod["containers"]):
                for variable in one.get("env", ()):
                    plain = variable.get("value")
                    assert plain is None or "TOKEN" not in variable["name"]
                    assert plain is None or "PASSWORD" not in variable["name"]
