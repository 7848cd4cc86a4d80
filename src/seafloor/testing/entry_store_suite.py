"""The public suite of entry stores."""

from __future__ import annotations

import asyncio
import math
import random
import struct
from abc import abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from seafloor.domain.errors import Conflict, InvalidValue, NoSuchTag, NotFound, SeafloorError
from seafloor.domain.ids import WorkloadId
from seafloor.domain.metrics import TIME_MS_MAX, Point
from seafloor.domain.models import ModelMetric
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.entries.protocol import Entries
from seafloor.stores.metadata.protocol import Labels
from seafloor.stores.metrics.columns import columns_of
from seafloor.testing.entry_worlds import MODEL, ONE, TWO, EntryWorld, MemoryEntryWorld
from seafloor.testing.metadata_records import entering

T0_MS = 1_700_000_000_000
T0_NS = T0_MS * 1_000_000
NOBODYS = "m-" + "f" * 32
PREPARING, RUNNING = WorkloadState.PREPARING, WorkloadState.RUNNING
STOPPING, SUCCEEDED = WorkloadState.STOPPING, WorkloadState.SUCCEEDED


def point(step: int, value: float = 1.0, key: str = "loss") -> Point:
    """A point."""
    return Point(key, value, step, T0_MS + step)


def of_model(step: int, value: float = 0.5) -> ModelMetric:
    """A value that run one measured of a model."""
    return ModelMetric(key="acc", value=value, step=step, time_ms=T0_MS, run_id=ONE)


EVERYTHING = Entries(
    points=[point(1), point(2), point(1, key="acc")],
    params={"lr": "0.1", "opt": "adam"},
    tags={"who": "ada"},
    name="a new name",
    model_metrics={MODEL: [of_model(1)]},
)


