"""Distributed runs on one machine: a launch for each task, and where they find each other."""

from __future__ import annotations

import json
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from seafloor.domain.errors import PodRejected
from seafloor.domain.specs import ResourcesSpec, TaskSpec, parse_experiment
from seafloor.launch.local import ports as ports_module
from seafloor.launch.local.folders import AttemptFolders, attempt_folders
from seafloor.launch.local.gang import keys_of, launches_of, port_count
from seafloor.launch.local.ports import PORTS, Ports, is_free
from seafloor.launch.protocol import TaskLaunch
from seafloor.testing.launcher_suite import launch_of, task_key


def gang(env: dict[str, str] | None = None, **roles: TaskSpec) -> TaskLaunch:
    """A launch of several tasks."""
    spec = parse_experiment({"name": "gang", "command": "x", "resources": {"cpu": 2}})
    launch = launch_of("", env=env)
    fields = {name: getattr(launch, name) for name in launch.__struct_fields__}
    experiment = type(spec)(name="gang", resources=spec.resources, tasks=roles)
    return TaskLaunch(**{**fields, "spec": experiment})


@contextmanager
def listening(port: int, host: str) -> Iterator[None]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        yield


@pytest.fixture
def folders(tmp_path: Path) -> AttemptFolders:
    # By chance, as a run's: the search for ports begins elsewhere in each test.
    made = attempt_folders(tmp_path, task_key(secrets.randbelow(1 << 40)))
    made.make()
    return made


def test_launches__of_a_run_of_one_task__are_itself() -> None:
    launch = launch_of("true")
    assert port_count(launch) == 0
    assert keys_of(launch) == (launch.key,)
    assert launches_of(launch, ()) == (launch,)


def test_launches__of_roles_of_tensorflow__tell_each_where_all_are() -> None:
    launch = gang(
        {"MINE": "1"},
        ps=TaskSpec(command="serve", resources=ResourcesSpec(cpu=1, memory=1 << 30)),
        worker=TaskSpec(replicas=2, command=["train"]),
    )
    assert port_count(launch) == 4
    first, second, server = launches_of(launch, (20_000, 20_001, 20_002, 20_003))
    assert [one.key.task for one in (first, second, server)] == ["worker-0", "worker-1", "ps-0"]
    assert [one.key for one in (first, second, server)] == list(keys_of(launch))
    assert (first.command, server.command) == (["train"], "serve")
    assert (first.cpu_count, server.cpu_count, server.memory_bytes) == (2, 1, 1 << 30)
    assert second.env["MINE"] == "1"
    for name in ("", "PET_"):
        assert second.env[f"{name}MASTER_ADDR"] == "127.0.0.1"
        assert second.env[f"{name}MASTER_PORT"] == "20000"
        assert second.env[f"{name}NODE_RANK"] == "1"
        assert second.env[f"{name}NNODES"] == "2"
    assert (second.env["RANK"], second.env["WORLD_SIZE"]) == ("1", "2")
    assert "RANK" not in server.env
    assert json.loads(server.env["TF_CONFIG"]) == {
        "cluster": {
            "worker": ["127.0.0.1:20001", "127.0.0.1:20002"],
            "ps": ["127.0.0.1:20003"],
        },
        "task": {"type": "ps", "index": 0},
    }


def test_launches__with_a_variable_that_the_user_set__leave_it() -> None:
    (only,) = launches_of(gang({"MASTER_PORT": "5"}, a=TaskSpec(command="x")), (20_000, 20_001))
    assert only.env["MASTER_PORT"] == "5"
    assert "TF_CONFIG" not in only.env


def test_ports__of_an_attempt__are_the_same_for_a_restarted_server(
    tmp_path: Path, folders: AttemptFolders
) -> None:
    chosen = Ports(tmp_path).of(folders, 3, begun=False)
    assert len(set(chosen)) == 3
    assert all(port in PORTS for port in chosen)
    assert Ports(tmp_path).of(folders, 3, begun=True) == chosen


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_ports__taken_before_any_task_knows_them__are_changed(
    tmp_path: Path, folders: AttemptFolders, host: str
) -> None:
    ports = Ports(tmp_path)
    chosen = ports.of(folders, 2, begun=False)
    with listening(chosen[1], host):
        assert not is_free(chosen[1])
        assert ports.of(folders, 2, begun=True) == chosen
        assert chosen[1] not in ports.of(folders, 2, begun=False)


def test_ports__of_attempts_that_are_there__are_different(tmp_path: Path) -> None:
    ports = Ports(tmp_path)
    taken: set[int] = set()
    for number in range(1, 21):  # keys whose search begins at nearly the same port
        folders = attempt_folders(tmp_path, task_key(number))
        folders.make()
        taken.update(ports.of(folders, 4, begun=False))
    assert len(taken) == 80


def test_ports__whose_record_is_not_whole__are_chosen_anew(
    tmp_path: Path, folders: AttemptFolders
) -> None:
    for content in ("", "[]", '{"ports": 3}', '{"ports": ["a"]}'):
        (folders.root / "ports.json").write_text(content)
        assert len(Ports(tmp_path).of(folders, 2, begun=True)) == 2


def test_ports__when_too_few_are_free__are_refused(
    tmp_path: Path, folders: AttemptFolders, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = Ports(tmp_path).of(folders, 2, begun=False)
    monkeypatch.setattr(ports_module, "PORTS", range(chosen[0], chosen[0] + 1))
    with (
        listening(chosen[0], "127.0.0.1"),
        pytest.raises(PodRejected, match="Fewer than 2 ports"),
    ):
        Ports(tmp_path).of(folders, 2, begun=False)
