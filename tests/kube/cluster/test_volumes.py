"""Volumes as claims of a real API server: made once, attached, told of, removed."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import urllib3
from tests.kube.cluster.cluster_world import PATIENCE_S, POLICY, Namespace, own_namespace
from tests.kube.cluster.volume_world import claims, offered, storage_class, take_away
from tests.services._kubernetes_client import Kubernetes
from tests.services._service import Service

from client_process import Client
from live_server import LiveServer, wait_for

pytestmark = pytest.mark.timeout(900)

VOLUMES = "/api/v1/volumes"
KILLS = int(os.environ.get("SEAFLOOR_VOLUME_KILLS", "2"))

StartServer = Callable[..., LiveServer]


@pytest.fixture
def config(service: Callable[[str], Service]) -> str:
    return service("kubernetes_api").env["KUBECONFIG"]


@pytest.fixture
def namespace(config: str) -> Iterator[Namespace]:
    with own_namespace(Kubernetes.of_kubeconfig(config)) as made:
        yield made


@pytest.fixture
def start_server(config: str, namespace: Namespace, tmp_path: Path) -> Iterator[StartServer]:
    """Start a server whose runs are pods of the namespace; one for a test."""
    made: list[LiveServer] = []

    def start(*, local: bool = False, **policy: Any) -> LiveServer:
        file = tmp_path / "policy.yaml"
        file.write_text(json.dumps({**POLICY, **policy, "namespaces": [namespace.name]}))
        env = {
            "SEAFLOOR_LAUNCH__KIND": "kubernetes",
            "SEAFLOOR_LAUNCH__KUBECONFIG": config,
            "SEAFLOOR_LAUNCH__POLICY": str(file),
        }
        server = LiveServer(tmp_path / "data", env={} if local else env)
        made.append(server)
        return server.start()

    yield start
    for server in made:
        server.stop()


def create(server: LiveServer, name: str, **more: Any) -> Any:
    return server.post(VOLUMES, {"name": name, "size": "20Gi", **more})


def refused(server: LiveServer, method: str, path: str, body: Any = None) -> Any:
    """Ask for what is refused; give the envelope."""
    status, answer = server.request(method, path, body)
    assert status >= 400, answer
    return answer


def spec_with(*volumes: dict[str, Any]) -> dict[str, Any]:
    return {"spec": {"name": "volumes", "command": "true", "volumes": list(volumes)}}


def at(name: str, path: str = "/data", **more: Any) -> dict[str, Any]:
    return {"volume": name, "path": path, **more}


def wait_words(server: LiveServer, name: str, words: str) -> Any:
    """Wait until its claim is said to fare so."""

    def look() -> Any:
        claim = server.get(f"{VOLUMES}/{name}")["claim"]
        return claim if words in claim["words"] else None

    return wait_for(look, timeout_s=PATIENCE_S, what=f'"{words}" of {name}')


def test_create__as_the_policy_says__is_a_claim_of_ours(
    start_server: StartServer, namespace: Namespace
) -> None:
    server = start_server(
        storage={"classes": ["fast", "slow"], "default_class": "slow", "volume_maximum": "100Gi"},
        labels={"cost-center": "ml"},
        annotations={"example.com/contact": "ml-team"},
    )
    made = create(server, "team-data")
    create(server, "shared", access_mode="RWX", storage_class="fast")

    (claim,) = claims(namespace, "team-data")
    metadata, spec = claim["metadata"], claim["spec"]
    assert made["claim"]["name"] == metadata["name"]
    assert spec["accessModes"] == ["ReadWriteOnce"]
    assert spec["storageClassName"] == "slow"
    assert spec["resources"]["requests"] == {"storage": "20Gi"}
    assert metadata["labels"]["cost-center"] == "ml"
    assert metadata["labels"]["seafloor/id"] == made["id"]
    assert metadata["annotations"]["example.com/contact"] == "ml-team"
    assert "ownerReferences" not in metadata
    (other,) = claims(namespace, "shared")
    assert other["spec"]["accessModes"] == ["ReadWriteMany"]
    assert other["spec"]["storageClassName"] == "fast"
    for more, rule in (
        ({"storage_class": "gold"}, "storage.classes"),
        ({"size": "101Gi"}, "storage.volume_maximum"),
    ):
        answer = refused(server, "POST", VOLUMES, {"name": "x", "size": "1Gi", **more})
        assert (answer["code"], f"`{rule}`" in answer["message"]) == ("forbidden", True)
    assert refused(server, "POST", VOLUMES, {"name": "x"})["field"] == "size"
    assert [one["name"] for one in server.get(VOLUMES)["items"]] == ["shared", "team-data"]
    assert len(claims(namespace)) == 2


def test_claim__however_it_fares__is_told_in_the_users_words(
    start_server: StartServer, namespace: Namespace
) -> None:
    server = start_server()
    with (
        storage_class(namespace.kubernetes, namespace.name, "later", at_once=False) as later,
        storage_class(namespace.kubernetes, namespace.name, "now", at_once=True) as now,
    ):
        create(server, "first", storage_class=later)
        create(server, "nowhere", storage_class="no-such-class")
        create(server, "full", storage_class=now)
        assert wait_words(server, "first", "when the first run")["state"] == "waiting"
        assert wait_words(server, "nowhere", 'no storage class "no-such')["state"] == "failing"
        wait_for(
            lambda: server.get(f"{VOLUMES}/full")["claim"]["state"] in ("failing", "waiting"),
            timeout_s=PATIENCE_S,
            what="a word on it",
        )
        with offered(namespace.kubernetes, now) as disk:
            bound = wait_words(server, "full", "Bound, 30Gi")
            assert (bound["state"], bound["size_bytes"]) == ("bound", 30 << 30)
            assert bound["storage_class"] == now
            take_away(namespace.kubernetes, disk)
            assert wait_words(server, "full", "lost its volume")["state"] == "lost"
            assert (
                "lost" in refused(server, "POST", "/api/v1/runs", spec_with(at("full")))["message"]
            )
        (claim,) = claims(namespace, "first")
        path = f"{namespace.path}/persistentvolumeclaims/{claim['metadata']['name']}"
        namespace.kubernetes.call("DELETE", path)
        assert wait_words(server, "first", "Somebody deleted")["state"] == "missing"
        gone = refused(server, "POST", "/api/v1/runs", spec_with(at("first")))
        assert (gone["code"], "deleted the claim" in gone["message"]) == ("not_found", True)
        assert claims(namespace, "first") == []  # an empty one in its place would be a lie


def test_run__with_volumes__mounts_their_claims_and_one_writes(
    start_server: StartServer, namespace: Namespace
) -> None:
    server = start_server()
    create(server, "team-data")
    create(server, "scratch", access_mode="RWX")
    by_name = {one["metadata"]["annotations"]["seafloor/name"]: one for one in claims(namespace)}
    wanted = spec_with(at("team-data"), at("scratch", "/scratch", read_only=True))
    steps = server.post("/api/v1/plans", wanted)["steps"]
    assert any("team-data (RWO" in one and "at /data." in one for one in steps)
    assert any("scratch (RWX" in one and "/scratch, read-only" in one for one in steps)

    writer = server.post("/api/v1/runs", wanted)
    pod = wait_for(lambda: namespace.all("pods"), timeout_s=PATIENCE_S, what="the pod")[0]

    volumes = {one["name"]: one for one in pod["spec"]["volumes"]}
    (main,) = pod["spec"]["containers"]
    mounted = {
        mount["mountPath"]: (
            volumes[mount["name"]]["persistentVolumeClaim"]["claimName"],
            mount.get("readOnly", False),
        )
        for mount in main["volumeMounts"]
        if "persistentVolumeClaim" in volumes[mount["name"]]
    }
    assert mounted == {
        "/data": (by_name["team-data"]["metadata"]["name"], False),
        "/scratch": (by_name["scratch"]["metadata"]["name"], True),
    }
    variables = {one["name"]: one.get("value") for one in main["env"]}
    assert variables["SEAFLOOR_VOLUME_TEAM_DATA"] == "/data"
    for method, path, body in (
        ("POST", "/api/v1/runs", spec_with(at("team-data"))),
        ("DELETE", f"{VOLUMES}/team-data", None),
        ("DELETE", f"{VOLUMES}/scratch", None),
    ):
        answer = refused(server, method, path, body)
        assert answer["code"] == "conflict"
        assert writer["id"] in answer["message"]
    reader = server.post("/api/v1/runs", spec_with(at("team-data", read_only=True)))
    other = server.post("/api/v1/runs", spec_with(at("scratch")))
    for run in (writer, reader, other):
        server.post(f"/api/v1/runs/{run['id']}/stop")
        server.wait_state(run["id"], "stopped", timeout_s=PATIENCE_S)
    for name in ("team-data", "scratch"):
        assert server.request("DELETE", f"{VOLUMES}/{name}")[0] == 200
    wait_for(lambda: claims(namespace) == [], timeout_s=PATIENCE_S, what="the claims to go")
    assert server.get(VOLUMES)["items"] == []


def test_claim__that_others_made__is_attached_by_its_name_and_never_deleted(
    start_server: StartServer, namespace: Namespace
) -> None:
    server = start_server(volumes={"given": {"claim": "of-the-administrator"}})
    made = create(server, "ours")
    (ours,) = claims(namespace)
    name = ours["metadata"]["name"]
    copied = {
        "metadata": {**{key: ours["metadata"][key] for key in ("labels", "annotations")}},
        "spec": {key: ours["spec"][key] for key in ("accessModes", "resources")},
    }
    copied["metadata"]["name"] = "a-copy-of-somebody"
    namespace.kubernetes.call("POST", f"{namespace.path}/persistentvolumeclaims", copied)

    run = server.post("/api/v1/runs", spec_with(at("given"), at("ours", "/ours")))

    pod = wait_for(lambda: namespace.all("pods"), timeout_s=PATIENCE_S, what="the pod")[0]
    mounted = {
        one["persistentVolumeClaim"]["claimName"]
        for one in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in one
    }
    assert mounted == {"of-the-administrator", name}
    answer = refused(server, "POST", VOLUMES, {"name": "given", "size": "1Gi"})
    assert "`volumes.given`" in answer["message"]
    for other in ("nothing", name):
        assert refused(server, "POST", "/api/v1/runs", spec_with(at(other)))
    server.post(f"/api/v1/runs/{run['id']}/stop")
    server.wait_state(run["id"], "stopped", timeout_s=PATIENCE_S)
    assert server.request("DELETE", f"{VOLUMES}/ours")[0] == 200
    wait_for(
        lambda: [one["metadata"]["name"] for one in claims(namespace)] == ["a-copy-of-somebody"],
        timeout_s=PATIENCE_S,
        what="ours to go, and the copy to stay",
    )
    server.stop()
    server = start_server()
    names = {"metadata": {"name": "by-kubectl"}, "spec": copied["spec"]}
    namespace.kubernetes.call("POST", f"{namespace.path}/persistentvolumeclaims", names)
    server.post("/api/v1/runs", spec_with(at("by-kubectl")))
    missing = refused(server, "POST", "/api/v1/runs", spec_with(at("nothing")))
    assert "seafloor volume create nothing" in missing["message"]
    assert made["id"] not in {one["id"] for one in server.get(VOLUMES)["items"]}


def test_volumes__server_killed_again_and_again__each_has_one_claim_and_removed_ones_none(
    start_server: StartServer, namespace: Namespace
) -> None:
    server = start_server()
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    drawn = random.Random(seed)
    names = [f"v-{number}" for number in range(12)]
    removed = names[::3]

    def until_done(name: str) -> None:
        """Create, and of some remove, repeating what was not answered."""
        body = {"name": name, "size": "1Gi"}
        wait_for(lambda: _asked(server, "POST", VOLUMES, body), timeout_s=PATIENCE_S, what=name)
        if name in removed:
            path = f"{VOLUMES}/{name}"
            wait_for(lambda: _asked(server, "DELETE", path), timeout_s=PATIENCE_S, what=name)

    with ThreadPoolExecutor(4) as pool:
        work = [pool.submit(until_done, name) for name in names]
        for kill in range(KILLS):
            least = (kill + drawn.random()) * len(names) / (KILLS + 1)
            wait_for(lambda least=least: len(claims(namespace)) >= least, timeout_s=PATIENCE_S)
            server.kill()
            server.start()
        for one in work:
            one.result()
    kept = sorted(set(names) - set(removed))
    assert sorted(one["name"] for one in server.get(VOLUMES)["items"]) == kept
    wait_for(
        lambda: sorted(_volumes_of(namespace)) == kept,
        timeout_s=PATIENCE_S,
        what="one claim for each volume, and no more",
    )


def _volumes_of(namespace: Namespace) -> list[str]:
    return [one["metadata"]["annotations"]["seafloor/name"] for one in claims(namespace)]


def _asked(server: LiveServer, method: str, path: str, body: Any = None) -> bool:
    """Whether the server did it, now or before; False: it is away, or only just back."""
    try:
        status, answer = server.request(method, path, body)
    except urllib3.exceptions.HTTPError:
        return False
    if status == 503:
        return False
    done = (201, 409) if method == "POST" else (200, 404)
    assert status in done, answer
    return True


def test_render__of_volumes_of_the_server__attaches_what_its_launcher_does(
    start_server: StartServer, namespace: Namespace, tmp_path: Path
) -> None:
    server = start_server()
    create(server, "team-data")
    create(server, "scratch", access_mode="RWX")
    names = {"metadata": {"name": "by-kubectl"}, "spec": claims(namespace)[0]["spec"]}
    namespace.kubernetes.call("POST", f"{namespace.path}/persistentvolumeclaims", names)
    attached = [at("team-data", read_only=True), at("scratch", "/s"), at("by-kubectl", "/k")]
    spec = {"name": "rendered", "command": "true", "volumes": attached}
    (tmp_path / "run.yaml").write_text(json.dumps({"experiment": spec}))
    user = Client(tmp_path / "home", server.url)
    wanted = ("-f", "run.yaml", "--policy", "policy.yaml")

    done = user.cli("render", *wanted, "--json", cwd=tmp_path)
    assert done.returncode == 0, done
    rendered = json.loads(done.stdout)["items"][1]
    server.post("/api/v1/runs", {"spec": spec})
    launched = wait_for(lambda: namespace.all("pods"), timeout_s=PATIENCE_S, what="the pod")[0]

    assert rendered["metadata"]["namespace"] == namespace.name
    assert len(_attached(rendered)) == 3
    assert _attached(rendered) == _attached(launched)
    plan = user.cli("plan", *wanted, cwd=tmp_path)
    assert "  the volume team-data, RWO" in plan.stdout
    spec["volumes"] = [at("team-data"), at("scratch", "/s")]
    (tmp_path / "run.yaml").write_text(json.dumps({"experiment": spec}))
    server.post("/api/v1/runs", {"spec": spec})
    said = user.cli("plan", *wanted, cwd=tmp_path).stderr
    assert 'The volume "team-data" is attached for writing by the run' in said
    assert "scratch" not in said
    (claim,) = claims(namespace, "team-data")
    name = claim["metadata"]["name"]
    namespace.kubernetes.remove(f"{namespace.path}/persistentvolumeclaims/{name}")
    gone = user.cli("render", *wanted, cwd=tmp_path)
    assert (gone.returncode, gone.stdout) == (2, "")
    assert 'The volume "team-data" cannot be had' in gone.stderr


def _attached(pod: dict[str, Any]) -> list[tuple[str, str, bool, str]]:
    """Claim, path, whether read-only, and variable of each volume of a pod."""
    (main,) = [one for one in pod["spec"]["containers"] if one["name"] == "main"]
    claims = {
        one["name"]: one["persistentVolumeClaim"]["claimName"]
        for one in pod["spec"]["volumes"]
        if "persistentVolumeClaim" in one
    }
    variables = {
        one["value"]: one["name"]
        for one in main["env"]
        if one["name"].startswith("SEAFLOOR_VOLUME_")
    }
    return [
        (
            claims[one["name"]],
            one["mountPath"],
            one.get("readOnly", False),
            variables[one["mountPath"]],
        )
        for one in main["volumeMounts"]
        if one["name"] in claims
    ]


def test_resize__as_class_policy_and_quota_allow__is_asked_of_the_cluster_and_told_of(
    start_server: StartServer, namespace: Namespace, tmp_path: Path
) -> None:
    server = start_server(storage={"volume_maximum": "100Gi"})
    kubernetes, name = namespace.kubernetes, namespace.name
    user = Client(tmp_path / "home", server.url)
    with (
        storage_class(kubernetes, name, "grows", at_once=True, expands=True) as grows,
        storage_class(kubernetes, name, "fixed", at_once=True) as fixed,
        offered(kubernetes, grows),
        offered(kubernetes, fixed),
    ):
        create(server, "data", storage_class=grows)
        create(server, "fixed", storage_class=fixed)
        wait_words(server, "data", "Bound, 30Gi.")
        wait_words(server, "fixed", "Bound, 30Gi.")
        create(server, "unbound", storage_class=grows)  # which has one disk only
        namespace.set_quota("disks", "requests.storage", "110Gi", of="persistentvolumeclaims")
        for volume, size, code, said in (
            ("data", "101Gi", "forbidden", "`storage.volume_maximum`"),
            ("data", "100Gi", "forbidden", "exceeded quota: disks"),
            ("data", "19Gi", "conflict", "has 30Gi: none can be made smaller"),
            ("data", "0", "invalid_value", "more than 0"),
            ("fixed", "40Gi", "not_supported", "`allowVolumeExpansion`"),
            ("unbound", "40Gi", "conflict", "once its claim is bound"),
            ("nothing", "40Gi", "not_found", "no volume"),
        ):
            answer = refused(server, "POST", f"{VOLUMES}/{volume}/resize", {"size": size})
            assert (answer["code"], said in answer["message"]) == (code, True), answer
        assert {one["size_bytes"] for one in server.get(VOLUMES)["items"]} == {20 << 30}

        done = user.cli("volume", "resize", "data", "50Gi")
        assert done.stdout == "data  Bound, 30Gi, and being made 50Gi.\n", done
        assert _requested(namespace) == "50Gi"
        assert "free, grows to 50.0 GiB" in user.cli("volume", "list").stdout
        _play_resizer(namespace, "FileSystemResizePending")
        wait_words(server, "data", "and made 50Gi when a run attaches it next")
        _play_resizer(namespace, "ControllerResizeError", "the disks are used up")
        told = wait_words(server, "data", "could not make it 50Gi so far: the disks are used up.")
        assert (told["state"], told["resize"]) == ("bound", "failed")
        assert "could not grow to 50.0 GiB" in user.cli("volume", "list").stdout
        _play_resizer(namespace, None, capacity="50Gi")
        told = wait_words(server, "data", "Bound, 50Gi.")
        assert (told["size_bytes"], told["requested_bytes"], told["resize"]) == (
            50 << 30,
            50 << 30,
            None,
        )
        assert server.post(f"{VOLUMES}/data/resize", {"size": "50Gi"})["size_bytes"] == 50 << 30
        assert "size 50.0 GiB, 50.0 GiB asked for" in user.cli("volume", "show", "data").stdout


def _requested(namespace: Namespace) -> str:
    (claim,) = claims(namespace, "data")
    return claim["spec"]["resources"]["requests"]["storage"]


def _play_resizer(
    namespace: Namespace, condition: str | None, message: str = "", *, capacity: str = "30Gi"
) -> None:
    """Say of the claim what would be said by whoever makes it larger."""
    (claim,) = claims(namespace, "data")
    said = {"type": condition, "status": "True", "message": message}
    status = {"conditions": [said] if condition else [], "capacity": {"storage": capacity}}
    path = f"{namespace.path}/persistentvolumeclaims/{claim['metadata']['name']}/status"
    namespace.kubernetes.call("PATCH", path, {"status": status}, kind="merge-patch+json")


def test_list__of_folders_and_claims__says_which_can_be_had(
    start_server: StartServer, namespace: Namespace, tmp_path: Path
) -> None:
    local = start_server(local=True)
    local.post(VOLUMES, {"name": "a-folder"})
    local.stop()
    server = start_server()
    create(server, "a-claim")
    user = Client(tmp_path / "home", server.url)
    listed = user.cli("volume", "list")
    assert listed.returncode == 0, listed
    assert "not here" in listed.stdout
    shown = user.cli("volume", "show", "a-claim")
    assert f"claim {namespace.name}/seafloor-volume-a-claim-" in shown.stdout
    assert "20.0 GiB asked for" in shown.stdout
    assert "not to be had here: It is a folder" in user.cli("volume", "show", "a-folder").stdout
    folder, claim = sorted(server.get(VOLUMES)["items"], key=lambda one: one["name"], reverse=True)
    assert (folder["path"], folder["claim"], "folder" in folder["away"]) == (None, None, True)
    assert (claim["path"], claim["away"], claim["claim"]["namespace"]) == (None, "", namespace.name)
    assert "folder" in refused(server, "POST", "/api/v1/runs", spec_with(at("a-folder")))["message"]
    assert refused(server, "DELETE", f"{VOLUMES}/a-folder")["code"] == "conflict"
    assert refused(server, "GET", f"{VOLUMES}/a-claim/usage")["code"] == "not_supported"
    no_snapshots = refused(server, "POST", f"{VOLUMES}/a-claim/snapshots")
    assert no_snapshots["code"] == "not_supported"
    assert "snapshot.storage.k8s.io" in no_snapshots["message"]
    server.stop()
    again = start_server(local=True)
    kinds = {one["name"]: bool(one["away"]) for one in again.get(VOLUMES)["items"]}
    assert kinds == {"a-folder": False, "a-claim": True}
    assert refused(again, "DELETE", f"{VOLUMES}/a-claim")["code"] == "conflict"