class EntryStoreSuite:
    """True of every entry store."""

    @abstractmethod
    def make_world(self, folder: Path) -> EntryWorld:
        """Make a store, and what shows what it wrote, in a folder."""

    @pytest.fixture
    async def world(self, tmp_path: Path) -> AsyncIterator[EntryWorld]:
        world = self.make_world(tmp_path)
        await world.open()
        yield world
        await world.close()

    async def test_write__everything__is_read_back(self, world: EntryWorld) -> None:
        await world.store.write(ONE, EVERYTHING, updated_ns=T0_NS + 5)
        labels, name, summaries, of_models = await seen(world)
        assert labels == Labels({"lr": "0.1", "opt": "adam"}, {"who": "ada"})
        assert name == ("a new name", T0_NS + 5, RUNNING)
        assert [(each.key, each.points, each.last_step) for each in summaries] == [
            ("acc", 1, 1),
            ("loss", 2, 2),
        ]
        assert of_models == (of_model(1),)

    async def test_write__the_same_again__changes_nothing(self, world: EntryWorld) -> None:
        await world.store.write(ONE, EVERYTHING, updated_ns=T0_NS + 5)
        before = await seen(world)
        await world.store.write(ONE, EVERYTHING, updated_ns=T0_NS + 5)
        assert await seen(world) == before

    async def test_write__some_of_it_new__adds_that(self, world: EntryWorld) -> None:
        await world.store.write(ONE, EVERYTHING, updated_ns=T0_NS)
        more = Entries(
            points=[point(2), point(3)],
            params={"lr": "0.1", "seed": "7"},
            tags={"who": "grace", "why": ""},
            model_metrics={MODEL: [of_model(1), of_model(2)]},
        )
        await world.store.write(ONE, more, updated_ns=T0_NS + 9)
        labels, name, summaries, of_models = await seen(world)
        assert labels.params == {"lr": "0.1", "opt": "adam", "seed": "7"}
        assert labels.tags == {"who": "grace", "why": ""}
        assert name == ("a new name", T0_NS, RUNNING)
        assert {each.key: each.points for each in summaries} == {"acc": 1, "loss": 3}
        assert of_models == (of_model(1), of_model(2))

    async def test_write__texts_of_every_kind__come_back_as_they_are(
        self, world: EntryWorld
    ) -> None:
        odd = [
            "",
            " ",
            "a'b\"c\\d\\u0041",
            "\t\n\r\x01\x7f\u2028",
            "%s %(key)s :key ? {}",
            "é😀",
            "null",
        ]
        given = {f"k {at}/x.y-z:{at}": text for at, text in enumerate(odd)}
        await world.store.write(ONE, Entries(params=given, tags=given), updated_ns=T0_NS)
        labels, *_ = await seen(world)
        assert labels == Labels(given, given)
        turned = dict(zip(given, reversed(odd), strict=True))
        await world.store.write(ONE, Entries(tags=turned), updated_ns=T0_NS)
        labels, *_ = await seen(world)
        assert labels == Labels(given, turned)

    async def test_write__values_at_the_edges__are_summed_up_exactly(
        self, world: EntryWorld
    ) -> None:
        values = [math.pi * 1e-300, 5e-324, -0.0, math.inf, -math.inf, math.nan, 1 / 3]
        named = {f"m{at}": value for at, value in enumerate(values)}
        for step in (-(1 << 63), (1 << 63) - 1):
            points = [Point(key, value, step, T0_MS) for key, value in named.items()]
            await world.store.write(ONE, Entries(points=points), updated_ns=T0_NS)
        _, _, summaries, _ = await seen(world)
        assert [(one.key, struct.pack("<d", one.last), one.last_step) for one in summaries] == [
            (key, struct.pack("<d", value), (1 << 63) - 1) for key, value in named.items()
        ]
        assert [(one.points, one.min_step) for one in summaries if one.key != "m5"] == [
            (2, -(1 << 63))
        ] * 6

    async def test_write__tags_to_delete__are_gone(self, world: EntryWorld) -> None:
        await world.store.write(ONE, Entries(tags={"a": "1", "b": "2"}), updated_ns=T0_NS)
        change = Entries(tags={"c": "3"}, delete_tags=["a"])
        await world.store.write(ONE, change, updated_ns=T0_NS)
        labels, *_ = await seen(world)
        assert labels.tags == {"b": "2", "c": "3"}

    async def test_write__points_as_columns__are_the_same(self, world: EntryWorld) -> None:
        points = [point(step) for step in range(100)]
        await world.store.write(ONE, Entries(points=columns_of(points)), updated_ns=T0_NS)
        page = await world.metrics.series(ONE, "loss")
        assert [(each.step, each.time_ms, each.value) for each in page.points] == [
            (each.step, each.time_ms, each.value) for each in points
        ]

    async def test_write__with_a_transition__enters_the_state_too(self, world: EntryWorld) -> None:
        transition = entering(SUCCEEDED, RUNNING)
        ended = replace(EVERYTHING, transition=transition)
        await world.store.write(ONE, ended, updated_ns=T0_NS + 5)
        found = await world.metadata.workload_get(ONE)
        assert (found.state, found.name) == (SUCCEEDED, "a new name")
        assert found.ended_ns == transition.ended_ns
        assert found.updated_ns == transition.event.time_ns
        last = (await world.metadata.event_list(ONE))[-1]
        assert (last.state, last.message) == (SUCCEEDED, "it is succeeded")
        with pytest.raises(Conflict):
            await world.store.write(ONE, ended, updated_ns=T0_NS + 5)
        assert await world.metadata.workload_get(ONE) == found

    async def test_write__nothing__changes_nothing(self, world: EntryWorld) -> None:
        before = await seen(world)
        await world.store.write(ONE, Entries(), updated_ns=T0_NS + 5)
        assert await seen(world) == before

    @pytest.mark.parametrize(
        ("change", "kind"),
        [
            ({"params": {"new": "1", "kept": "other"}}, Conflict),
            ({"delete_tags": ["none"]}, NoSuchTag),
            ({"model_metrics": {MODEL: [of_model(1)], NOBODYS: [of_model(1)]}}, NotFound),
            ({"points": [point(1), Point("loss", 1.0, 1, TIME_MS_MAX + 1)]}, InvalidValue),
            ({"points": [point(1), Point("../loss", 1.0, 1, 0)]}, InvalidValue),
            ({"points": [Point("loss", 1.0, 1 << 63, 0)]}, InvalidValue),
            ({"transition": entering(SUCCEEDED, STOPPING)}, Conflict),
            ({"transition": entering(PREPARING, RUNNING)}, Conflict),
            ({"transition": entering(SUCCEEDED, RUNNING, attempt=7)}, Conflict),
            (
                {"transition": entering(SUCCEEDED, RUNNING), "params": {"kept": "other"}},
                Conflict,
            ),
        ],
        ids=[
            "param",
            "tag",
            "model",
            "time",
            "key",
            "step",
            "state",
            "arrow",
            "attempt",
            "param beside a state",
        ],
    )
    async def test_write__one_part_refused__nothing_is_written(
        self, world: EntryWorld, change: dict[str, Any], kind: type[SeafloorError]
    ) -> None:
        await world.store.write(ONE, Entries(params={"kept": "1"}), updated_ns=T0_NS)
        before = await seen(world)
        fields = {name: getattr(EVERYTHING, name) for name in EVERYTHING.__struct_fields__}
        entries = Entries(**{**fields, **change})
        with pytest.raises(kind):
            await world.store.write(ONE, entries, updated_ns=T0_NS + 5)
        assert await seen(world) == before

    async def test_write__one_of_many_at_once_refused__the_others_are_written(
        self, world: EntryWorld
    ) -> None:
        await world.store.write(ONE, Entries(params={"kept": "1"}), updated_ns=T0_NS)
        wrong = Entries(params={"kept": "2"}, points=[point(999)])
        calls = [
            world.store.write(
                TWO if number % 2 else ONE,
                wrong if number == 10 else Entries(points=[point(number)]),
                updated_ns=T0_NS,
            )
            for number in range(20)
        ]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [type(each) for each in found if each is not None] == [Conflict]
        summaries = await world.metrics.summaries([ONE, TWO])
        assert [summaries[one][0].points for one in (ONE, TWO)] == [9, 10]

    @pytest.mark.parametrize("seed", range(8))
    async def test_write__many_at_once__are_as_one_after_the_other(
        self, world: EntryWorld, tmp_path: Path, seed: int
    ) -> None:
        model = MemoryEntryWorld(tmp_path)
        await model.open()
        pieces = some_pieces(random.Random(seed), conflicts=seed % 2 == 0)  # no secret
        expected: list[tuple[type, str | None]] = []
        for piece in pieces:
            told = await asyncio.gather(
                model.store.write(*piece, updated_ns=T0_NS), return_exceptions=True
            )
            expected.append(_kind_of(told[0]))
        calls = [world.store.write(*piece, updated_ns=T0_NS) for piece in pieces]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [_kind_of(each) for each in found] == expected
        for one in (ONE, TWO):
            assert await whole(world, one) == await whole(model, one)

    async def test_write__deleted_workload__is_a_conflict(self, world: EntryWorld) -> None:
        before = await seen(world)
        await world.metadata.workload_set_deleted(ONE, deleted_ns=T0_NS)
        for entries in (EVERYTHING, Entries(tags={"a": "1"}), Entries(points=[point(1)])):
            with pytest.raises(Conflict):
                await world.store.write(ONE, entries, updated_ns=T0_NS)
        await world.metadata.workload_set_deleted(ONE, deleted_ns=None)
        assert await seen(world) == before

    async def test_write__no_such_workload__is_not_found(self, world: EntryWorld) -> None:
        for entries in (EVERYTHING, Entries(), Entries(points=[point(1)])):
            with pytest.raises(NotFound):
                await world.store.write(world.nobody, entries, updated_ns=T0_NS)


