"""Starts that an API server refuses: for good, or because it has only just begun itself."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster.cluster_world import kubeconfig

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import ClusterUnavailable, PodRejected
from seafloor.domain.ids import WorkloadId
from seafloor.domain.specs import parse_experiment
from seafloor.environments.build import EnvironmentCache
from seafloor.launch.kubernetes import connection as connections
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.connection import TRIES_MAX, Connection, read_config
from seafloor.launch.kubernetes.launcher import KubernetesLauncher
from seafloor.launch.kubernetes.policy import ImageRules, Policy
from seafloor.launch.protocol import TaskKey, TaskLaunch

WHO = 'User "system:serviceaccount:ml:seafloor"'
NO_RIGHT = (
    f'configmaps "r" is forbidden: {WHO} cannot patch resource "configmaps" in API group "" '
    'in the namespace "ml"'
)
POLICY = Policy(images=ImageRules(default="registry.example/ml@sha256:" + "0" * 64))
MADE = ["PATCH", "POST secrets", "POST pods"]
READY, NOT_READY = Answer(200, b"ok"), Answer(500, b"[-]informer-sync failed: reason withheld")


def forbidden(message: str) -> Answer:
    """As an API server says so."""
    return Answer(403, {"kind": "Status", "message": message, "reason": "Forbidden", "code": 403})


UNTOLD = forbidden(f'forbidden: {WHO} cannot get path "/readyz"')


class ApiServer(ScriptedServer):
    """One that refuses the first changes, is ready or not by turns, and at last takes everything.

    Args:
        folder: For the kubeconfig.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def script(self, refuses: list[Answer], ready: list[Answer]) -> None:
        """Say what it does.

        Args:
            refuses: Answers to the first changes.
            ready: To the first questions whether it is ready; the last of them stays.
        """

        def answer(asked: Asked) -> Answer:
            if asked.path == "/readyz":
                return ready.pop(0) if len(ready) > 1 else ready[0]
            return refuses.pop(0) if refuses else _made(asked)

        self.answer = answer

    @property
    def verbs(self) -> list[str]:
        """What it was asked."""
        return [_verb(one) for one in self.asked]


def _verb(asked: Asked) -> str:
    """Without the name of the only object that is patched, the anchor."""
    last = asked.path.partition("?")[0].rpartition("/")[2]
    return asked.method if asked.method == "PATCH" else f"{asked.method} {last}"


def _made(asked: Asked) -> Answer:
    """An object as it was asked for, with what a server adds."""
    made: dict[str, Any] = json.loads(asked.body)
    return Answer(
        201, {**made, "metadata": {**made["metadata"], "uid": "u", "resourceVersion": "1"}}
    )


@pytest.fixture
def api(tmp_path: Path) -> Iterator[ApiServer]:
    server = ApiServer(tmp_path)
    with server.running():
        yield server


@asynccontextmanager
async def start_at(api: ApiServer, tries_max: int = TRIES_MAX) -> AsyncIterator[Callable[[], Any]]:
    """Give the start of a run there."""
    config = kubeconfig(api.folder / "kubeconfig", url=api.url, token="t")
    connection = Connection(read_config(config), tries_max=tries_max)
    launcher = KubernetesLauncher(
        Cluster(connection),
        POLICY,
        place="p",
        url="http://seafloor.example:7340",
        on_change=lambda: None,
        environments=EnvironmentCache(Path("/nowhere")),
    )
    key = TaskKey(WorkloadId("0123456789abcdef" * 2), 1)
    launch = TaskLaunch(
        key=key,
        api_path=f"/api/v1/runs/{key.workload_id}",
        command="true",
        code=None,
        environment=None,
        env={},
        token="t",
        name="n",
        spec=parse_experiment({"name": "t", "command": "true"}),
    )
    try:
        yield lambda: launcher.start(launch)
    finally:
        await launcher.close()
        await connection.close()


async def test_start__server_that_has_not_read_the_rights_yet__is_asked_until_it_has(
    api: ApiServer,
) -> None:
    api.script([forbidden(NO_RIGHT)] * 3, [UNTOLD, NOT_READY, READY])
    async with start_at(api) as start:
        await start()
    assert api.verbs == ["PATCH", "GET readyz"] * 3 + MADE


async def test_start__server_that_stays_not_ready__is_tried_again_later(api: ApiServer) -> None:
    api.script([forbidden(NO_RIGHT)] * 2, [NOT_READY])
    async with start_at(api, tries_max=2) as start:
        with pytest.raises(ClusterUnavailable, match=r"not ready.*cannot patch resource"):
            await start()


async def test_start__right_that_is_missing__is_rejected_by_a_server_that_is_ready(
    api: ApiServer,
) -> None:
    api.script([forbidden(NO_RIGHT)] * 2, [READY])
    async with start_at(api) as start:
        with pytest.raises(PodRejected, match="cannot patch resource"):
            await start()
    assert api.verbs == ["PATCH", "GET readyz", "PATCH"]


async def test_start__server_that_never_says_whether_it_is_ready__is_believed_in_the_end(
    api: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_UNTOLD_MAX_S", 0.25)
    api.script([forbidden(NO_RIGHT)] * 20, [UNTOLD])
    async with start_at(api) as start:
        with pytest.raises(PodRejected, match="cannot patch resource"):
            await start()
        tries = api.verbs
        assert tries.count("GET readyz") > 1
        with pytest.raises(PodRejected, match="cannot patch resource"):
            await start()  # at once: it was long enough
    assert api.verbs[len(tries) :] == ["PATCH", "GET readyz", "PATCH"]


@pytest.mark.parametrize(
    "message",
    [
        'pods "r" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true',
        'pods "r" is forbidden: unable to validate against any pod security policy: []',
        'admission webhook "deny.example" denied the request: forbidden by rule 7',
        'pods "r" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
        'configmaps "r" is forbidden: unable to create new content as it is being terminated',
    ],
    ids=["pod security", "pod security policy", "webhook", "limit range", "namespace goes"],
)
async def test_start__refused_by_a_policy__is_rejected_at_once(
    api: ApiServer, message: str
) -> None:
    api.script([forbidden(message)], [NOT_READY])
    async with start_at(api) as start:
        with pytest.raises(PodRejected, match="does not let Seafloor start it"):
            await start()
    assert api.verbs == ["PATCH"]


async def test_start__quota_is_used_up__says_so_at_once(api: ApiServer) -> None:
    api.script([forbidden('configmaps "r" is forbidden: exceeded quota: q, used: pods=1')], [READY])
    async with start_at(api) as start:
        with pytest.raises(ClusterUnavailable, match="quota of the namespace"):
            await start()
    assert api.verbs == ["PATCH"]
