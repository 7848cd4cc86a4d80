"""The server in a cluster: every overlay as a whole file, valid, restricted, and of one piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.kube.deployed import FOLDER, ROOT, SOURCES, problem, render
from tests.kube.golden import FOLDER as WORKLOADS
from tests.kube.restricted import violations
from tests.kube.schemas import VERSIONS, problems
from tests.kube.service_monitors import service_monitor_problems

from seafloor.boot.settings import load
from seafloor.http.routes import prometheus
from seafloor.http.routes import server as routes
from seafloor.launch.kubernetes.cluster import (
    NEEDED_RIGHTS,
    SNAPSHOT_RIGHTS,
    VOLUME_RIGHTS,
    Right,
)
from seafloor.launch.kubernetes.policy import read_policy

SECRETS = {
    "seafloor-metrics",
    "seafloor-object-store",
    "seafloor-stores",
    "seafloor-tls",
    "seafloor-token",
}
"""What an administrator makes; docs/how-to/deploy-on-kubernetes.md."""

Manifest = dict[str, Any]
each = pytest.mark.parametrize("name", SOURCES)


@cache
def documents(file: Path) -> tuple[Manifest, ...]:
    """Those of a file, read once: all of them take seconds. Nobody changes them."""
    return tuple(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def manifests(name: str) -> list[Manifest]:
    return list(documents(FOLDER / f"{name}.yaml"))


def of(name: str, kind: str) -> Manifest:
    (found,) = [one for one in manifests(name) if one["kind"] == kind]
    return found


def pod(name: str) -> Manifest:
    return of(name, "Deployment")["spec"]["template"]


def workloads() -> Iterator[Manifest]:
    for file in WORKLOADS.glob("*.yaml"):
        yield from documents(file)


@each
def test_overlay__rendered_again__is_the_same_bytes(name: str) -> None:
    reason = problem()
    if reason is not None:
        pytest.skip(reason)
    kept = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8")
    assert render(name) == kept, "look at the difference, then: python -m tests.kube.deployed"


def test_overlays__all_there_are__are_kept() -> None:
    root = SOURCES["base"].parent
    assert {path.name for path in (root / "overlays").iterdir()} | {"base", "everything"} == set(
        SOURCES
    )
    own = (SOURCES["everything"] / "kustomization.yaml").read_text()
    own += (root / "overlays/postgresql-s3/kustomization.yaml").read_text()
    unused = [one.name for one in (root / "components").iterdir() if f"/{one.name}" not in own]
    assert unused == []


@each
def test_overlay__by_the_schemas_of_three_versions__is_valid(name: str) -> None:
    for manifest in manifests(name):
        if manifest["kind"] == "ServiceMonitor":  # an operator's kind
            assert service_monitor_problems(manifest) == []
            continue
        for version in VERSIONS:
            assert problems(manifest, version) == [], (version, manifest["kind"])


@each
def test_overlay__by_the_restricted_standard__is_admitted_with_a_read_only_root(name: str) -> None:
    spec = pod(name)["spec"]
    assert violations(spec) == []
    assert spec["enableServiceLinks"] is False
    for container in spec["containers"]:
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}


@each
def test_overlay__what_it_names__is_in_it_or_the_administrators(name: str) -> None:
    assert "Secret" not in {one["kind"] for one in manifests(name)}
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests(name)}
    named = set(_references(manifests(name)))
    secrets = {one for kind, one in named if kind == "Secret"}
    assert secrets <= SECRETS
    assert {reference for reference in named if reference[0] != "Secret"} <= there
    (container,) = pod(name)["spec"]["containers"]
    mounted = {mount["name"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod(name)["spec"]["volumes"]}


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """Kind and name of what is referred to, wherever it stands."""
    fields = {
        "configMapRef": ("ConfigMap", "name"),
        "configMapKeyRef": ("ConfigMap", "name"),
        "configMap": ("ConfigMap", "name"),
        "secretRef": ("Secret", "name"),
        "secretKeyRef": ("Secret", "name"),
        "persistentVolumeClaim": ("PersistentVolumeClaim", "claimName"),
    }
    if isinstance(value, list):
        for one in value:
            yield from _references(one)
    elif isinstance(value, dict):
        for field, inner in value.items():
            if field in fields and isinstance(inner, dict):
                kind, key = fields[field]
                yield kind, inner[key]
            elif field == "secretName":
                yield "Secret", inner
            elif field == "serviceAccountName":
                yield "ServiceAccount", inner
            yield from _references(inner)


@each
def test_overlay__its_variables_and_its_policy__are_what_the_server_reads(
    name: str, tmp_path: Path
) -> None:
    maps = {
        one["metadata"]["name"]: one["data"]
        for one in manifests(name)
        if one["kind"] == "ConfigMap"
    }
    (container,) = pod(name)["spec"]["containers"]
    variables = {one["name"]: one.get("value", "x") for one in container["env"]}
    for source in container["envFrom"]:
        if "configMapRef" in source:
            variables |= maps[source["configMapRef"]["name"]]
    settings = load(data_dir=tmp_path, flags={}, variables=variables)
    (port,) = container["ports"]
    assert settings.server.host == "0.0.0.0"
    assert settings.server.port == port["containerPort"]
    assert settings.server.token == "x"
    (policy,) = [data["policy.yaml"] for data in maps.values() if "policy.yaml" in data]
    assert read_policy(policy).server.url == settings.server.url


@each
def test_overlay__its_selectors__find_the_servers_and_no_workload(name: str) -> None:
    labels = pod(name)["metadata"]["labels"].items()
    selectors = list(_selectors(manifests(name)))
    assert len(selectors) >= 4
    others = [one["metadata"].get("labels", {}).items() for one in workloads()]
    for selector in selectors:
        assert selector
        assert selector.items() <= labels
        assert not any(selector.items() <= other for other in others)


def _selectors(found: list[Manifest]) -> Iterator[dict[str, str]]:
    for one in found:
        spec = one.get("spec", {})
        if one["kind"] == "Service":
            yield spec["selector"]
        elif "podSelector" in spec:
            yield spec["podSelector"]["matchLabels"]
        elif "selector" in spec:
            yield spec["selector"]["matchLabels"]
        spread = spec.get("template", {}).get("spec", {}).get("topologySpreadConstraints", ())
        yield from (rule["labelSelector"]["matchLabels"] for rule in spread)


@each
def test_overlay__its_probes__ask_routes_that_need_no_token(name: str) -> None:
    (container,) = pod(name)["spec"]["containers"]
    ready, alive = routes.health.paths, routes.version.paths
    assert container["readinessProbe"]["httpGet"]["path"] in ready
    assert container["livenessProbe"]["httpGet"]["path"] in alive
    assert container["startupProbe"]["httpGet"]["path"] in alive


def rights(role: Manifest) -> set[Right]:
    """What a Role allows."""
    found: list[Right] = []
    for rule in role["rules"]:
        (group,) = rule["apiGroups"]
        found += [Right(verb, one, group) for one in rule["resources"] for verb in rule["verbs"]]
    assert len(set(found)) == len(found)
    return set(found)


def test_role__of_a_server_whose_runs_are_pods__is_what_its_launcher_needs() -> None:
    needed = {*NEEDED_RIGHTS, *VOLUME_RIGHTS, *SNAPSHOT_RIGHTS}
    assert rights(of("everything", "Role")) == needed


def test_role__that_administrators_read_of__is_the_one_that_is_deployed() -> None:
    page = (ROOT / "docs/how-to/kubernetes.md").read_text(encoding="utf-8")
    (shown,) = [part for part in page.split("```yaml\n") if "kind: Role\n" in part]
    assert rights(yaml.safe_load(shown.partition("```")[0])) == rights(of("everything", "Role"))


def test_role__where_runs_are_processes__is_none() -> None:
    for name in SOURCES:
        kinds = {one["kind"] for one in manifests(name)}
        assert ({"Role", "RoleBinding"} <= kinds) == (name == "everything")


def test_servers__several__have_their_stores_elsewhere_and_go_one_by_one() -> None:
    assert of("postgresql-s3", "Deployment")["spec"]["replicas"] == 3
    assert of("postgresql-s3", "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    (container,) = pod("postgresql-s3")["spec"]["containers"]
    assert {"SEAFLOOR_STORES__METADATA", "SEAFLOOR_STORES__OBJECTS"} <= {
        one["name"] for one in container["env"]
    }


def test_network_policy__pods_of_the_namespace_and_of_labelled_ones__are_let_in_and_no_others() -> (
    None
):
    policy = of("everything", "NetworkPolicy")
    (rule,) = policy["spec"]["ingress"]
    (container,) = pod("everything")["spec"]["containers"]
    (port,) = container["ports"]
    assert rule["ports"] == [{"port": port["name"], "protocol": port["protocol"]}]

    def lets_in(labels: Mapping[str, str], *, own: bool) -> bool:
        """Whether a pod is let in whose namespace is the servers' own or has some labels."""
        found = False
        for peer in rule["from"]:
            ((kind, selector),) = peer.items()
            wanted = selector.get("matchLabels", {}).items()
            found |= own and not wanted if kind == "podSelector" else wanted <= labels.items()
        return found

    label = {"seafloor/reaches-servers": "true"}
    assert lets_in({}, own=True)
    assert lets_in({"kubernetes.io/metadata.name": "ingress-nginx", **label}, own=False)
    assert not lets_in({"kubernetes.io/metadata.name": "ingress-nginx"}, own=False)
    assert not lets_in({"seafloor/reaches-servers": "false"}, own=False)
    page = (ROOT / "docs/how-to/deploy-on-kubernetes.md").read_text(encoding="utf-8")
    assert "seafloor/reaches-servers=true" in page


