"""Limits: which means is chosen, and what is written into a control group."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seafloor.agent import limits
from seafloor.agent.limits import ControlGroup, arrange_limits, make_control_group
from seafloor.agent.processes import Process, proportional_bytes


class Hierarchy:
    """A folder that looks like a v2 hierarchy, without what the kernel puts into a new group.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "cgroup.controllers").write_text("cpu memory pids\n")

    def group(self, name: str, *, subtree: str = "cpu memory") -> Path:
        folder = self.root / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "cgroup.subtree_control").write_text(subtree)
        return folder


@pytest.fixture
def hierarchy(tmp_path: Path) -> Hierarchy:
    return Hierarchy(tmp_path)


def made(hierarchy: Hierarchy, own: str) -> ControlGroup | None:
    return make_control_group(
        "seafloor-x", memory_bytes=1 << 20, cpu_count=1.5, root=str(hierarchy.root), own=own
    )


def test_make__no_v2_hierarchy__none(tmp_path: Path) -> None:
    assert make_control_group("x", memory_bytes=1, cpu_count=None, root=str(tmp_path)) is None


def test_make__group_that_cannot_be_joined__none_and_nothing_left(hierarchy: Hierarchy) -> None:
    # A plain folder gets no cgroup.procs: as where the rights do not reach.
    hierarchy.group("a/b")
    hierarchy.group("a", subtree="")
    assert made(hierarchy, "/a/b") is None


def test_make__controllers_cannot_be_looked_at__none(hierarchy: Hierarchy) -> None:
    (hierarchy.root / "a").mkdir()
    assert made(hierarchy, "/a") is None
    assert list((hierarchy.root / "a").iterdir()) == []


def test_make__real_hierarchy__a_process_joins_and_the_group_goes() -> None:
    roots = [Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")]
    root = next((path for path in roots if (path / "cgroup.controllers").exists()), None)
    # No controllers are asked for, so any v2 hierarchy will do.
    name = f"seafloor-test-{os.getpid()}"
    group = root and make_control_group(name, memory_bytes=None, cpu_count=None, root=str(root))
    if not group:
        pytest.skip("no control group can be made here: give the user a delegated v2 hierarchy")
    script = f"echo 0 > {group.procs}; grep ^0:: /proc/self/cgroup"
    done = subprocess.run(["sh", "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip().endswith("/" + name)
    assert not group.killed_for_memory()
    group.remove()
    assert not Path(group.path).exists()


def test_killed_for_memory__events__read(tmp_path: Path) -> None:
    group = ControlGroup(str(tmp_path))
    assert not group.killed_for_memory()
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 0\n")
    assert not group.killed_for_memory()
    (tmp_path / "memory.events").write_text("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\n")
    assert group.killed_for_memory()


def test_remove__busy__stays(tmp_path: Path) -> None:
    (tmp_path / "group").mkdir()
    (tmp_path / "group" / "inside").mkdir()
    ControlGroup(str(tmp_path / "group")).remove()
    assert (tmp_path / "group").exists()


def test_arrange__no_limits__nothing_changes() -> None:
    limits = arrange_limits({"A": "b"}, "x", memory_bytes=None, cpu_count=None)
    assert limits.env == {"A": "b"}
    assert (limits.cpus, limits.group, limits.watched_bytes, limits.said) == (None, None, None, [])


def test_arrange__processors__libraries_follow_unless_the_user_said_otherwise() -> None:
    limits = arrange_limits({"OMP_NUM_THREADS": "7"}, "x", memory_bytes=None, cpu_count=2.5)
    try:
        assert limits.env["OMP_NUM_THREADS"] == "7"
        assert limits.env["MKL_NUM_THREADS"] == "2"
        assert len(limits.said) == 1
    finally:
        if limits.group is not None:
            limits.group.remove()


def test_arrange__both__each_is_said_and_held_somehow() -> None:
    limits = arrange_limits({}, "seafloor-test-limits", memory_bytes=1 << 30, cpu_count=0.5)
    try:
        assert limits.said
        assert (limits.group is None) == (limits.watched_bytes == 1 << 30)
        assert limits.env["OMP_NUM_THREADS"] == "1"
    finally:
        if limits.group is not None:
            limits.group.remove()


def test_used__process_that_ended_between_two_reads__has_no_memory() -> None:
    # Its entry in /proc is still there, what it had is given back: it must not count in full.
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        assert proportional_bytes(child.pid) == 0
    finally:
        child.wait()
    assert proportional_bytes(child.pid) == 0


def test_used__shares_that_do_not_add_up__looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # The first look finds the parent before a fork and the child after it.
    shares = iter([60 << 20, 30 << 20])
    monkeypatch.setattr(limits, "session_members", lambda _: [_member(61 << 20)])
    monkeypatch.setattr(limits, "proportional_bytes", lambda _: next(shares))
    assert limits.used_bytes(1, 50 << 20) == 30 << 20


def test_used__both_looks_beyond_the_limit__beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "session_members", lambda _: [_member(61 << 20)])
    monkeypatch.setattr(limits, "proportional_bytes", lambda _: 60 << 20)
    assert limits.used_bytes(1, 50 << 20) == 60 << 20


def _member(resident_bytes: int) -> Process:
    return Process(1, "R", 1, 1, 0, resident_bytes)
