"""Logged models: made, finished, tagged, searched, deleted."""

from __future__ import annotations

from typing import Any

from mlflow_programs.world import NOBODY, T, World, program

NO_MODEL = "m-" + NOBODY


@program()
def create_logged_model__with_everything__tells_all_of_it(w: World) -> Any:
    experiment_id = w.experiment()
    run_id = w.run(experiment_id)
    made = w.model(
        experiment_id,
        "m1",
        source_run_id=run_id,
        tags={"t": "1"},
        params={"p": "2"},
        model_type="x",
    )
    return [made, w.client.get_logged_model(made.model_id)]


@program()
def create_logged_model__with_little__tells_it(w: World) -> Any:
    made = w.model(name="little")
    return w.client.get_logged_model(made.model_id)


@program()
def create_logged_model__without_a_name__gets_one(w: World) -> Any:
    return bool(w.client.create_logged_model(w.experiment()).name)


@program()
def create_logged_model__of_one_name_twice__makes_two(w: World) -> Any:
    experiment_id = w.experiment()
    ids = {w.model(experiment_id).model_id for _ in range(2)}
    return len(ids)


@program()
def create_logged_model__with_odd_names__is_refused(w: World) -> Any:
    experiment_id = w.experiment()
    names = ["a/b", "a:b", "a.b", "a%b", 'a"b', "a'b", "a b", "größe", "a-b_c"]
    return w.each(lambda name: w.model(experiment_id, name).name, names)


@program()
def create_logged_model__in_no_experiment__is_refused(w: World) -> Any:
    return w.each(lambda one: w.model(one), ["9999999", "abc"])


@program()
def create_logged_model__in_a_deleted_experiment__is_refused(w: World) -> Any:
    experiment_id = w.experiment()
    w.client.delete_experiment(experiment_id)
    return w.refused(w.model, experiment_id)


@program()
def create_logged_model__with_many_params__keeps_them(w: World) -> Any:
    made = w.model(params={f"p{at}": str(at) for at in range(150)})
    return len(w.client.get_logged_model(made.model_id).params)


@program()
def finalize_logged_model__to_each_status__has_it(w: World) -> Any:
    found = []
    for status in ("READY", "FAILED"):
        model = w.model()
        w.client.finalize_logged_model(model.model_id, status)
        found.append(w.client.get_logged_model(model.model_id).status)
    return [str(one) for one in found]


@program()
def finalize_logged_model__twice__is_fine(w: World) -> Any:
    model = w.model()
    for _ in range(2):
        w.client.finalize_logged_model(model.model_id, "READY")
    return str(w.client.get_logged_model(model.model_id).status)


@program()
def finalize_logged_model__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.finalize_logged_model, NO_MODEL, "READY")


@program()
def get_logged_model__of_nobody__is_refused(w: World) -> Any:
    return w.each(w.client.get_logged_model, [NO_MODEL, "m-abc", "abc"])


@program()
def delete_logged_model__then__is_not_found(w: World) -> Any:
    experiment_id = w.experiment()
    model = w.model(experiment_id)
    w.client.delete_logged_model(model.model_id)
    return [
        w.refused(w.client.get_logged_model, model.model_id),
        w.client.search_logged_models([experiment_id]),
        w.refused(w.client.delete_logged_model, model.model_id),
        w.refused(w.client.set_logged_model_tags, model.model_id, {"a": "1"}),
    ]


@program()
def delete_logged_model__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.delete_logged_model, NO_MODEL)


@program()
def set_logged_model_tags__again__joins_and_changes(w: World) -> Any:
    model = w.model(tags={"a": "1", "b": "2"})
    w.client.set_logged_model_tags(model.model_id, {"b": "3", "c": 4, "größe": "ü"})
    return w.client.get_logged_model(model.model_id).tags


@program()
def set_logged_model_tags__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.set_logged_model_tags, NO_MODEL, {"a": "1"})


@program()
def delete_logged_model_tag__that_is_there__is_gone(w: World) -> Any:
    model = w.model(tags={"a": "1", "b": "2"})
    w.client.delete_logged_model_tag(model.model_id, "a")
    return w.client.get_logged_model(model.model_id).tags


@program()
def delete_logged_model_tag__that_is_not_there__is_refused(w: World) -> Any:
    return [
        w.refused(w.client.delete_logged_model_tag, w.model().model_id, "a"),
        w.refused(w.client.delete_logged_model_tag, NO_MODEL, "a"),
    ]


@program()
def log_model_params__later__joins_them(w: World) -> Any:
    model = w.model(params={"a": "1"})
    w.client.log_model_params(model.model_id, {"b": "2", "c": "x" * 600})
    found = w.client.get_logged_model(model.model_id).params
    return {key: len(value) for key, value in found.items()}


@program("MLflow shows the words of its database driver.")
def log_model_params__with_another_value__is_refused_whole(w: World) -> Any:
    model = w.model(params={"a": "1"})
    refused = w.refused(w.client.log_model_params, model.model_id, {"a": "2", "b": "2"})
    return [refused, w.client.get_logged_model(model.model_id).params]


