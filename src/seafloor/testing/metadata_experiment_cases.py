"""Cases of projects, experiments and environments; part of ``metadata_store_suite``."""

from __future__ import annotations

import asyncio

import pytest

from seafloor.domain.errors import AlreadyExists, InUse, NotFound
from seafloor.domain.experiments import Project
from seafloor.domain.search import Lifecycle
from seafloor.domain.workloads import WorkloadState
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.metadata_cases import (
    UNICODE,
    MetadataStoreCases,
)
from seafloor.testing.metadata_records import (
    T0_NS,
    create,
    entering,
    environment,
    experiment,
    launched,
    run,
    run_id,
)


class ProjectCases(MetadataStoreCases):
    """Projects."""

    async def test_project_list__new_store__has_default(self, store: MetadataStore) -> None:
        assert [found.name for found in await store.project_list()] == ["default"]

    async def test_project_create__two__are_listed_by_name(self, store: MetadataStore) -> None:
        made = await store.project_create("vision", created_ns=T0_NS)
        await store.project_create("audio", created_ns=T0_NS)
        assert made == Project("vision", T0_NS) == await store.project_get("vision")
        names = [found.name for found in await store.project_list()]
        assert names == ["audio", "default", "vision"]

    async def test_project_create__name_taken__already_exists(self, store: MetadataStore) -> None:
        with pytest.raises(AlreadyExists, match="default"):
            await store.project_create("default", created_ns=T0_NS)

    async def test_project_get__typo__names_the_nearest(self, store: MetadataStore) -> None:
        with pytest.raises(NotFound, match='Did you mean "default"'):
            await store.project_get("defualt")

    async def test_project_describe__of_one_or_none__is_kept(self, store: MetadataStore) -> None:
        await store.project_create("vision", created_ns=T0_NS, description="")
        assert (await store.project_get("vision")).description == ""
        made = await store.project_describe("vision", "größer")
        assert made == Project("vision", T0_NS, "größer") == await store.project_get("vision")
        with pytest.raises(NotFound, match="vison"):
            await store.project_describe("vison", "x")

    async def test_project_delete__not_empty__names_what_is_in_the_way(
        self, store: MetadataStore
    ) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        made = await store.experiment_create(experiment("a", project="vision"))
        await store.experiment_set_deleted(made.id, deleted_ns=T0_NS)
        with pytest.raises(InUse, match="table 'experiments' still contains 1 resource"):
            await store.project_delete("vision", with_experiments=False)
        await store.environment_create(environment("e", project="vision"))
        with pytest.raises(InUse, match="table 'environments' still contains 1 resource"):
            await store.project_delete("vision", with_experiments=True)
        await store.environment_delete("vision", "e", version=None, deleted_ns=T0_NS)
        await create(store, run(1, project="vision", experiment_id=None))
        with pytest.raises(InUse, match="table 'runs' still contains 1 resource"):
            await store.project_delete("vision", with_experiments=True)
        await store.workload_set_deleted(run_id(1), deleted_ns=T0_NS)
        await store.workload_purge(run_id(1))
        await store.project_delete("vision", with_experiments=True)
        assert [one.name for one in await store.project_list()] == ["default"]
        with pytest.raises(NotFound):
            await store.experiment_get(made.id)
        with pytest.raises(NotFound):
            await store.project_delete("vision", with_experiments=True)

    async def test_project_delete__with_the_newest_experiment__its_id_is_never_given_again(
        self, store: MetadataStore
    ) -> None:
        """Whoever kept the id would log into somebody else's experiment."""
        for name in ("vision", "speech"):
            await store.project_create(name, created_ns=T0_NS)
        await store.experiment_create(experiment("a", project="vision"))
        gone = await store.experiment_create(experiment("b", project="vision"))
        await store.project_delete("vision", with_experiments=True)
        await store.project_delete("speech", with_experiments=True)
        assert (await store.experiment_create(experiment("c"))).id > gone.id
        assert (await store.experiment_create(experiment("d"))).id > gone.id + 1

    async def test_project_hand_over__all_in_it__is_the_others(self, store: MetadataStore) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        made = await store.experiment_create(experiment("a", project="vision"))
        mine = launched(1, project="vision", experiment_id=made.id)
        await create(store, mine, idempotency_key="k")
        await store.environment_create(environment("e", project="vision"))
        with pytest.raises(InUse, match="1 of its runs have not ended"):
            await store.project_hand_over("vision", to="default")
        over = entering(WorkloadState.FAILED, WorkloadState.QUEUED)
        await store.workload_transition(run_id(1), over)
        await store.project_hand_over("vision", to="default")
        assert (await store.workload_get(run_id(1))).project == "default"
        assert (await store.experiment_get_by_name("default", "a")).id == made.id
        assert (await store.environment_get("default", "e")).project == "default"
        with pytest.raises(NotFound):
            await store.project_get("vision")

    async def test_project_hand_over__names_that_both_have__nothing_is_changed(
        self, store: MetadataStore
    ) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        for project in ("default", "vision"):
            await store.experiment_create(experiment("it's", project=project))
            await store.environment_create(environment("e", project=project))
        await store.experiment_create(experiment("own", project="vision"))
        with pytest.raises(InUse) as refused:
            await store.project_hand_over("vision", to="default")
        assert "  - experiments: \"it's\"\n  - environments: 'e'\n" in refused.value.message
        assert (await store.experiment_get_by_name("vision", "own")).project == "vision"


