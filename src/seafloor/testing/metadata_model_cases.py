"""Cases of logged models, inputs and manifests; part of ``metadata_store_suite``."""

from __future__ import annotations

import math

import pytest

from seafloor.domain.artifacts import ArtifactEntry
from seafloor.domain.errors import (
    AlreadyExists,
    Conflict,
    LimitExceeded,
    NotFound,
)
from seafloor.domain.models import (
    DatasetInput,
    DatasetSummary,
    LoggedModelState,
    ModelMetric,
    ModelOutput,
)
from seafloor.domain.search import Lifecycle
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.metadata_cases import (
    UNICODE,
    MetadataStoreCases,
)
from seafloor.testing.metadata_records import (
    T0_NS,
    create,
    experiment,
    file,
    model,
    run,
    run_id,
)


class ModelCases(MetadataStoreCases):
    """Logged models, and what runs used and produced."""

    async def test_model_create__all_fields__come_back(self, store: MetadataStore) -> None:
        await create(store, run(1))
        made = await store.model_create(
            model(
                source_run_id=run_id(1), model_type="agent", params={"a": "1"}, tags={"b": UNICODE}
            )
        )
        assert made == await store.model_get(made.id)
        assert (made.params, made.tags, made.source_run_id) == (
            {"a": "1"},
            {"b": UNICODE},
            run_id(1),
        )
        with pytest.raises(AlreadyExists):
            await store.model_create(model())

    async def test_model_create__what_it_needs_is_missing__not_found(
        self, store: MetadataStore
    ) -> None:
        with pytest.raises(NotFound):
            await store.model_create(model(experiment_id=404))
        with pytest.raises(NotFound):
            await store.model_create(model(source_run_id=run_id(1)))
        with pytest.raises(NotFound):
            await store.model_get(model().id)

    async def test_model_create__in_a_deleted_experiment__conflict(
        self, store: MetadataStore
    ) -> None:
        gone = await store.experiment_create(experiment())
        await store.experiment_set_deleted(gone.id, deleted_ns=1)
        with pytest.raises(Conflict):
            await store.model_create(model(experiment_id=gone.id))
        assert await store.model_list([gone.id], lifecycle=Lifecycle.ALL) == ()

    async def test_model_list__lifecycles__newest_first(self, store: MetadataStore) -> None:
        other = await store.experiment_create(experiment())
        for number in (1, 2, 3):
            await store.model_create(model(number))
        await store.model_create(model(4, experiment_id=other.id))
        await store.model_update(model(2).id, updated_ns=T0_NS, deleted_ns=T0_NS + 1)
        found = await store.model_list([0, other.id])
        assert [one.id for one in found] == [model(n).id for n in (4, 3, 1)]
        found = await store.model_list([0], lifecycle=Lifecycle.DELETED)
        assert [one.id for one in found] == [model(2).id]
        found = await store.model_list([0, 404], lifecycle=Lifecycle.ALL)
        assert [one.id for one in found] == [model(n).id for n in (3, 2, 1)]
        assert await store.model_list([]) == ()

    async def test_model_page__of_one_experiment__has_each_once_by_id(
        self, store: MetadataStore
    ) -> None:
        other = await store.experiment_create(experiment())
        for number in (3, 1, 2, 5):
            await store.model_create(model(number))
        await store.model_create(model(4, experiment_id=other.id))
        await store.model_update(model(2).id, updated_ns=T0_NS, deleted_ns=T0_NS + 1)
        for lifecycle, numbers in (
            (Lifecycle.ALL, (1, 2, 3, 5)),
            (Lifecycle.ACTIVE, (1, 3, 5)),
            (Lifecycle.DELETED, (2,)),
        ):
            found: list[str] = []
            while page := await store.model_page(
                0, lifecycle=lifecycle, after=found[-1] if found else "", limit=2
            ):
                assert len(page) <= 2
                found += [one.id for one in page]
            assert found == [model(n).id for n in numbers]
        for experiment_id in (404, -1, 2**63):
            assert await store.model_page(experiment_id, limit=1) == ()

    async def test_model_list_of_run__lifecycles__oldest_first(self, store: MetadataStore) -> None:
        await create(store, run(1))
        for number in (2, 1):
            await store.model_create(model(number, source_run_id=run_id(1)))
        await store.model_create(model(3))
        await store.model_update(model(1).id, updated_ns=T0_NS, deleted_ns=T0_NS + 1)
        for lifecycle, numbers in (
            (Lifecycle.ALL, (1, 2)),
            (Lifecycle.ACTIVE, (2,)),
            (Lifecycle.DELETED, (1,)),
        ):
            found = await store.model_list_of_run(run_id(1), lifecycle=lifecycle)
            assert [one.id for one in found] == [model(n).id for n in numbers]

    async def test_model_update__fields__join(self, store: MetadataStore) -> None:
        await store.model_create(model(params={"a": "1"}, tags={"x": "1", "y": "2"}))
        made = await store.model_update(
            model().id,
            updated_ns=T0_NS + 5,
            state=LoggedModelState.READY,
            params={"b": "2"},
            tags={"x": "3"},
            delete_tags=["y"],
        )
        assert (made.state, made.params) == (LoggedModelState.READY, {"a": "1", "b": "2"})
        assert (made.tags, made.updated_ns) == ({"x": "3"}, T0_NS + 5)
        assert made == await store.model_get(model().id)
        with pytest.raises(NotFound):
            await store.model_update(
                model().id, updated_ns=T0_NS + 6, params={"c": "3"}, delete_tags=["y"]
            )
        assert made == await store.model_get(model().id)
        with pytest.raises(NotFound):
            await store.model_update(model(2).id, updated_ns=T0_NS)

    async def test_model_update__param_with_another_value__changes_nothing(
        self, store: MetadataStore
    ) -> None:
        made = await store.model_create(model(params={"a": "1"}))
        with pytest.raises(Conflict, match="Changing param values"):
            await store.model_update(
                made.id, updated_ns=T0_NS + 5, params={"b": "2", "a": "2"}, tags={"x": "1"}
            )
        assert made == await store.model_get(made.id)
        again = await store.model_update(
            made.id, updated_ns=made.updated_ns, params={"a": "1", "b": "2"}
        )
        assert again.params == {"a": "1", "b": "2"}

    async def test_model_metrics_add__repeats_and_odd_floats__kept_once_bit_for_bit(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        await store.model_create(model())
        values = [
            ModelMetric("acc", value, step, T0_NS // 1_000_000, run_id(1), name, name)
            for value in (0.1, math.nan, math.inf, -math.inf, -0.0, 0.0, 5e-324)
            for step, name in ((0, None), (1, "d"))
        ]
        await store.model_metrics_add(model().id, values)
        await store.model_metrics_add(model().id, values[::-1])
        found = await store.model_metrics_get(model().id)
        assert [repr(one) for one in found] == [repr(one) for one in values]
        await store.model_create(model(2))
        both = await store.model_metrics_list([model().id, model(2).id, "m-none"])
        assert repr(both) == repr({model().id: found})

    async def test_model_metrics_add__model_or_run_missing__nothing_noted(
        self, store: MetadataStore
    ) -> None:
        await create(store, run(1))
        value = ModelMetric("acc", 0.1, 0, 1, run_id(1))
        with pytest.raises(NotFound):
            await store.model_metrics_add(model().id, [value])
        await store.model_create(model())
        with pytest.raises(NotFound):
            await store.model_metrics_add(
                model().id, [value, ModelMetric("acc", 0.1, 0, 1, run_id(2))]
            )
        assert await store.model_metrics_get(model().id) == ()

    async def test_inputs_add__repeats__are_one_in_order(self, store: MetadataStore) -> None:
        await create(store, run(1))
        await create(store, run(2))
        one = DatasetInput("train", "d1", "local", "/x", "s", "p", {"b": "1", "a": UNICODE})
        same = DatasetInput("train", "d1", "local", "/x", "s", "p", {"a": UNICODE, "b": "1"})
        other = DatasetInput("train", "d2")
        outputs = (ModelOutput("m-2", 3), ModelOutput("m-2", 4))
        await store.inputs_add(run_id(1), datasets=[one, other], models=["m-1"], outputs=outputs)
        await store.inputs_add(run_id(1), datasets=[same], models=["m-1", "m-0"])
        found = await store.inputs_get([run_id(1), run_id(2), run_id(3)])
        assert list(found) == [run_id(1)]
        assert found[run_id(1)].datasets == (one, other)
        assert (found[run_id(1)].models, found[run_id(1)].outputs) == (("m-1", "m-0"), outputs)
        with pytest.raises(NotFound):
            await store.inputs_add(run_id(3), models=["m-1"])

    async def test_inputs_get__more_than_may_be_read__is_refused(
        self, store: MetadataStore
    ) -> None:
        for number in (1, 2):
            await create(store, run(number))
            long = DatasetInput("train", "d1", profile="p" * 10_000)
            await store.inputs_add(run_id(number), datasets=[long])
        ids = [run_id(1), run_id(2)]
        assert await store.inputs_get(ids, chars_max=25_000) == await store.inputs_get(ids)
        with pytest.raises(LimitExceeded):
            await store.inputs_get(ids, chars_max=15_000)
        assert len(await store.inputs_get(ids[:1], chars_max=15_000)) == 1
        assert await store.inputs_get([run_id(3)], chars_max=0) == {}

    async def test_dataset_list__used_by_many_runs__each_once(self, store: MetadataStore) -> None:
        other = await store.experiment_create(experiment("other"))
        for number, of in ((1, 0), (2, 0), (3, other.id)):
            await create(store, run(number, experiment_id=of))
            train = DatasetInput("train", "d1", tags={"mlflow.data.context": UNICODE, "k": "v"})
            datasets = [train, DatasetInput("train", "d1", "s3"), DatasetInput("a", "d2")]
            await store.inputs_add(run_id(number), datasets=datasets, models=["m-1"])
        plain = [("a", "d2", ""), ("train", "d1", ""), ("train", "d1", UNICODE)]
        expected = {of: [DatasetSummary(of, *one) for one in plain] for of in (0, other.id)}
        both = await store.dataset_list([0, other.id], limit=100)
        assert list(both) == expected[0] + expected[other.id]
        assert list(await store.dataset_list([other.id], limit=100)) == expected[other.id]
        assert await store.dataset_list([0], limit=1) == (expected[0][0],)
        assert await store.dataset_list([], limit=9) == ()


class ManifestCases(MetadataStoreCases):
    """Manifest rows of artifacts."""

    async def test_manifest_put__again__replaces(self, store: MetadataStore) -> None:
        await store.manifest_put("o", file(UNICODE))
        newer = file(UNICODE, size_bytes=1 << 60, sha256="b" * 64)
        await store.manifest_put("o", newer)
        assert await store.manifest_get("o", UNICODE) == newer
        assert await store.manifest_list("o", "", limit=10) == (newer,)

    async def test_manifest_get__missing_or_a_folder_or_anothers__not_found(
        self, store: MetadataStore
    ) -> None:
        await store.manifest_put("o", file("a/b"))
        for owner, path in (("o", "a"), ("o", "a/b/c"), ("o", "A/b"), ("p", "a/b")):
            with pytest.raises(NotFound):
                await store.manifest_get(owner, path)

    async def test_manifest_put__file_below_a_file_or_over_a_folder__conflict(
        self, store: MetadataStore
    ) -> None:
        await store.manifest_put("o", file("a/b"))
        for path in ("a", "a/b/c", "a/b/c/d"):
            with pytest.raises(Conflict):
                await store.manifest_put("o", file(path))
        await store.manifest_put("o", file("ab"))
        await store.manifest_put("o", file("a/bc"))
        await store.manifest_put("other", file("a"))
        found = await store.manifest_list("o", "", limit=10)
        assert [row.path for row in found] == ["a/b", "a/bc", "ab"]

    async def test_manifest_list__prefix_siblings__are_apart(self, store: MetadataStore) -> None:
        for path in ("a/b/c", "a/b!", "a/b0", "ab", "a-b/c", "a%/c", "a_/c", "A/b/c"):
            await store.manifest_put("o", file(path))

        async def below(folder: str) -> list[str]:
            return [row.path for row in await store.manifest_list("o", folder, limit=100)]

        assert await below("a/b") == ["a/b/c"]
        assert await below("a") == ["a/b!", "a/b/c", "a/b0"]
        assert await below("a%") == ["a%/c"]
        assert await below("a_") == ["a_/c"]
        assert await below("missing") == await below("a/b/c") == []
        assert await below("") == sorted(await below(""))
        assert len(await below("")) == 8

    async def test_manifest_list__paged__in_order_of_code_points(
        self, store: MetadataStore
    ) -> None:
        paths = sorted(["Z", "a", "z", "ä", "日", "🏝", "\ufffd", "a/b".replace("a", "c")])
        for path in reversed(paths):
            await store.manifest_put("o", file(path))
        seen: list[str] = []
        after: str | None = None
        while page := await store.manifest_list("o", "", limit=3, after=after):
            seen += [row.path for row in page]
            after = seen[-1]
        assert seen == paths

    async def test_manifest_children__files_and_folders__with_sums(
        self, store: MetadataStore
    ) -> None:
        await store.manifest_put("o", file("m/a", size_bytes=1))
        await store.manifest_put("o", file("m/d/b", size_bytes=2))
        await store.manifest_put("o", file("m/d/e/c", size_bytes=4))
        await store.manifest_put("o", file("m-2/x", size_bytes=8))
        await store.manifest_put("o", file("empty", size_bytes=0))
        assert await store.manifest_children("o", "", limit=9) == (
            ArtifactEntry("empty", is_folder=False, size_bytes=0, files=1, sha256=file("").sha256),
            ArtifactEntry("m-2", is_folder=True, size_bytes=8, files=1),
            ArtifactEntry("m", is_folder=True, size_bytes=7, files=3),
        )
        assert await store.manifest_children("o", "m", limit=9) == (
            ArtifactEntry("m/a", is_folder=False, size_bytes=1, files=1, sha256=file("").sha256),
            ArtifactEntry("m/d", is_folder=True, size_bytes=6, files=2),
        )
        assert await store.manifest_children("o", "m/a", limit=9) == ()
        assert await store.manifest_children("o", "missing", limit=9) == ()

    async def test_manifest_delete__file_or_folder__siblings_stay(
        self, store: MetadataStore
    ) -> None:
        for path in ("a/b", "a/c/d", "a-b", "ab", "c"):
            await store.manifest_put("o", file(path))
        await store.manifest_put("p", file("a/b"))
        assert await store.manifest_delete("o", "a") == 2
        assert await store.manifest_delete("o", "c") == 1
        assert await store.manifest_delete("o", "c") == 0
        found = await store.manifest_list("o", "", limit=10)
        assert [row.path for row in found] == ["a-b", "ab"]
        assert len(await store.manifest_list("p", "", limit=10)) == 1
        await store.manifest_put("o", file("a"))  # a file may stand where a folder was
