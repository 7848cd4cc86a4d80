"""From the tasks of a distributed attempt to the attempt: all or none. Pure.

What is known of each task is a row (``Task``), written by its agent's reports and by whoever looks
at the launcher. The attempt's own state is a function of the rows and of what lives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from seafloor.domain.members import Member, deciders_of
from seafloor.domain.workloads import Ending, Task, WorkloadState
from seafloor.launch.protocol import (
    TaskAbsent,
    TaskAlive,
    TaskEnded,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)

Rows = Mapping[str, Task]
Seen = Mapping[str, TaskObservation]

STOPPED_WORDS: Final = "Stopped as asked."
_GROUPS_MAX: Final = 3
_FAULTS: Final = (WorkloadState.LOST, WorkloadState.FAILED)


class Folded(msgspec.Struct, frozen=True):
    """What several tasks are together.

    Args:
        observation: Of the attempt, as of a run with one task.
        stop: Whether what lives of it is to be stopped.
        words: For the user, once; empty: nothing new.
    """

    observation: TaskObservation
    stop: bool = False
    words: str = ""


def is_complete(members: Sequence[Member], rows: Rows) -> bool:
    """Whether all tasks were let in by the cluster, so that their commands may begin."""
    return all(member.name in rows for member in members)


def state_of(ending: Ending) -> WorkloadState:
    """How a task ended, looked at by itself."""
    success = ending.exit_code == 0 and not ending.timed_out
    return WorkloadState.SUCCEEDED if success else WorkloadState.FAILED


def fault_of(rows: Iterable[Task]) -> Task | None:
    """The task by which the whole ended: one that was lost, else the one that failed first."""
    faulty = [task for task in rows if task.state in _FAULTS]
    return min(faulty, key=lambda one: (_FAULTS.index(one.state), one.ended_ns or 0), default=None)


def is_won(members: Sequence[Member], rows: Rows) -> bool:
    """Whether those have succeeded whose success is the whole's."""
    found = [rows.get(member.name) for member in deciders_of(members)]
    return all(task is not None and task.state is WorkloadState.SUCCEEDED for task in found)


def end_state(
    members: Sequence[Member], rows: Rows, ending: Ending, *, ended_ns: int, stopping: bool
) -> WorkloadState:
    """The state of a task that ended.

    One that ended otherwise than well after the whole was decided was stopped: by us, or by what
    the first one's end did to it.
    """
    state = state_of(ending)
    if state is WorkloadState.SUCCEEDED:
        return state
    fault = fault_of(rows.values())
    after = fault is not None and ended_ns >= (fault.ended_ns or 0)
    return WorkloadState.STOPPED if stopping or after or is_won(members, rows) else state


def news_of(
    members: Sequence[Member], rows: Rows, seen: Seen, *, now_ns: int, stopping: bool
) -> tuple[Task, ...]:
    """What a look at the tasks adds to their rows.

    While not all were let in, those that have not begun are passed over: they may be withdrawn.
    """
    first = _news(members, rows, seen, now_ns=now_ns, stopping=stopping)
    after = {**rows, **{task.name: rows.get(task.name, task).told(task) for task in first}}
    # What decided the whole may have been among them: for the others that is news too.
    return first + _news(members, after, seen, now_ns=now_ns, stopping=stopping, is_last=True)


def _news(
    members: Sequence[Member],
    rows: Rows,
    seen: Seen,
    *,
    now_ns: int,
    stopping: bool,
    is_last: bool = False,
) -> tuple[Task, ...]:
    told: list[Task] = []
    complete = is_complete(members, rows)
    decided = stopping or is_won(members, rows) or fault_of(rows.values()) is not None
    for name in (member.name for member in members):
        row, look = rows.get(name), seen[name]
        begun = row is not None and row.started_ns is not None
        if (row is not None and row.state.is_final) or not (complete or begun):
            continue
        number = next(iter(rows.values())).attempt
        end = WorkloadState.STOPPED if decided else WorkloadState.LOST
        if isinstance(look, TaskAlive) and not begun:
            task = Task(attempt=number, name=name, state=WorkloadState.RUNNING, started_ns=now_ns)
        elif isinstance(look, TaskEnded):
            state = end_state(members, rows, look.ending, ended_ns=now_ns, stopping=stopping)
            task = _over(number, name, state, look.ending, now_ns, started=look.started)
        elif isinstance(look, TaskLost) or (isinstance(look, TaskAbsent) and begun):
            task = _over(number, name, end, Ending(look.reason), now_ns, started=begun)
        elif isinstance(look, TaskAbsent) and (decided or is_last):
            # Let in and gone: nobody can say that it has not begun, so it is not begun once more.
            words = "Stopped before its command was started." if decided else look.reason
            task = _over(number, name, end, Ending(words), now_ns, started=False)
        else:
            continue
        told.append(task)
    return tuple(told)


