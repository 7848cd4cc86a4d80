"""Manifests as whole files: unchanged, valid by the published schemas, and restricted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.kube.cases import COMMIT, IMAGE, Case, cases
from tests.kube.git_sync_flags import FLAGS, REQUIRED, SUBMODULES, VARIABLES
from tests.kube.golden import FOLDER
from tests.kube.restricted import violations
from tests.kube.schemas import VERSIONS, problems

from seafloor.launch.kubernetes.manifest import as_yaml

CASES = {case.name: case for case in cases()}


def pod_specs(manifests: tuple[dict[str, Any], ...]) -> Iterator[dict[str, Any]]:
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["spec"]
        elif "template" in manifest.get("spec", {}):
            yield manifest["spec"]["template"]["spec"]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod.get("initContainers", ()), *pod["containers"]]


def test_golden__of_all_files__are_those_of_the_cases() -> None:
    assert {file.stem for file in FOLDER.glob("*.yaml")} == set(CASES)
    assert len(CASES) >= 40
    assert len(list(cases())) == len(CASES)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_manifests__rendered_again__are_the_same_bytes(case: Case) -> None:
    text = as_yaml(case.render().manifests)
    kept = (FOLDER / f"{case.name}.yaml").read_text(encoding="utf-8")
    assert text == kept, "look at the difference, then: python -m tests.kube.golden"
    assert list(yaml.safe_load_all(text)) == list(case.render().manifests)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_manifests__by_the_schemas_of_three_versions__are_valid(case: Case) -> None:
    assert len(VERSIONS) == 3
    for manifest in case.render().manifests:
        for version in VERSIONS:
            assert problems(manifest, version) == [], (version, manifest["kind"])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pods__by_the_restricted_standard__are_admitted(case: Case) -> None:
    pods = list(pod_specs(case.render().manifests))
    assert pods
    for pod in pods:
        assert violations(pod) == []


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_pods__their_volumes__are_all_there_and_all_used(case: Case) -> None:
    for pod in pod_specs(case.render().manifests):
        mounts = [
            (one["name"], mount) for one in containers(pod) for mount in one.get("volumeMounts", ())
        ]
        volumes = [one["name"] for one in pod.get("volumes", ())]
        assert {mount["name"] for _, mount in mounts} == set(volumes)
        assert len(volumes) == len(set(volumes))
        places = [(name, mount["mountPath"]) for name, mount in mounts]
        assert len(places) == len(set(places))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_objects__their_names__are_labels_and_found_by_each_other(case: Case) -> None:
    manifests = case.render().manifests
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(names) == len(set(names))
    assert names[0][0] == "ConfigMap"
    for kind, name in names:
        assert len(name) <= (52 if kind in {"StatefulSet", "Deployment"} else 63)
    for one in manifests:
        if one["kind"] == "Service":
            wanted = one["spec"]["selector"].items()
            labels = [
                other["spec"].get("template", other)["metadata"]["labels"]
                for other in manifests
                if other["kind"] in {"Pod", "StatefulSet", "Deployment"}
            ]
            assert labels
            assert all(wanted <= label.items() for label in labels)


def test_owner__once_it_is_made__owns_all_but_itself_and_homes() -> None:
    for name in ("run-owned", "notebook-strict", "serving-strict"):
        for manifest in CASES[name].render().manifests:
            owners = manifest["metadata"].get("ownerReferences", [])
            if manifest["kind"] in {"ConfigMap", "PersistentVolumeClaim"}:
                assert owners == []
            else:
                assert [one["uid"] for one in owners] == [CASES[name].owner_uid]


def test_checkers__of_what_is_wrong__say_so() -> None:
    (pod,) = [one for one in CASES["seed"].render().manifests if one["kind"] == "Pod"]
    main = pod["spec"]["containers"][0]
    main["volumeMounts"] = [{"name": "code-dir", "mountpath": "/code"}]
    assert all(problems(pod, version) for version in VERSIONS)
    del main["securityContext"]["capabilities"]
    pod["spec"]["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    pod["spec"]["securityContext"]["runAsUser"] = 0
    found = " ".join(violations(pod["spec"]))
    assert all(rule in found for rule in ("capabilities.drop", "volume host", "runAsUser"))


def test_seed__its_pod__has_exactly_its_parts() -> None:
    (pod,) = pod_specs(CASES["seed"].render().manifests)
    assert pod["volumes"] == [{"name": "code-dir", "emptyDir": {}}]
    (localize,) = pod["initContainers"]
    (main,) = pod["containers"]
    assert localize["name"] == "git-localize"
    assert main["image"] == IMAGE
    for one in (localize, main):
        assert one["volumeMounts"] == [{"name": "code-dir", "mountPath": "/code"}]
    assert f"--ref={COMMIT}" in localize["args"]
    assert "--link=training-job" in localize["args"]
    assert main["command"][-1] == "python training-job/train.py --epochs 10"
    assert main["workingDir"] == "/code"
    assert pod["restartPolicy"] == "Never"


@pytest.mark.parametrize("name", ["run-torch", "run-tensorflow", "run-strict-torch"])
def test_distributed__every_task__is_told_of_the_others_by_names_they_have(name: str) -> None:
    manifests = CASES[name].render().manifests
    (service,) = [one["metadata"] for one in manifests if one["kind"] == "Service"]
    zone = f"{service['name']}.{service['namespace']}.svc"
    told: dict[str, dict[str, str]] = {}
    for one in manifests:
        if one["kind"] == "Pod":
            assert one["spec"]["subdomain"] == service["name"]
            env = one["spec"]["containers"][0]["env"]
            host = f"{one['spec']['hostname']}.{zone}"
            told[host] = {each["name"]: each["value"] for each in env if "value" in each}
    world = {host: env for host, env in told.items() if "RANK" in env}
    apart = {host.rpartition(f".{zone}")[0][:-2] for host in told.keys() - world.keys()}
    assert apart <= {"ps", "evaluator"}
    assert sorted(int(env["RANK"]) for env in world.values()) == list(range(len(world)))
    (first,) = [host for host, env in world.items() if env["RANK"] == "0"]
    for env in world.values():
        assert env["MASTER_ADDR"] == env["PET_MASTER_ADDR"] == first
        assert int(env["WORLD_SIZE"]) == int(env["PET_NNODES"]) == len(world)
        assert env["RANK"] == env["NODE_RANK"] == env["PET_NODE_RANK"]
    for host, env in told.items():
        if "TF_CONFIG" not in env:
            continue
        config = json.loads(env["TF_CONFIG"].replace("$$", "$"))
        task = config["task"]
        assert host.startswith(f"{task['type']}-{task['index']}.")
        listed = {each.partition(":")[0] for hosts in config["cluster"].values() for each in hosts}
        assert listed == {each for each in told if not each.startswith("evaluator")}
        if task["type"] != "evaluator":
            assert config["cluster"][task["type"]][task["index"]].startswith(f"{host}:")


def test_serving__with_an_autoscaler__leaves_the_number_to_it() -> None:
    by_kind = {one["kind"]: one["spec"] for one in CASES["serving-scaled"].render().manifests[1:]}
    assert "replicas" not in by_kind["Deployment"]
    assert by_kind["HorizontalPodAutoscaler"]["minReplicas"] == 2
    fixed = {one["kind"]: one for one in CASES["serving-git"].render().manifests}
    assert fixed["Deployment"]["spec"]["replicas"] == 1
    assert "HorizontalPodAutoscaler" not in fixed


def test_notebook__with_code__begins_in_the_home_that_stays() -> None:
    (pod,) = pod_specs(CASES["notebook-git"].render().manifests)
    (main,) = pod["containers"]
    assert main["workingDir"] == "/home/seafloor"
    assert {"name": "home", "mountPath": "/home/seafloor"} in main["volumeMounts"]
    assert 'ln -s /code "$HOME/code"' in main["command"][-1]


def test_git_sync__what_it_is_told__stands_in_its_manual() -> None:
    seen = 0
    for case in CASES.values():
        for pod in pod_specs(case.render().manifests):
            for one in pod.get("initContainers", ()):
                if "git-sync" not in one["image"]:
                    continue
                seen += 1
                given = dict(argument.partition("=")[::2] for argument in one["args"])
                assert set(given) <= set(FLAGS)
                assert all(given[flag] for flag in REQUIRED)
                assert {flag for flag, value in given.items() if not value} <= {
                    flag for flag, default in FLAGS.items() if default is False
                }
                assert given["--submodules"] in SUBMODULES
                ours = [env["name"] for env in one.get("env", ()) if env["name"].startswith("GIT")]
                assert set(ours) <= {*VARIABLES, "GIT_SSL_CAINFO"}
                # Where it looks for a key without being told.
                places = [mount["mountPath"] for mount in one["volumeMounts"]]
                assert ("--add-user" in given) == ("/etc/git-secret" in places)
    assert seen > 20