@program("Repeating what is logged is harmless; MLflow refuses it in the words of its driver.")
def log_model_params__again__stays(w: World) -> Any:
    model = w.model(params={"a": "1"})
    refused = w.refused(w.client.log_model_params, model.model_id, {"a": "1", "b": "2"})
    return [refused, w.client.get_logged_model(model.model_id).params]


@program("A model is of a run that there is, and that is not deleted.")
def create_logged_model__of_a_run_that_is_gone__is_refused(w: World) -> Any:
    experiment_id = w.experiment()
    run_id = w.run(experiment_id)
    w.client.delete_run(run_id)
    made = [
        w.refused(w.client.create_logged_model, experiment_id, name="m", source_run_id=one)
        for one in (run_id, NOBODY)
    ]
    return [[one.get("class"), one.get("code")] for one in made]


@program()
def log_model_params__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.log_model_params, NO_MODEL, {"a": "1"})


@program()
def log_metric__of_a_model__is_told_by_it(w: World) -> Any:
    experiment_id = w.experiment()
    run_id, model = w.run(experiment_id), w.model(experiment_id)
    for step in range(3):
        w.client.log_metric(
            run_id, "acc", step / 10, timestamp=T + step, step=step, model_id=model.model_id
        )
    found = w.client.get_logged_model(model.model_id).metrics
    return sorted(found, key=lambda one: one.step)


def _many(w: World) -> str:
    experiment_id = w.experiment()
    run_id = w.run(experiment_id)
    for at in range(5):
        model = w.model(
            experiment_id,
            f"model{at}",
            source_run_id=run_id if at % 2 else None,
            params={"p": str(at)},
            tags={"t": "a" if at < 3 else "b"},
            model_type="net" if at else "tree",
        )
        if at != 4:
            w.client.log_metric(run_id, "acc", at / 10, timestamp=T, model_id=model.model_id)
            w.client.finalize_logged_model(model.model_id, "READY")
    return experiment_id


def _names(models: Any) -> list[str]:
    return [model.name for model in models]


@program()
def search_logged_models__by_all_kinds__finds_them(w: World) -> Any:
    experiment_id = w.shared(_many)
    conditions = [
        "",
        "name = 'model1'",
        "name != 'model1'",
        "name LIKE 'model%'",
        "attributes.name ILIKE 'MODEL2'",
        "name IN ('model1', 'model2')",
        "name NOT IN ('model1', 'model2')",
        "model_type = 'net'",
        "params.p = '3'",
        "params.p LIKE '%'",
        "tags.t = 'a'",
        "tags.t != 'a'",
        "tags.never = 'a'",
        "metrics.acc > 0.1",
        "metrics.acc >= 0.1 AND params.p != '3'",
        "metrics.never > 0",
        "creation_timestamp > 5",
        "creation_time > 5",
        "last_updated_timestamp < 5",
        "source_run_id != ''",
    ]
    return w.each(
        lambda text: sorted(_names(w.client.search_logged_models([experiment_id], text))),
        conditions,
    )


@program("A status is found by its name; MLflow compares the name with a number.")
def search_logged_models__by_a_status__finds_them(w: World) -> Any:
    experiment_id = w.shared(_many)
    return w.each(
        lambda text: sorted(_names(w.client.search_logged_models([experiment_id], text))),
        ["status = 'READY'", "attributes.status != 'READY'"],
    )


@program("MLflow answers 500 where the caller is at fault.")
def search_logged_models__by_a_metric_that_is_a_text__is_refused(w: World) -> Any:
    return w.refused(w.client.search_logged_models, [w.experiment()], "metrics.acc > 'x'")


@program("A digest without a name is refused; MLflow orders by nothing then.")
def search_logged_models__ordered_by_a_digest_alone__is_refused(w: World) -> Any:
    order = [{"field_name": "metrics.acc", "dataset_digest": "d"}]
    return w.refused(w.client.search_logged_models, [w.experiment()], order_by=order)


@program()
def search_logged_models__by_what_cannot_be_read__is_refused(w: World) -> Any:
    experiment_id = w.experiment()
    conditions = [
        "nothing = 'x'",
        "foo.bar = 'x'",
        "name > 'x'",
        "metrics.acc LIKE 'x'",
        "name =",
        "name = 'a' OR name = 'b'",
    ]
    found = w.each(lambda text: w.client.search_logged_models([experiment_id], text), conditions)
    return [[one.get("class"), one.get("code")] for one in found]