async def seen(world: EntryWorld) -> tuple[Labels, tuple[Any, ...], tuple[Any, ...], Any]:
    """Everything of run one that entries can change."""
    found = await world.metadata.workload_get(ONE)
    labels = (await world.metadata.labels_get([ONE]))[ONE]
    return (
        labels,
        (found.name, found.updated_ns, found.state),
        (await world.metrics.summaries([ONE])).get(ONE, ()),
        await world.metadata.model_metrics_get(MODEL),
    )


def some_pieces(chance: random.Random, *, conflicts: bool) -> list[tuple[WorkloadId, Entries]]:
    """What several clients log to two runs, some of it more than once."""

    def values() -> dict[str, str]:
        return {key: chance.choice("12") for key in "abc" if chance.random() < 0.3}

    def points() -> list[Point]:
        steps = chance.sample(range(30), chance.randrange(4))
        return [point(step, chance.choice([0.5, 1.5]), chance.choice("xyz")) for step in steps]

    pieces: list[tuple[WorkloadId, Entries]] = []
    for number in range(40):
        params = values() if conflicts else {f"p{number % 7}": "1", "same": "1"}
        entries = Entries(
            points=points(),
            params=params if chance.random() < 0.5 else {},
            tags=values(),
            model_metrics={MODEL: [of_model(number)]} if chance.random() < 0.2 else {},
        )
        pieces.append((chance.choice([ONE, TWO]), entries))
    return pieces


def _kind_of(told: object) -> tuple[type, str | None]:
    return type(told), told.field if isinstance(told, SeafloorError) else None


async def whole(world: EntryWorld, one: WorkloadId) -> tuple[Any, ...]:
    """The labels, summaries and points of a run."""
    keys = [each.key for each in (await world.metrics.summaries([one])).get(one, ())]
    return (
        (await world.metadata.labels_get([one]))[one],
        (await world.metrics.summaries([one])).get(one, ()),
        [(await world.metrics.series(one, key)).points for key in keys],
        await world.metadata.model_metrics_get(MODEL),
    )