class ExperimentCases(MetadataStoreCases):
    """Experiments."""

    async def test_experiment_get__new_store__default_is_zero(self, store: MetadataStore) -> None:
        found = await store.experiment_get(0)
        assert (found.project, found.name, found.tags) == ("default", "Default", {})

    async def test_experiment_create__all_fields__come_back(self, store: MetadataStore) -> None:
        made = await store.experiment_create(
            experiment(
                UNICODE,
                spec={"z": [1, 2.5, None, True], "a": {"nested": UNICODE}},
                artifact_location="s3://bucket/x",
                tags={"b": "2", "a": UNICODE, "empty": ""},
            )
        )
        assert made.id > 0
        assert made == await store.experiment_get(made.id)
        assert made == await store.experiment_get_by_name("default", UNICODE)
        assert made.spec == {"z": [1, 2.5, None, True], "a": {"nested": UNICODE}}
        assert list(made.spec or ()) == ["z", "a"]
        assert made.tags == {"b": "2", "a": UNICODE, "empty": ""}

    async def test_experiment_create__name_taken__already_exists(
        self, store: MetadataStore
    ) -> None:
        made = await store.experiment_create(experiment())
        with pytest.raises(AlreadyExists, match="digits"):
            await store.experiment_create(experiment())
        await store.experiment_set_deleted(made.id, deleted_ns=T0_NS)
        with pytest.raises(AlreadyExists, match="deleted"):
            await store.experiment_create(experiment())

    async def test_experiment_create__names_that_differ_a_little__are_two(
        self, store: MetadataStore
    ) -> None:
        for name in ("digits", "Digits", "digits2", "dígits"):
            await store.experiment_create(experiment(name))
        assert (await store.experiment_get_by_name("default", "Digits")).name == "Digits"

    async def test_experiment_create__same_name_in_another_project__is_another(
        self, store: MetadataStore
    ) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        one = await store.experiment_create(experiment())
        other = await store.experiment_create(experiment(project="vision"))
        assert one.id != other.id
        assert (await store.experiment_get_by_name("vision", "digits")).id == other.id
        found = await store.experiment_list(project="vision", lifecycle=Lifecycle.ACTIVE)
        assert [one.id for one in found] == [other.id]

    async def test_experiment_create__no_such_project__not_found(
        self, store: MetadataStore
    ) -> None:
        with pytest.raises(NotFound):
            await store.experiment_create(experiment(project="nowhere"))

    async def test_experiment_create__many_at_once_of_one_name__one_wins(
        self, store: MetadataStore
    ) -> None:
        made = await asyncio.gather(
            *(store.experiment_create(experiment()) for _ in range(8)), return_exceptions=True
        )
        assert sum(not isinstance(one, BaseException) for one in made) == 1
        assert sum(isinstance(one, AlreadyExists) for one in made) == 7

    async def test_experiment_get__missing__not_found(self, store: MetadataStore) -> None:
        with pytest.raises(NotFound):
            await store.experiment_get(404)
        with pytest.raises(NotFound):
            await store.experiment_get(1 << 70)
        with pytest.raises(NotFound, match='Did you mean "Default"'):
            await store.experiment_get_by_name("default", "default")

    async def test_experiment_list__lifecycles__newest_first(self, store: MetadataStore) -> None:
        old = await store.experiment_create(experiment("old", created_ns=T0_NS))
        new = await store.experiment_create(experiment("new", created_ns=T0_NS + 1))
        gone = await store.experiment_create(experiment("gone", created_ns=T0_NS + 2))
        await store.experiment_set_deleted(gone.id, deleted_ns=T0_NS + 3)
        expected = {
            Lifecycle.ACTIVE: [new.id, old.id, 0],
            Lifecycle.DELETED: [gone.id],
            Lifecycle.ALL: [gone.id, new.id, old.id, 0],
        }
        for lifecycle, ids in expected.items():
            found = await store.experiment_list(project=None, lifecycle=lifecycle)
            assert [one.id for one in found] == ids

    async def test_experiment_get_many__some_are_not_there__gives_the_others(
        self, store: MetadataStore
    ) -> None:
        made = [
            await store.experiment_create(experiment(f"e{n}", tags={"a": f"{n}"})) for n in range(3)
        ]
        await store.experiment_set_deleted(made[0].id, deleted_ns=T0_NS)
        asked = [made[0].id, made[2].id, 404, -1, 1 << 70]
        found = await store.experiment_get_many(asked)
        assert found == {one: await store.experiment_get(one) for one in asked[:2]}
        assert await store.experiment_get_many([]) == {}

    async def test_experiment_update__given_fields__others_stay(self, store: MetadataStore) -> None:
        made = await store.experiment_create(experiment(spec={"a": 1}))
        renamed = await store.experiment_update(made.id, updated_ns=T0_NS + 5, name="new")
        assert (renamed.name, renamed.spec, renamed.updated_ns) == ("new", {"a": 1}, T0_NS + 5)
        changed = await store.experiment_update(made.id, updated_ns=T0_NS + 6, spec={"b": 2})
        assert changed == await store.experiment_get(made.id)
        assert (changed.name, changed.spec) == ("new", {"b": 2})
        await store.experiment_update(made.id, updated_ns=T0_NS + 7, name="new")

    async def test_experiment_update__name_taken_or_missing__nothing_changes(
        self, store: MetadataStore
    ) -> None:
        made = await store.experiment_create(experiment())
        with pytest.raises(AlreadyExists):
            await store.experiment_update(made.id, updated_ns=T0_NS + 5, name="Default", spec={})
        assert await store.experiment_get(made.id) == made
        with pytest.raises(NotFound):
            await store.experiment_update(404, updated_ns=T0_NS)

    async def test_experiment_update__with_tags__all_or_none(self, store: MetadataStore) -> None:
        made = await store.experiment_create(experiment(tags={"a": "1"}))
        with pytest.raises(AlreadyExists):
            await store.experiment_update(
                made.id, updated_ns=T0_NS + 5, name="Default", set_tags={"b": "2"}
            )
        with pytest.raises(NotFound):
            await store.experiment_update(
                made.id,
                updated_ns=T0_NS + 5,
                name="new",
                spec={"b": 2},
                set_tags={"b": "2"},
                delete_tags=["a", "missing"],
            )
        assert await store.experiment_get(made.id) == made
        changed = await store.experiment_update(
            made.id, updated_ns=T0_NS + 5, name="new", set_tags={"b": "2"}, delete_tags=["a"]
        )
        assert (changed.name, changed.tags) == ("new", {"b": "2"})
        assert await store.experiment_get(made.id) == changed

    async def test_experiment_tags_change__set_and_delete__all_or_none(
        self, store: MetadataStore
    ) -> None:
        await store.experiment_tags_change(0, set_={"a": "1", "b": "2"})
        await store.experiment_tags_change(0, set_={"b": "3", "c": "4"}, delete=["a"])
        assert (await store.experiment_get(0)).tags == {"b": "3", "c": "4"}
        with pytest.raises(NotFound):
            await store.experiment_tags_change(0, set_={"d": "5"}, delete=["b", "missing"])
        assert (await store.experiment_get(0)).tags == {"b": "3", "c": "4"}
        await store.experiment_tags_change(0, set_={"b": "again"}, delete=["b"])
        assert (await store.experiment_get(0)).tags == {"b": "again", "c": "4"}
        with pytest.raises(NotFound):
            await store.experiment_tags_change(404, set_={})

    async def test_experiment_set_deleted__with_runs__they_go_and_return_together(
        self, store: MetadataStore
    ) -> None:
        made = await store.experiment_create(experiment())
        await create(store, run(1, experiment_id=made.id))
        await create(store, run(2, experiment_id=made.id))
        await create(store, run(3))
        await store.workload_set_deleted(run_id(2), deleted_ns=T0_NS + 1)
        await store.experiment_set_deleted(made.id, deleted_ns=T0_NS + 7)
        await store.experiment_set_deleted(made.id, deleted_ns=T0_NS + 8)
        assert (await store.experiment_get(made.id)).deleted_ns == T0_NS + 7
        deleted = [(await store.workload_get(run_id(number))).deleted_ns for number in (1, 2, 3)]
        assert deleted == [T0_NS + 7, T0_NS + 1, None]

        await store.experiment_set_deleted(made.id, deleted_ns=None)
        await store.experiment_set_deleted(made.id, deleted_ns=None)
        assert (await store.experiment_get(made.id)).deleted_ns is None
        deleted = [(await store.workload_get(run_id(number))).deleted_ns for number in (1, 2, 3)]
        assert deleted == [None, T0_NS + 1, None]

    async def test_experiment_set_deleted__missing__not_found(self, store: MetadataStore) -> None:
        with pytest.raises(NotFound):
            await store.experiment_set_deleted(404, deleted_ns=T0_NS)