@program()
def search_logged_models__in_an_order__has_it(w: World) -> Any:
    experiment_id = w.shared(_many)
    orders: list[list[dict[str, Any]]] = [
        [{"field_name": "name"}],
        [{"field_name": "name", "ascending": False}],
        [{"field_name": "metrics.acc", "ascending": True}],
        [{"field_name": "metrics.acc", "ascending": False}],
        [{"field_name": "creation_timestamp", "ascending": True}],
        [{"field_name": "creation_time", "ascending": False}],
        [{"field_name": "model_type", "ascending": True}, {"field_name": "name"}],
        [{"field_name": "params.p"}],
        [{"field_name": "nothing"}],
        [{}],
    ]

    def found(order: list[dict[str, Any]]) -> Any:
        return _names(w.client.search_logged_models([experiment_id], order_by=order))

    return [one if "given" in one else [one["class"], one["code"]] for one in w.each(found, orders)]


@program()
def search_logged_models__in_pages__gives_each_once(w: World) -> Any:
    experiment_id, pages, token = w.shared(_many), [], None
    while True:
        page = w.client.search_logged_models(
            [experiment_id], max_results=2, order_by=[{"field_name": "name"}], page_token=token
        )
        pages.append(_names(page))
        if not (token := page.token):
            return pages


def _on_datasets(w: World, searches: list[Any]) -> Any:
    experiment_id = w.experiment()
    run_id = w.run(experiment_id)
    for at in range(3):
        model = w.model(experiment_id, f"model{at}")
        w.client.log_metric(
            run_id,
            "acc",
            at,
            timestamp=T,
            model_id=model.model_id,
            dataset_name="train" if at else "test",
            dataset_digest=f"d{at}",
        )

    def found(asked: Any) -> Any:
        text, datasets = asked
        return sorted(_names(w.client.search_logged_models([experiment_id], text, datasets)))

    return w.each(found, searches)


@program()
def search_logged_models__on_datasets__looks_at_their_values(w: World) -> Any:
    return _on_datasets(
        w,
        [
            ["metrics.acc >= 0", [{"dataset_name": "train", "dataset_digest": "d1"}]],
            ["metrics.acc >= 2", [{"dataset_name": "train", "dataset_digest": "d1"}]],
            ["metrics.acc >= 0", [{"dataset_name": "never"}]],
            [None, [{"dataset_name": "test", "dataset_digest": "d0"}]],
            [None, [{"dataset_digest": "d1"}]],
        ],
    )


@program("A dataset without a digest is any of that name, as documented; MLflow finds none.")
def search_logged_models__on_datasets_by_their_names__finds_them(w: World) -> Any:
    return _on_datasets(
        w,
        [
            ["metrics.acc >= 0", [{"dataset_name": "train"}]],
            ["metrics.acc >= 0", [{"dataset_name": "test"}, {"dataset_name": "train"}]],
            [None, [{"dataset_name": "test"}]],
        ],
    )


@program()
def search_logged_models__of_no_experiment__is_empty(w: World) -> Any:
    return w.each(lambda ids: _names(w.client.search_logged_models(ids)), [["9999999"], []])


@program()
def search_logged_models__of_odd_sizes__is_refused_or_not(w: World) -> Any:
    experiment_id = w.experiment()
    found = w.each(
        lambda size: _names(w.client.search_logged_models([experiment_id], max_results=size)),
        [1, 50, 1_000],
    )
    return [one.get("given", one.get("code")) for one in found]


@program()
def log_model_artifacts__of_a_folder__are_listed_and_fetched(w: World) -> Any:
    model = w.model()
    folder = w.folder(a="one", sub__b="two")
    w.client.log_model_artifacts(model.model_id, str(folder))
    w.client.log_model_artifact(model.model_id, str(folder / "a.txt"))
    w.client.finalize_logged_model(model.model_id, "READY")
    root = w.client.list_logged_model_artifacts(model.model_id)
    below = w.client.list_logged_model_artifacts(model.model_id, "sub")
    text = w.mlflow.artifacts.load_text(f"{model.artifact_location}/sub/b.txt")
    return [root, below, text]


@program()
def list_logged_model_artifacts__of_nobody__is_refused(w: World) -> Any:
    found = w.refused(w.client.list_logged_model_artifacts, NO_MODEL)
    return [found.get("class"), found.get("code")]


@program()
def initialize_logged_model__by_the_fluent_api__is_the_active_one(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    model = w.mlflow.initialize_logged_model(name="m", params={"a": "1"}, tags={"b": "2"})
    w.mlflow.finalize_logged_model(model.model_id, "READY")
    w.mlflow.set_logged_model_tags(model.model_id, {"c": "3"})
    found = w.mlflow.get_logged_model(model.model_id)
    searched = w.mlflow.search_logged_models(output_format="list")
    return [found, [one.name for one in searched]]


@program()
def search_logged_models__as_a_table__has_its_columns(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    w.mlflow.initialize_logged_model(name="m", params={"a": "1"})
    table = w.mlflow.search_logged_models()
    return [sorted(table.columns), len(table)]


@program()
def last_logged_model__of_the_fluent_api__is_known(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run() as run:
        model = w.mlflow.create_external_model(name="outside", source_run_id=run.info.run_id)
        w.mlflow.log_metric("m", 1, step=2, model_id=model.model_id)
    return w.client.get_logged_model(model.model_id)
