"""What runs used and made: datasets and models."""

from __future__ import annotations

from typing import Any

from mlflow_programs.world import NOBODY, World, program


@program()
def log_inputs__of_datasets__tells_them(w: World) -> Any:
    run_id = w.run()
    w.client.log_inputs(
        run_id,
        [
            w.dataset("a", "1", "train", schema='{"x": "long"}', profile='{"rows": 5}'),
            w.dataset("b", "2"),
        ],
    )
    found = w.client.get_run(run_id).inputs
    return sorted(found.dataset_inputs, key=lambda one: one.dataset.name)


@program()
def log_inputs__of_the_same_again__tells_it_once(w: World) -> Any:
    run_id = w.run()
    for _ in range(2):
        w.client.log_inputs(run_id, [w.dataset("a", "1", "train")])
    return w.client.get_run(run_id).inputs.dataset_inputs


@program("A dataset that was used in two contexts has both; MLflow keeps the first.")
def log_inputs__of_the_same_in_another_context__has_both(w: World) -> Any:
    run_id = w.run()
    w.client.log_inputs(run_id, [w.dataset("a", "1", "train")])
    w.client.log_inputs(run_id, [w.dataset("a", "1", "test")])
    return w.client.get_run(run_id).inputs.dataset_inputs


@program()
def log_inputs__of_one_name_with_two_digests__tells_both(w: World) -> Any:
    run_id = w.run()
    w.client.log_inputs(run_id, [w.dataset("a", "1"), w.dataset("a", "2")])
    found = w.client.get_run(run_id).inputs.dataset_inputs
    return sorted(one.dataset.digest for one in found)


@program()
def log_inputs__that_are_too_long__is_refused(w: World) -> Any:
    run_id = w.run()
    tag = w.entities.InputTag
    long = [
        w.dataset("n" * 501),
        w.dataset("n", "d" * 37),
        w.dataset("n", source="s" * 65_536),
        w.dataset("n", schema="s" * 1_048_576),
        w.entities.DatasetInput(w.dataset("n").dataset, [tag("k" * 256, "v")]),
        w.entities.DatasetInput(w.dataset("n").dataset, [tag("k", "v" * 501)]),
    ]
    refused = w.each(lambda one: w.client.log_inputs(run_id, [one]), long)
    return [[[r.get("class"), r.get("code")] for r in refused], w.client.get_run(run_id).inputs]


@program()
def log_inputs__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.log_inputs, NOBODY, [w.dataset("a")])


@program()
def log_inputs__of_a_deleted_run__is_refused(w: World) -> Any:
    run_id = w.run()
    w.client.delete_run(run_id)
    return w.refused(w.client.log_inputs, run_id, [w.dataset("a")])


@program()
def log_inputs__of_models__tells_them(w: World) -> Any:
    experiment_id = w.experiment()
    run_id, model = w.run(experiment_id), w.model(experiment_id)
    used = w.entities.LoggedModelInput(model.model_id)
    w.client.log_inputs(run_id, models=[used])
    w.client.log_inputs(run_id, models=[used])
    return w.client.get_run(run_id).inputs


@program()
def log_outputs__of_models__tells_them_with_their_steps(w: World) -> Any:
    experiment_id = w.experiment()
    run_id = w.run(experiment_id)
    for step in (0, 5):
        model = w.model(experiment_id, f"model{step}", source_run_id=run_id)
        w.client.log_outputs(run_id, [w.entities.LoggedModelOutput(model.model_id, step)])
    found = w.client.get_run(run_id).outputs.model_outputs
    return sorted(one.step for one in found)


@program()
def log_outputs__of_nobody__is_refused(w: World) -> Any:
    model = w.model()
    return w.refused(
        w.client.log_outputs, NOBODY, [w.entities.LoggedModelOutput(model.model_id, 0)]
    )


@program()
def get_run__without_inputs__has_none(w: World) -> Any:
    run = w.client.get_run(w.run())
    return [run.inputs, run.outputs]


@program()
def log_input__by_the_fluent_api__tells_it(w: World) -> Any:
    import pandas as pd

    w.mlflow.set_experiment(w.name())
    frame = pd.DataFrame({"x": [1, 2], "y": [0.5, 1.5]})
    data = w.mlflow.data.from_pandas(frame, source="https://example.com/d.csv", name="points")
    with w.mlflow.start_run() as run:
        w.mlflow.log_input(data, context="training", tags={"k": "v"})
    found = w.client.get_run(run.info.run_id).inputs.dataset_inputs
    source = w.mlflow.data.get_source(found[0].dataset)
    return [found, type(source).__name__, source.url]


@program()
def log_inputs__by_the_fluent_api__tells_all(w: World) -> Any:
    import pandas as pd

    w.mlflow.set_experiment(w.name())
    frames = [pd.DataFrame({"x": [at]}) for at in range(2)]
    data = [w.mlflow.data.from_pandas(one, name=f"d{at}") for at, one in enumerate(frames)]
    with w.mlflow.start_run() as run:
        w.mlflow.log_inputs(data, contexts=["train", "eval"], tags_list=[{"a": "1"}, None])
    found = w.client.get_run(run.info.run_id).inputs.dataset_inputs
    return [
        [one.dataset.name, {tag.key: tag.value for tag in one.tags}]
        for one in sorted(found, key=lambda one: one.dataset.name)
    ]
