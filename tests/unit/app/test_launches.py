"""Which variables a launched run gets."""

from __future__ import annotations

from typing import Any, cast

import pytest

from seafloor.app.launches import Launches
from seafloor.domain.ids import WorkloadId
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
    launches = Launches(
        cast("Any", None),
        cast("Any", None),
        cast("Any", None),
        volumes_elsewhere=False,
        url=URL,
        with_tokens=False,
    )
    environment = None if lock is None else EnvironmentLockRef("e@1", "3.11.7", lock, "digest")
    made = launches.variables(RUN, None, environment)
    assert made["MLFLOW_TRACKING_URI"] == address
    assert made["SEAFLOOR_URL"] == URL
