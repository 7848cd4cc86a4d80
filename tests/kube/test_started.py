"""Runs that a server starts: the agent goes first, and each attempt is objects of its own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.kube.cases import ARCHIVE, HTTPS, policy_of
from tests.kube.restricted import violations
from tests.kube.schemas import VERSIONS, problems

from seafloor.domain.specs import parse_experiment
from seafloor.launch.kubernetes.agent_volume import AGENT_PATH
from seafloor.launch.kubernetes.identity import Start
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.request import PodRequest
from seafloor.launch.kubernetes.workload import render

OURS = "registry.example/seafloor:1"
RUN_ID = "0123456789abcdef" * 2


def with_images(policy: Policy, seafloor: str | None) -> Policy:
    digest = "registry.example/ml@sha256:" + "0" * 64
    images = msgspec.structs.replace(policy.images, seafloor=seafloor, default=digest)
    return msgspec.structs.replace(policy, images=images)


def started(
    policy: Policy, *, attempt: int = 1, code: Any = None, **spec: Any
) -> tuple[Manifest, ...]:
    parsed = parse_experiment({"name": "t", "command": "echo $(date)", **spec})
    start = Start(run_id=RUN_ID, attempt=attempt, place="p", env={"SEAFLOOR_RUN_ID": RUN_ID})
    request = PodRequest(spec=parsed, code=code, namespace="ml", owner_uid="u", start=start)
    return render(request, policy).manifests


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("code", "image"),
    [(None, None), (HTTPS, None), (None, OURS), (HTTPS, OURS), (ARCHIVE, OURS)],
    ids=["nothing", "git", "agent", "agent and git", "agent and archive"],
)
def test_started__with_any_code__is_valid_and_restricted(
    version: str, code: Any, image: str | None
) -> None:
    for manifest in started(with_images(policy_of("ours"), image), code=code):
        assert problems(manifest, version) == []
        if manifest["kind"] == "Pod":
            assert violations(manifest["spec"]) == []


def test_warnings__of_what_a_server_sees_to__are_for_manifests_alone() -> None:
    spec = parse_experiment({"name": "t", "command": "true", "retries": 2, "tags": {"a": "b"}})
    start = Start(run_id=RUN_ID, attempt=1, place="p")
    policy = with_images(Policy(), OURS)
    alone = PodRequest(spec=spec, code=None, namespace="ml")
    (retries, tags) = render(alone, policy).warnings
    assert "`retries`" in retries
    assert "`tags`" in tags
    assert render(msgspec.structs.replace(alone, start=start), policy).warnings == ()


def test_started__with_our_image__the_agent_runs_the_command() -> None:
    policy = with_images(Policy(), OURS)
    _, pod = started(policy, timeout="1m")
    (main,) = pod["spec"]["containers"]
    assert main["command"] == [
        *("python3", "-I", "-S", f"{AGENT_PATH}/agent.pyz", "pod", "--folder", AGENT_PATH),
        *("--api-path", f"/api/v1/runs/{RUN_ID}", "--attempt", "1", "--task", "main"),
        *("--timeout-s", "60", "--grace-s", "10", "--", "/bin/sh", "-c", "echo $$(date)"),
    ]
    assert main["terminationMessagePolicy"] == "FallbackToLogsOnError"
    first = pod["spec"]["initContainers"][0]
    assert first["command"][:3] == ["python", "-m", "seafloor.agent.bundle"]
    assert first["terminationMessagePolicy"] == "FallbackToLogsOnError"
    # The agent's own timeout comes first: it still delivers.
    assert pod["spec"]["activeDeadlineSeconds"] > 60


def test_started__without_our_image__the_command_runs_bare() -> None:
    _, pod = started(with_images(Policy(), None), timeout="1m")
    (main,) = pod["spec"]["containers"]
    assert main["command"] == ["/bin/sh", "-c", "echo $$(date)"]
    assert pod["spec"]["activeDeadlineSeconds"] == 60
    assert "initContainers" not in pod["spec"]


def test_started__attempts_of_a_run__are_objects_of_their_own() -> None:
    policy = with_images(Policy(), None)
    first, again, second = (started(policy, attempt=number) for number in (1, 1, 2))
    names = [[one["metadata"]["name"] for one in made] for made in (first, again, second)]
    assert names[0] == names[1]
    assert not set(names[0]) & set(names[2])
    labels = second[1]["metadata"]["labels"]
    assert (labels["seafloor/id"], labels["seafloor/attempt"]) == (RUN_ID, "2")
    assert labels["seafloor/place"] == "p"
