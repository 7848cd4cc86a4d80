"""Tokens of tasks: whose they are, how long they are good, what they may write to."""

from __future__ import annotations

import msgspec
import pytest

from seafloor.app.tokens import CREATED_BY_TAG, Administrator, TaskPrincipal, Tokens
from seafloor.domain.errors import Forbidden, Unauthenticated
from seafloor.domain.ids import WorkloadId, workload_id_from_parts
from seafloor.domain.workloads import Ending, Workload, WorkloadKind, WorkloadState
from seafloor.stores.metadata.memory import MemoryMetadataStore
from seafloor.stores.metadata.protocol import Labels, NewEvent, Transition

HOUR_NS = 3600 * 10**9
KEY = b"k" * 32


class SetClock(msgspec.Struct):
    """A clock that says what it was set to."""

    time_ns: int = 0

    def now_ns(self) -> int:
        return self.time_ns


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def metadata() -> MemoryMetadataStore:
    return MemoryMetadataStore()


@pytest.fixture
def tokens(metadata: MemoryMetadataStore, clock: SetClock) -> Tokens:
    return Tokens(KEY, metadata, clock)


async def make_run(metadata: MemoryMetadataStore, number: int, **tags: str) -> WorkloadId:
    run = Workload(
        id=workload_id_from_parts(time_ms=number, random_bits=number),
        kind=WorkloadKind.RUN,
        project="default",
        experiment_id=0,
        name="run",
        user="",
        state=WorkloadState.QUEUED,
        origin="launched",
        created_ns=0,
        updated_ns=0,
        attempt=1,
    )
    event = NewEvent(0, "user", "Submitted.", kind="state")
    made = await metadata.workload_create(
        run, labels=Labels({}, tags), event=event, idempotency_key=None
    )
    return made.id


async def end(metadata: MemoryMetadataStore, run: WorkloadId, *, ended_ns: int) -> None:
    for old, new in (
        (WorkloadState.QUEUED, WorkloadState.PREPARING),
        (WorkloadState.PREPARING, WorkloadState.RUNNING),
        (WorkloadState.RUNNING, WorkloadState.FAILED),
    ):
        final = new.is_final
        await metadata.workload_transition(
            run,
            Transition(
                expected=(old,),
                state=new,
                event=NewEvent(0, "agent", "It went on.", kind="state"),
                ending=Ending(exit_code=1) if final else None,
                ended_ns=ended_ns if final else None,
            ),
        )


async def test_check__of_an_issued_token__says_whose_it_is(
    tokens: Tokens, metadata: MemoryMetadataStore
) -> None:
    run = await make_run(metadata, 1)
    token = tokens.issue(run, 1)
    assert token == tokens.issue(run, 1)
    assert await tokens.check(token) == TaskPrincipal(run, 1)


async def test_check__of_a_token_changed_anywhere__is_refused(
    tokens: Tokens, metadata: MemoryMetadataStore, clock: SetClock
) -> None:
    run, other = await make_run(metadata, 1), await make_run(metadata, 2)
    token = tokens.issue(run, 1)
    prefix, _, attempt, signature = token.split(".")
    forged = [
        *("", "sfw1", "...", "sfw1...", token + "x", token[:-1], token + ".x", "é" * 20),
        f"{prefix}.{other}.{attempt}.{signature}",
        f"{prefix}.{run}.2.{signature}",
        f"{prefix}.{run}.01.{signature}",
        f"{prefix}.{run}.².{signature}",
        f"{prefix}.{run}.{'9' * 5000}.{signature}",
        f"{prefix}.{run}.1.é{signature[1:]}",
        f"sfw2.{run}.{attempt}.{signature}",
        Tokens(b"another key", metadata, clock).issue(run, 1),
    ]
    for wrong in forged:
        if wrong == f"{prefix}.{run}.01.{signature}":
            continue  # the same attempt, written otherwise
        with pytest.raises(Unauthenticated):
            await tokens.check(wrong)


async def test_check__of_a_run_that_is_gone__is_refused(tokens: Tokens) -> None:
    run = workload_id_from_parts(time_ms=9, random_bits=9)
    with pytest.raises(Unauthenticated, match="does not exist any more"):
        await tokens.check(tokens.issue(run, 1))


async def test_check__after_the_end__is_good_for_an_hour(
    tokens: Tokens, metadata: MemoryMetadataStore, clock: SetClock
) -> None:
    run = await make_run(metadata, 1)
    token = tokens.issue(run, 1)
    await end(metadata, run, ended_ns=100)
    clock.time_ns = 100 + HOUR_NS
    assert await tokens.check(token) == TaskPrincipal(run, 1)
    clock.time_ns += 1
    with pytest.raises(Unauthenticated, match="ended"):
        await tokens.check(token)


async def test_check__of_an_earlier_attempt__is_refused(
    tokens: Tokens, metadata: MemoryMetadataStore
) -> None:
    run = await make_run(metadata, 1)
    await end(metadata, run, ended_ns=100)
    event = NewEvent(0, "user", "Again.", kind="state")
    await metadata.attempt_create(run, created_ns=0, event=event)
    with pytest.raises(Forbidden, match="attempt 2 took its place"):
        await tokens.check(tokens.issue(run, 1))
    assert await tokens.check(tokens.issue(run, 2)) == TaskPrincipal(run, 2)


async def test_check_write__of_a_task__is_for_its_own_and_what_it_created(
    tokens: Tokens, metadata: MemoryMetadataStore
) -> None:
    run, other = await make_run(metadata, 1), await make_run(metadata, 2)
    child = await make_run(metadata, 3, **{CREATED_BY_TAG: run})
    task = TaskPrincipal(run, 1)
    await tokens.check_write(task, run)
    await tokens.check_write(task, child)
    for anothers in (other, workload_id_from_parts(time_ms=9, random_bits=9)):
        with pytest.raises(Forbidden):
            await tokens.check_write(task, anothers)
        await tokens.check_write(Administrator(), anothers)
