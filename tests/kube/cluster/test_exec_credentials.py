"""A program of the kubeconfig gives the token: against a real API server."""

from __future__ import annotations

import asyncio
import base64
import json
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.kube.cluster.cluster_world import Namespace, authority_of, own_namespace
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Service

from live_server import wait_for
from seafloor.domain.errors import ClusterUnavailable, Forbidden, InvalidValue, SeafloorError
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.connection import Connection, read_config

pytestmark = pytest.mark.timeout(900)

PROGRAM = """\
#!{python}
import json, os, pathlib, sys, time
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
runs = pathlib.Path(sys.argv[1])
runs.write_text((runs.read_text() if runs.exists() else "") + "x")
{body}
status = {{"token": token, **more}}
print(json.dumps({{"apiVersion": info["apiVersion"], "kind": "ExecCredential", "status": status}}))
"""
V1 = "client.authentication.k8s.io/v1"


@pytest.fixture
def config(service: Callable[[str], Service]) -> str:
    return service("kubernetes_api").env["KUBECONFIG"]


class World:
    """A kubeconfig whose user is a program."""

    def __init__(self, config: str, folder: Path) -> None:
        self.runs = folder / "runs"
        self._config = config
        self._folder = folder

    def token(self, namespace: Namespace) -> str:
        """Of an account of the cluster, which may read nothing but is somebody."""
        path = f"{namespace.path}/serviceaccounts/default"
        kubernetes = namespace.kubernetes
        name = wait_for(lambda: kubernetes.call("GET", path).get("secrets"), what="its token")
        secret = kubernetes.call("GET", f"{namespace.path}/secrets/{name[0]['name']}")
        return base64.b64decode(secret["data"]["token"]).decode()

    def connection(self, body: str, *, version: str = V1, **more: Any) -> Connection:
        """To the cluster, with what a program with this body prints."""
        program = self._folder / "bin" / "give-token"
        program.parent.mkdir(exist_ok=True)
        program.write_text(PROGRAM.format(python=sys.executable, body=body))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        file = self._folder / "kubeconfig"
        of_cluster = {
            "server": Kubernetes.of_kubeconfig(self._config).url,
            "certificate-authority": str(authority_of(self._config)),
        }
        told = {"apiVersion": version, "command": "./bin/give-token", "args": [str(self.runs)]}
        written = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": of_cluster}],
            "users": [{"name": "u", "user": {"exec": {**told, **more}}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        file.write_text(json.dumps(written))
        return Connection(read_config(file))


@pytest.fixture
def world(config: str, tmp_path: Path) -> World:
    return World(config, tmp_path)


@pytest.fixture
def token(config: str, world: World) -> Any:
    with own_namespace(Kubernetes.of_kubeconfig(config)) as namespace:
        yield world.token(namespace)


async def whoami(connection: Connection) -> str:
    """Name of the account that the cluster takes us for, which it says when it refuses."""
    with pytest.raises(Forbidden) as refused:
        await connection.request("GET", "api/v1/nodes")
    return refused.value.message.partition('User "')[2].partition('"')[0]


@pytest.mark.parametrize("version", [V1, "client.authentication.k8s.io/v1beta1"])
async def test_requests__of_many_at_once__ask_the_program_once(
    world: World, token: str, version: str
) -> None:
    body = f"token, more = {token!r}, {{}}; assert info['apiVersion'] == {version!r}"
    connection = world.connection(body, version=version)
    try:
        found = await asyncio.gather(*(whoami(connection) for _ in range(8)))
    finally:
        await connection.close()
    assert all(name.endswith(":default") for name in found), found
    assert world.runs.read_text() == "x"


async def test_request__with_a_token_near_its_end__has_a_new_one_made(
    world: World, token: str
) -> None:
    ends = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
    body = f"token, more = {token!r}, {{'expirationTimestamp': {ends!r}}}"
    connection = world.connection(body)
    try:
        await whoami(connection)
        await whoami(connection)
    finally:
        await connection.close()
    assert world.runs.read_text() == "xx"


async def test_request__with_a_token_that_is_refused__is_sent_again_with_a_new_one(
    world: World, token: str
) -> None:
    body = f"token, more = ({token!r} if runs.read_text() == 'xx' else 'stale'), {{}}"
    connection = world.connection(body)
    try:
        assert (await whoami(connection)).endswith(":default")
        assert (await whoami(connection)).endswith(":default")
    finally:
        await connection.close()
    assert world.runs.read_text() == "xx"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("sys.exit('log in first: cloud auth login')", "ended with 1: log in first: cloud auth"),
        ("print('Welcome!'); sys.exit(0)", "printed no ExecCredential"),
        ("token, more = '', {'clientCertificateData': 'x'}", "gave no token"),
    ],
)
async def test_request__the_program_gives_nothing__says_why(
    world: World, body: str, words: str
) -> None:
    connection = world.connection(body)
    try:
        with pytest.raises(ClusterUnavailable, match="no credentials") as refused:
            await Cluster(connection).version()
    finally:
        await connection.close()
    assert words in refused.value.message
    assert world.runs.read_text() == "x"  # it would say the same at once


async def test_request__the_program_is_not_there__gives_its_hint(world: World) -> None:
    hint = "Install it with: cloud components install"
    connection = world.connection("", command="no-such-program-here", installHint=hint)
    try:
        with pytest.raises(SeafloorError, match="No such file or directory") as refused:
            await Cluster(connection).version()
    finally:
        await connection.close()
    assert hint in refused.value.message


def test_connection__a_version_that_nobody_speaks__is_refused(world: World) -> None:
    with pytest.raises(InvalidValue, match="and Seafloor only"):
        world.connection("", version="client.authentication.k8s.io/v1alpha1")