def test_monitoring__what_it_reads__is_a_route_of_the_server_by_its_own_token() -> None:
    monitor = of("everything", "ServiceMonitor")["spec"]
    (endpoint,) = monitor["endpoints"]
    assert endpoint["path"] in prometheus.metrics.paths
    service = of("everything", "Service")
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (container,) = pod("everything")["spec"]["containers"]
    env = [one for one in container["env"] if "valueFrom" in one]
    sources = {one["name"]: one["valueFrom"]["secretKeyRef"] for one in env}
    credentials = endpoint["authorization"]["credentials"]
    assert sources["SEAFLOOR_SERVER__METRICS_TOKEN"] == credentials
    assert sources["SEAFLOOR_SERVER__TOKEN"] != credentials


def test_runs_as_pods__and_only_then__has_the_token_of_its_account_and_the_policy() -> None:
    for name in SOURCES:
        (container,) = pod(name)["spec"]["containers"]
        values = {one["name"]: one.get("value") for one in container["env"]}
        as_pods = values.get("SEAFLOOR_LAUNCH__KIND") == "kubernetes"
        assert as_pods == (name == "everything")
        assert pod(name)["spec"].get("automountServiceAccountToken", False) is as_pods
        mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
        if as_pods:
            folder, _, file = str(values["SEAFLOOR_LAUNCH__POLICY"]).rpartition("/")
            assert folder in mounted
            assert any(file in one.get("data", ()) for one in manifests(name))


def test_server__with_a_volume__is_alone_on_it() -> None:
    deployment = of("laptop", "Deployment")["spec"]
    assert deployment["replicas"] == 1
    assert deployment["strategy"] == {"type": "Recreate"}
