"""Manifests in short: what is said of them is what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from tests.kube.cases import IMAGE, SUM, Case, cases

from seafloor.launch.kubernetes.summary import summarize

CASES = {case.name: case for case in cases()}
each = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def found(value: Any, field: str) -> Iterator[Any]:
    """Every value of a field, wherever it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == field:
                yield inner
            yield from found(inner, field)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from found(inner, field)


@each
def test_summary__of_each_case__names_all_images_secrets_and_claims(case: Case) -> None:
    rendered = case.render()
    made = summarize(rendered, case.code)
    assert {one.image for one in made.images} == set(found(rendered.manifests, "image"))
    assert all(one.by_digest == ("@sha256:" in one.image) for one in made.images)

    secrets = {one["name"] for one in found(rendered.manifests, "secretKeyRef")}
    secrets |= {one["name"] for one in found(rendered.manifests, "secretRef")}
    secrets |= set(found(rendered.manifests, "secretName"))
    for references in found(rendered.manifests, "imagePullSecrets"):
        secrets |= {one["name"] for one in references}
    assert {one.name for one in made.secrets} == secrets
    assert all(one.uses for one in made.secrets)

    claims = {one["claimName"] for one in found(rendered.manifests, "persistentVolumeClaim")}
    assert {name.partition(" ")[0] for name in made.volumes} == claims
    assert len(made.objects) == len(rendered.manifests)


@each
def test_summary__of_each_case__counts_the_pods_and_what_they_ask_for(case: Case) -> None:
    rendered = case.render()
    made = summarize(rendered, case.code)
    pods = [one for one in rendered.manifests if one["kind"] == "Pod"]
    pods += [one for one in rendered.manifests if "template" in one.get("spec", {})]
    count = sum(one["spec"].get("replicas", 1) for one in pods)
    assert sum(one.count for one in made.pods) == count
    assert all({"cpu", "memory"} <= set(one.requests) for one in made.pods)
    assert {one.container for one in made.fetches} == set(_init_names(rendered.manifests))
    assert all(1 <= one.pods <= count for one in made.fetches)


def _init_names(manifests: Any) -> Iterator[str]:
    for containers in found(manifests, "initContainers"):
        yield from (one["name"] for one in containers)


def test_summary__of_three_workers__says_that_each_fetches_the_code() -> None:
    torch = CASES["run-strict-torch"]
    made = summarize(torch.render(), torch.code)
    assert [(one.task, one.count) for one in made.pods] == [("worker", 3)]
    (fetch,) = [one for one in made.fetches if one.container == "git-localize"]
    assert fetch.pods == 3
    assert fetch.size_bytes is None


def test_summary__of_a_snapshot__knows_its_size() -> None:
    snapshot = CASES["experiment-snapshot"]
    (fetch,) = summarize(snapshot.render(), snapshot.code).fetches
    assert fetch.source == f"snapshot {SUM}"
    assert fetch.size_bytes == 1234


def test_summary__of_the_seed__has_its_image_for_the_main_container() -> None:
    seed = CASES["seed"]
    made = summarize(seed.render(), seed.code)
    assert [one.image for one in made.images if one.containers == ("main",)] == [IMAGE]
