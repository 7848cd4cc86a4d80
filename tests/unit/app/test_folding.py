"""Several tasks as one: a table of what they are together, and what is true of all of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.app.folding import Folded, fold, is_won, news_of, waiting_mark
from seafloor.domain.members import Member, members_of_spec
from seafloor.domain.workloads import Ending, Task, WorkloadState
from seafloor.launch.protocol import (
    TaskAbsent,
    TaskAlive,
    TaskEnded,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)

NOW_NS = 1000
ALIVE = TaskAlive()
GONE = TaskAbsent("The pod is gone.")
LOST = TaskLost("The node is lost.", 0, 0)
WAITS = TaskPreparing("No node has 2 GPUs free: 0/1 nodes.")
NODE = TaskPreparing("Waiting for a node.")
SENTENCE = "2 of 3 tasks run; worker-1: No node has 2 GPUs free: 0/1 nodes."


def ended(code: int | None, **more: Any) -> TaskEnded:
    return TaskEnded(Ending(exit_code=code, **more), delivered=True)


NEVER = TaskEnded(Ending("The image x cannot be pulled."), delivered=True, started=False)


def of(*seen: TaskObservation, roles: dict[str, int] | None = None) -> tuple[Any, Any]:
    """Members with what is seen of each, in their order."""
    counts = roles or {"worker": len(seen)}
    spec = {role: {"replicas": count, "command": "x"} for role, count in counts.items()}
    members = members_of_spec({"tasks": spec})
    return members, dict(zip((one.name for one in members), seen, strict=True))


def look(
    members: tuple[Member, ...], rows: dict[str, Task], seen: Any, *, stopping: bool = False
) -> Folded:
    """One look of the reconciler: what it learns is kept, then folded."""
    now_ns = NOW_NS + len(rows)
    for task in news_of(members, rows, seen, now_ns=now_ns, stopping=stopping):
        rows[task.name] = task if task.name not in rows else rows[task.name].told(task)
    return fold(members, rows, seen, stopping=stopping)


def let_in(members: tuple[Member, ...], **begun_ns: int) -> dict[str, Task]:
    rows = {one.name: Task(attempt=1, name=one.name) for one in members}
    for name, time_ns in begun_ns.items():
        row = Task(attempt=1, name=name, state=WorkloadState.RUNNING, started_ns=time_ns)
        rows[name] = row
    return rows


def all_begun(members: tuple[Member, ...]) -> dict[str, Task]:
    return let_in(members, **{one.name: 1 for one in members})


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([ALIVE, ALIVE, ALIVE], TaskAlive()),
        ([ALIVE, WAITS, ALIVE], TaskPreparing(SENTENCE)),
        ([ended(0), WAITS, ALIVE], TaskPreparing(SENTENCE)),
        ([ended(0), ALIVE, ALIVE], TaskAlive()),
        (
            [NODE, NODE, NODE],
            TaskPreparing("0 of 3 tasks run; worker-0 and 2 others: Waiting for a node."),
        ),
        (
            [ended(0), ended(0), ended(0)],
            ended(0, reason="All 3 tasks ended with exit code 0."),
        ),
        (
            [ended(3), GONE, GONE],
            ended(3, reason="worker-0 ended with exit code 3. The other tasks were stopped."),
        ),
        ([ended(3), ended(0), ended(0)], ended(3, reason="worker-0 ended with exit code 3.")),
        ([LOST, ended(0), ended(0)], TaskLost("worker-0: The node is lost.", 0, 0)),
        (
            [ended(None, signal="SIGKILL"), ended(0), ended(0)],
            ended(None, signal="SIGKILL", reason="worker-0 was ended by SIGKILL."),
        ),
        (
            [NEVER, ended(0), ended(0)],
            TaskEnded(
                Ending("worker-0: The image x cannot be pulled."), delivered=True, started=True
            ),
        ),
    ],
)
def test_fold__after_all_were_let_in__is_what_they_are_together(
    seen: list[TaskObservation], expected: TaskObservation
) -> None:
    members, observed = of(*seen)
    assert look(members, let_in(members), observed).observation == expected


def test_fold__not_all_were_let_in__is_to_be_started_whatever_some_do() -> None:
    members, seen = of(ALIVE, GONE, ended(1))
    rows: dict[str, Task] = {}
    assert look(members, rows, seen).observation == TaskAbsent()
    # Such may be withdrawn, so nothing is kept of them.
    assert rows == {}
    rows = {"worker-0": let_in(members)["worker-0"]}
    assert look(members, rows, seen).observation == TaskAbsent()


def test_fold__begun_before_all_were_let_in_and_then_gone__is_not_begun_twice() -> None:
    members, seen = of(GONE, GONE, GONE)
    begun = {"worker-0": all_begun(members)["worker-0"]}
    assert isinstance(look(members, begun, seen).observation, TaskLost)


def test_fold__let_in_and_gone_before_it_began__is_lost_and_the_others_are_stopped() -> None:
    members, seen = of(ALIVE, GONE, WAITS)
    rows = let_in(members)
    words = "worker-1: The pod is gone. Stopping the other tasks."
    assert look(members, rows, seen) == Folded(ALIVE, stop=True, words=words)
    _, seen = of(ended(None, signal="SIGTERM"), GONE, GONE)
    reason = "worker-1: The pod is gone. The other tasks were stopped."
    assert look(members, rows, seen).observation == TaskLost(reason, 0, 0)


def test_fold__one_fails__the_others_are_stopped_and_it_is_named() -> None:
    members, seen = of(ALIVE, ended(3), ALIVE)
    rows = all_begun(members)
    folded = look(members, rows, seen)
    assert folded == Folded(
        ALIVE, stop=True, words="worker-1 ended with exit code 3. Stopping the other tasks."
    )
    # They end, each in its way, and the pod of the one that failed is gone meanwhile.
    _, seen = of(ended(None, signal="SIGTERM"), GONE, GONE)
    folded = look(members, rows, seen)
    reason = "worker-1 ended with exit code 3. The other tasks were stopped."
    assert folded == Folded(ended(3, reason=reason))
    assert [rows[one.name].state for one in members] == ["stopped", "failed", "stopped"]


def test_fold__two_fail__the_first_one_is_named() -> None:
    members, seen = of(GONE, GONE)
    rows = all_begun(members)
    for name, code, ended_ns in (("worker-0", 1, 20), ("worker-1", 9, 10)):
        told = Task(
            attempt=1,
            name=name,
            state=WorkloadState.FAILED,
            ended_ns=ended_ns,
            ending=Ending(exit_code=code),
        )
        rows[name] = rows[name].told(told)
    assert look(members, rows, seen).observation == ended(
        9, reason="worker-1 ended with exit code 9."
    )


def test_fold__removed_before_it_began__is_lost_as_a_whole_and_not_waited_for() -> None:
    members, seen = of(ALIVE, GONE, NODE)
    rows = let_in(members)
    folded = look(members, rows, seen)
    words = "worker-1: The pod is gone."
    assert folded == Folded(ALIVE, stop=True, words=f"{words} Stopping the other tasks.")
    _, seen = of(ended(None, signal="SIGTERM"), GONE, GONE)
    folded = look(members, rows, seen)
    assert folded.observation == TaskLost(f"{words} The other tasks were stopped.", 0, 0)
    assert [rows[one.name].state for one in members] == ["stopped", "lost", "stopped"]
    assert rows["worker-1"].started_ns is None


def test_fold__never_begun__has_not_started() -> None:
    members, seen = of(NEVER, NODE)
    rows = let_in(members)
    folded = look(members, rows, seen)
    assert folded.stop
    assert isinstance(folded.observation, TaskPreparing)
    _, seen = of(NEVER, GONE)
    last = look(members, rows, seen).observation
    assert isinstance(last, TaskEnded)
    assert not last.started
    assert rows["worker-1"].state is WorkloadState.STOPPED


def test_fold__the_chief_has_succeeded__the_rest_is_stopped_and_does_not_count() -> None:
    roles = {"worker": 1, "chief": 1, "ps": 1}
    members, seen = of(ended(0), ALIVE, ALIVE, roles=roles)
    assert [one.name for one in members] == ["chief-0", "worker-0", "ps-0"]
    rows = all_begun(members)
    folded = look(members, rows, seen)
    assert folded.stop
    assert folded.words == "chief-0 ended well: stopping the rest."
    _, seen = of(ended(0), ended(None, signal="SIGTERM"), GONE, roles=roles)
    assert look(members, rows, seen).observation == ended(
        0, reason="chief-0 ended with exit code 0."
    )


def test_fold__parameter_servers__are_not_waited_for() -> None:
    roles = {"worker": 2, "ps": 1}
    members, seen = of(ended(0), ended(0), ALIVE, roles=roles)
    rows = all_begun(members)
    assert look(members, rows, seen).stop
    _, seen = of(ended(0), ended(0), GONE, roles=roles)
    assert look(members, rows, seen).observation == ended(
        0, reason="worker-0 and worker-1 ended with exit code 0."
    )


def test_fold__stopped_by_a_user__stops_all_and_says_so() -> None:
    members, seen = of(ALIVE, NODE)
    rows = let_in(members)
    folded = look(members, rows, seen, stopping=True)
    assert (folded.stop, folded.words) == (True, "")
    _, seen = of(ended(143), GONE)
    last = look(members, rows, seen, stopping=True).observation
    assert last == TaskEnded(Ending("Stopped as asked."), delivered=True)
    assert {task.state for task in rows.values()} == {WorkloadState.STOPPED}


def test_fold__stopped_before_any_was_made__is_absent() -> None:
    members, seen = of(GONE, GONE)
    assert fold(members, {}, seen, stopping=True).observation == TaskAbsent()


def test_waiting_mark__only_the_count_differs__is_the_same() -> None:
    other = SENTENCE.replace("2 of 3", "1 of 3").replace("worker-1", "worker-0 and worker-1")
    assert waiting_mark(SENTENCE) == waiting_mark(other)
    assert waiting_mark(SENTENCE) != waiting_mark("2 of 3 tasks run; worker-1: Waiting for a node.")
    assert waiting_mark("It failed; so did others.") != waiting_mark("It failed.")


OBSERVATIONS = [ALIVE, GONE, LOST, WAITS, NODE, ended(0), ended(1), NEVER]
ROLES = st.sampled_from([{"worker": 3}, {"worker": 2, "ps": 1}, {"chief": 1, "worker": 2}])


@given(
    roles=ROLES,
    begun=st.booleans(),
    looks=st.lists(st.lists(st.sampled_from(OBSERVATIONS), min_size=3, max_size=3), max_size=4),
    stopping=st.booleans(),
)
def test_fold__any_looks_one_after_another__all_or_none(
    roles: dict[str, int], begun: bool, looks: list[list[TaskObservation]], stopping: bool
) -> None:
    members, _ = of(GONE, GONE, GONE, roles=roles)
    rows = all_begun(members) if begun else let_in(members)
    folded = Folded(TaskAbsent())
    for seen_list in [*looks, [GONE] * 3]:
        _, seen = of(*seen_list, roles=roles)
        before = dict(rows)
        folded = look(members, rows, seen, stopping=stopping)
        lives = any(
            isinstance(seen[name], TaskAlive | TaskPreparing) and not row.state.is_final
            for name, row in rows.items()
        )
        faulty = any(row.state in ("failed", "lost") for row in rows.values())
        match folded.observation:
            case TaskEnded(ending=ending):
                assert not lives
                assert (ending.exit_code == 0) == is_won(members, rows)
            case TaskLost():
                assert not lives
                assert not is_won(members, rows)
            case TaskAlive() | TaskPreparing():
                # Whatever is decided and lives is stopped; nothing else ever is.
                assert folded.stop == (faulty or stopping or is_won(members, rows))
            case TaskAbsent():
                assert not begun
        # What is known to have ended stays so.
        for name, row in before.items():
            assert not row.state.is_final or rows[name] == row
        # The same look again teaches nothing.
        assert look(members, dict(rows), seen, stopping=stopping) == folded
    # When nothing is there any more, nothing is waited for.
    assert isinstance(folded.observation, TaskEnded | TaskLost)
