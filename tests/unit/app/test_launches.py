"""Which variables a launched run gets."""

from __future__ import annotations

from typing import Any, cast

import pytest

from seafloor.app.launches import Launches, in_use
from seafloor.domain.ids import WorkloadId
from seafloor.domain.specs import parse_experiment
from seafloor.domain.workloads import Workload, WorkloadKind, WorkloadState
from seafloor.launch.protocol import EnvironmentLockRef

URL = "http://127.0.0.1:7340"
RUN = Workload(
    id=WorkloadId("0" * 32),
    kind=WorkloadKind.RUN,
    project="default",
    name="",
    user="",
    state=WorkloadState.QUEUED,
    origin="launched",
    created_ns=0,
    updated_ns=0,
    attempt=1,
)
LAUNCHES = Launches(
    cast("Any", None),
    cast("Any", None),
    cast("Any", None),
    volumes_elsewhere=False,
    url=URL,
    with_tokens=False,
)


@pytest.mark.parametrize(
    ("lock", "address"),
    [
        (None, URL),
        ("mlflow-skinny==3.17.2 \\\n    --hash=sha256:00\n", URL),
        ("seafloor-extras==1.0\nnot-seafloor==2.0\n# seafloor==0.1.0\n", URL),
        ("mlflow-skinny==3.17.2\nseafloor==0.1.0 \\\n    --hash=sha256:00\n", f"seafloor+{URL}"),
        ("seafloor[server]==0.1.0\n", f"seafloor+{URL}"),
        ("seafloor @ file:///wheels/seafloor-0.1.0-py3-none-any.whl\n", f"seafloor+{URL}"),
    ],
)
def test_variables__by_what_the_environment_has__name_the_plugin_only_where_it_is(
    lock: str | None, address: str
) -> None:
    environment = None if lock is None else EnvironmentLockRef("e@1", "3.11.7", lock, "digest")
    made = LAUNCHES.variables(RUN, None, [environment])
    assert made["MLFLOW_TRACKING_URI"] == address
    assert made["SEAFLOOR_URL"] == URL


@pytest.mark.parametrize(
    ("of_role", "address"),
    [("with@1", f"seafloor+{URL}"), ("bare@1", URL), ("of-the-policy", URL)],
)
def test_variables__a_role_has_an_environment_of_its_own__name_the_plugin_if_all_have_it(
    of_role: str, address: str
) -> None:
    roles = {
        "with@1": EnvironmentLockRef("with@1", "3.11.7", "seafloor==0.1.0\n", "a"),
        "bare@1": EnvironmentLockRef("bare@1", "3.11.7", "six==1.17.0\n", "b"),
    }
    tasks = {
        "chief": {"command": "x"},
        "worker": {"command": "x", "environment": of_role},
    }
    spec = parse_experiment({"name": "a", "environment": "with", "tasks": tasks})
    named = in_use(spec, roles["with@1"], roles)
    assert LAUNCHES.variables(RUN, None, named)["MLFLOW_TRACKING_URI"] == address