def _over(
    number: int, name: str, state: WorkloadState, ending: Ending, now_ns: int, *, started: bool
) -> Task:
    return Task(
        attempt=number,
        name=name,
        state=state,
        started_ns=now_ns if started else None,
        ended_ns=now_ns,
        ending=ending,
    )


def fold(members: Sequence[Member], rows: Rows, seen: Seen, *, stopping: bool) -> Folded:
    """Say what tasks are together.

    - It fails when one task fails, and is lost when one is lost: what lives is stopped, and when
      nothing lives any more it has ended as that task did.
    - It succeeds when all have, or the chief; parameter servers and evaluators are stopped then.
    - It runs when every task has begun; before, it says what the others wait for.
    - Absent: not all were let in, so a start is to be begun, or gone on with.

    Args:
        rows: With what ``news_of`` added.
        seen: Every member's.
        stopping: A user asked for its end.
    """
    living = [
        member.name
        for member in members
        if isinstance(seen[member.name], TaskAlive | TaskPreparing)
        and not (member.name in rows and rows[member.name].state.is_final)
    ]
    begun = any(task.started_ns is not None for task in rows.values())
    fault = fault_of(rows.values())
    won = is_won(members, rows)
    if not (won or stopping or fault):
        if not is_complete(members, rows):
            return Folded(TaskAbsent())
        return Folded(_on_the_way(members, rows, seen))
    if living:
        words = "" if stopping and not won else _stopping_words(members, fault, won=won)
        waiting = TaskPreparing(words or "The tasks are stopped.")
        return Folded(TaskAlive() if begun else waiting, stop=True, words=words)
    if won:
        return Folded(TaskEnded(Ending(_won_words(members), exit_code=0), delivered=True))
    if stopping or fault is None:
        if not rows:
            return Folded(TaskAbsent())
        return Folded(TaskEnded(Ending(STOPPED_WORDS), delivered=True, started=begun))
    others = any(task.state is WorkloadState.STOPPED for task in rows.values())
    reason = fault_words(fault) + (" The other tasks were stopped." if others else "")
    if fault.state is WorkloadState.LOST:
        return Folded(TaskLost(reason, 0, 0))
    ending = msgspec.structs.replace(fault.ending or Ending(), reason=reason)
    return Folded(TaskEnded(ending, delivered=True, started=begun))


def fault_words(task: Task) -> str:
    """Say which task it was, and how it ended, in one sentence or two."""
    ending = task.ending or Ending()
    if ending.reason:
        return f"{task.name}: {ending.reason}"
    if ending.signal is not None:
        return f"{task.name} was ended by {ending.signal}."
    return f"{task.name} ended with exit code {ending.exit_code}."


def waiting_mark(words: str) -> str:
    """What two sentences of ``fold`` share that differ only in how many tasks are how far."""
    groups = {part.partition(": ")[2] for part in words.split("; ")[1:]}
    return ";".join(sorted(groups)) or words


def _on_the_way(members: Sequence[Member], rows: Rows, seen: Seen) -> TaskObservation:
    waiting: dict[str, list[str]] = {}
    for member in members:
        if rows[member.name].started_ns is None:
            look = seen[member.name]
            words = look.words if isinstance(look, TaskPreparing) else "It is not there yet."
            waiting.setdefault(words.rstrip("."), []).append(member.name)
    if not waiting:
        return TaskAlive()
    count = len(members) - sum(map(len, waiting.values()))
    verb = "runs" if count == 1 else "run"
    groups = sorted(waiting.items(), key=lambda one: -len(one[1]))[:_GROUPS_MAX]
    said = [f"{_names(names)}: {words}" for words, names in groups]
    return TaskPreparing("; ".join((f"{count} of {len(members)} tasks {verb}", *said)) + ".")


def _names(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    if len(names) == 2:
        return f"{names[0]} and {names[1]}"
    return f"{names[0]} and {len(names) - 1} others"


def _stopping_words(members: Sequence[Member], fault: Task | None, *, won: bool) -> str:
    if won or fault is None:
        return (
            f"{_names([one.name for one in deciders_of(members)])} ended well: stopping the rest."
        )
    return f"{fault_words(fault)} Stopping the other tasks."


def _won_words(members: Sequence[Member]) -> str:
    deciders = deciders_of(members)
    if len(deciders) == len(members):
        return f"All {len(members)} tasks ended with exit code 0."
    return f"{_names([one.name for one in deciders])} ended with exit code 0."
