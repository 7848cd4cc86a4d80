"""The fluent API: what scripts mostly are."""

from __future__ import annotations

from typing import Any

from mlflow_programs.world import T, World, names, program


@program()
def set_experiment__by_a_new_name__makes_it(w: World) -> Any:
    name = w.name()
    made = w.mlflow.set_experiment(name)
    again = w.mlflow.set_experiment(name)
    return [made, made.experiment_id == again.experiment_id]


@program()
def set_experiment__by_its_id__is_it(w: World) -> Any:
    experiment_id = w.experiment()
    found = w.mlflow.set_experiment(experiment_id=experiment_id)
    return [
        found.experiment_id == experiment_id,
        w.refused(w.mlflow.set_experiment, experiment_id="9999999"),
    ]


@program()
def set_experiment__that_was_deleted__is_refused(w: World) -> Any:
    name = w.name()
    w.client.delete_experiment(w.client.create_experiment(name))
    return w.refused(w.mlflow.set_experiment, name)


@program()
def start_run__and_log__reads_it_back(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run(run_name="n", tags={"a": "1"}, description="notes") as run:
        w.mlflow.log_param("p", 1)
        w.mlflow.log_params({"q": "x", "r": None})
        w.mlflow.log_metric("m", 0.5, step=1, timestamp=T)
        w.mlflow.log_metrics({"x": 1, "y": 2}, step=3, timestamp=T)
        w.mlflow.set_tag("t", "v")
        w.mlflow.set_tags({"u": 1, "w": "2"})
        w.mlflow.delete_tag("u")
    return w.mlflow.get_run(run.info.run_id)


@program()
def start_run__nested__has_its_parent(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run(run_name="outer") as outer:
        with w.mlflow.start_run(run_name="inner", nested=True) as inner:
            w.mlflow.log_metric("m", 1, timestamp=T)
        refused = w.refused(w.mlflow.start_run)
    parent = w.mlflow.get_parent_run(inner.info.run_id)
    return [
        parent.info.run_id == outer.info.run_id,
        refused["class"],
        w.client.get_run(inner.info.run_id),
    ]


@program()
def start_run__by_an_id__goes_on_with_it(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run(run_name="n") as run:
        w.mlflow.log_param("p", 1)
    found = []
    with w.mlflow.start_run(run_id=run.info.run_id):
        found.append(w.client.get_run(run.info.run_id).info.status)
        w.mlflow.log_metric("later", 1, timestamp=T)
    found.append(w.client.get_run(run.info.run_id).info.status)
    return [found, w.client.get_run(run.info.run_id).data]


@program()
def start_run__by_a_deleted_ones_id__is_refused(w: World) -> Any:
    run_id = w.run()
    w.client.delete_run(run_id)
    found = w.refused(w.mlflow.start_run, run_id=run_id)
    return [found["class"], found["code"]]


@program()
def start_run__in_a_script_that_breaks__has_failed(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    run = None

    def broken() -> None:
        nonlocal run
        with w.mlflow.start_run(run_name="n") as run:
            raise RuntimeError("the script broke")

    w.refused(broken)
    assert run is not None
    return w.client.get_run(run.info.run_id).info


@program()
def end_run__with_a_status__has_it(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    run = w.mlflow.start_run(run_name="n")
    w.mlflow.end_run("KILLED")
    return [w.client.get_run(run.info.run_id).info, w.mlflow.active_run()]


@program()
def last_active_run__after_the_end__is_it(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run(run_name="n") as run:
        w.mlflow.log_metric("m", 1, timestamp=T)
    last = w.mlflow.last_active_run()
    return [last.info.run_id == run.info.run_id, last.data.metrics]


@program()
def log_metrics__async__are_there_after_a_flush(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run(run_name="n") as run:
        for step in range(20):
            w.mlflow.log_metrics(
                {"a": step, "b": -step}, step=step, timestamp=T + step, synchronous=False
            )
        w.mlflow.log_params({"p": "1"}, synchronous=False)
        w.mlflow.set_tags({"t": "1"}, synchronous=False)
        w.mlflow.flush_async_logging()
    return [
        len(w.client.get_metric_history(run.info.run_id, "a")),
        w.client.get_run(run.info.run_id).data,
    ]


@program()
def search_runs__as_a_table__has_its_columns(w: World) -> Any:
    experiment_id = w.experiment()
    for at in range(3):
        run_id = w.run(experiment_id, f"r{at}", start_time=T + at)
        w.client.log_batch(
            run_id, metrics=[w.metric("m", at)], params=w.params(p=str(at)), tags=w.tags(t="x")
        )
    table = w.mlflow.search_runs([experiment_id], "metrics.m >= 1", order_by=["metrics.m DESC"])
    columns = ["status", "metrics.m", "params.p", "tags.t", "tags.mlflow.runName"]
    return [sorted(set(table.columns) - {"tags.mlflow.user"}), table[columns].to_dict("list")]


@program()
def search_runs__by_the_experiments_names__finds_them(w: World) -> Any:
    name = w.name()
    w.run(w.client.create_experiment(name), "r")
    found = w.mlflow.search_runs(experiment_names=[name], output_format="list")
    every = w.mlflow.search_runs(
        search_all_experiments=True, output_format="list", filter_string="tags.never = 'x'"
    )
    return [names(found), names(every)]


@program()
def search_experiments__by_the_fluent_api__finds_them(w: World) -> Any:
    name = w.name()
    w.mlflow.create_experiment(name, tags={"a": "1"})
    found = w.mlflow.search_experiments(filter_string=f"name = '{name}'")
    return [[one.name, one.tags] for one in found]


@program()
def get_artifact_uri__of_the_active_run__is_its_own(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run(run_name="n"):
        return [w.mlflow.get_artifact_uri(), w.mlflow.get_artifact_uri("a/b.txt")]


@program()
def set_experiment_tags__by_the_fluent_api__are_its(w: World) -> Any:
    made = w.mlflow.set_experiment(w.name())
    w.mlflow.set_experiment_tag("a", "1")
    w.mlflow.set_experiment_tags({"b": 2, "c": "3"})
    return w.client.get_experiment(made.experiment_id).tags


@program()
def delete_run_and_experiment__by_the_fluent_api__are_deleted(w: World) -> Any:
    made = w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run(run_name="n") as run:
        pass
    w.mlflow.delete_run(run.info.run_id)
    stage = w.client.get_run(run.info.run_id).info.lifecycle_stage
    w.mlflow.delete_experiment(made.experiment_id)
    return [stage, w.client.get_experiment(made.experiment_id).lifecycle_stage]


@program()
def log_params__otherwise_in_a_resumed_run__is_refused(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run(run_name="n") as run:
        w.mlflow.log_params({"a": 1, "b": 2})
    with w.mlflow.start_run(run_id=run.info.run_id):
        refused = w.refused(w.mlflow.log_params, {"a": 1, "b": 3})
        w.mlflow.log_params({"a": 1})
    return [refused, w.client.get_run(run.info.run_id).data.params]


@program()
def log_more_than_a_batch__at_once__is_split_by_the_client(w: World) -> Any:
    w.mlflow.set_experiment(w.name())
    with w.mlflow.start_run(run_name="n") as run:
        w.mlflow.log_params({f"p{at}": at for at in range(250)})
        w.mlflow.set_tags({f"t{at}": at for at in range(250)})
        w.mlflow.log_metrics({f"m{at}": at for at in range(1_100)}, step=0, timestamp=T)
    data = w.client.get_run(run.info.run_id).data
    return [len(data.params), sum(key.startswith("t") for key in data.tags), len(data.metrics)]