class EnvironmentCases(MetadataStoreCases):
    """Environments."""

    async def test_environment_create__same_again__is_one_version(
        self, store: MetadataStore
    ) -> None:
        first = await store.environment_create(
            environment(conda_channels=("c",), conda_packages=("p=1",), image="i", description="d")
        )
        assert first.version == 1
        again = await store.environment_create(
            environment(
                conda_channels=("c",),
                conda_packages=("p=1",),
                image="i",
                description="d",
                created_ns=T0_NS + 5,
            )
        )
        assert (first.image, first.description) == ("i", "d")
        assert again == first == await store.environment_get("default", "torch")

    async def test_environment_create__changed__is_the_next_version(
        self, store: MetadataStore
    ) -> None:
        await store.environment_create(environment())
        locked = await store.environment_create(environment(digest="2" * 64))
        asked = await store.environment_create(environment(digest="2" * 64, pip=("six",)))
        back = await store.environment_create(environment())
        said = await store.environment_create(environment(description="for whales"))
        assert (said.version, said.description) == (5, "for whales")
        assert [locked.version, asked.version, back.version] == [2, 3, 4]
        assert (await store.environment_get("default", "torch")).version == 5
        assert (await store.environment_get("default", "torch", version=2)).digest == "2" * 64

    async def test_environment_create__many_at_once__numbered_without_gap(
        self, store: MetadataStore
    ) -> None:
        made = await asyncio.gather(
            *(store.environment_create(environment(digest=f"{n:064x}")) for n in range(10))
        )
        assert sorted(one.version for one in made) == list(range(1, 11))

    async def test_environment_create__no_such_project__not_found(
        self, store: MetadataStore
    ) -> None:
        with pytest.raises(NotFound):
            await store.environment_create(environment(project="nowhere"))

    async def test_environment_get__missing__names_the_nearest(self, store: MetadataStore) -> None:
        await store.environment_create(environment())
        with pytest.raises(NotFound, match='Did you mean "torch"'):
            await store.environment_get("default", "troch")
        with pytest.raises(NotFound):
            await store.environment_get("default", "torch", version=2)
        with pytest.raises(NotFound):
            await store.environment_get("default", "Torch")

    async def test_environment_delete__one_or_all__exact_versions_stay_readable(
        self, store: MetadataStore
    ) -> None:
        for number in range(3):
            await store.environment_create(environment(digest=f"{number:064x}"))
        await store.environment_create(environment("other"))
        count = await store.environment_delete("default", "torch", version=3, deleted_ns=T0_NS + 1)
        assert count == 1
        assert (await store.environment_get("default", "torch")).version == 2
        gone = await store.environment_get("default", "torch", version=3)
        assert gone.deleted_ns == T0_NS + 1
        count = await store.environment_delete(
            "default", "torch", version=None, deleted_ns=T0_NS + 2
        )
        assert count == 2
        with pytest.raises(NotFound):
            await store.environment_get("default", "torch")
        with pytest.raises(NotFound):
            await store.environment_delete("default", "torch", version=None, deleted_ns=T0_NS)
        names = [found.name for found in await store.environment_list(project=None)]
        assert names == ["other"]
        # A number is never given twice, and what is deleted is not taken for the newest.
        assert (await store.environment_create(environment(digest=f"{2:064x}"))).version == 4

    async def test_environment_list__of_a_project__by_name_and_version(
        self, store: MetadataStore
    ) -> None:
        await store.project_create("vision", created_ns=T0_NS)
        await store.environment_create(environment("b", project="vision"))
        for digest in ("1" * 64, "2" * 64):
            await store.environment_create(environment("b", digest=digest))
        await store.environment_create(environment("a"))
        found = await store.environment_list(project="default")
        assert [(one.name, one.version) for one in found] == [("a", 1), ("b", 1), ("b", 2)]
        assert len(await store.environment_list(project=None)) == 4
