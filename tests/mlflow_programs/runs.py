"""Runs: made, ended, renamed, deleted, restored."""

from __future__ import annotations

from typing import Any

from mlflow_programs.world import NOBODY, T, World, program


@program()
def create_run__with_everything__tells_all_of_it(w: World) -> Any:
    made = w.client.create_run(
        w.experiment(), start_time=T, tags={"a": "1", "b": "größer"}, run_name="named"
    )
    return [made, w.client.get_run(made.info.run_id)]


@program()
def create_run__without_a_name__gets_one(w: World) -> Any:
    run = w.client.create_run(w.experiment())
    return [bool(run.info.run_name), run.data.tags["mlflow.runName"] == run.info.run_name]


@program()
def create_run__named_by_a_tag__has_that_name(w: World) -> Any:
    run = w.client.create_run(w.experiment(), tags={"mlflow.runName": "by tag"})
    return w.client.get_run(run.info.run_id)


@program()
def create_run__named_twice_alike__has_that_name(w: World) -> Any:
    tags = {"mlflow.runName": "same"}
    return w.client.create_run(w.experiment(), run_name="same", tags=tags).info.run_name


@program()
def create_run__named_twice_differently__is_refused(w: World) -> Any:
    tags = {"mlflow.runName": "one"}
    return w.refused(w.client.create_run, w.experiment(), run_name="other", tags=tags)


@program("Tags have keys by the same rule, whether they come with the run or later.")
def create_run__with_tags_that_set_tag_refuses__is_refused(w: World) -> Any:
    experiment_id = w.experiment()
    return [
        w.refused(lambda key=key: bool(w.client.create_run(experiment_id, tags={key: "1"})))
        for key in ("a?b", "a//b", "k" * 251)
    ]


@program()
def create_run__in_no_experiment__is_refused(w: World) -> Any:
    return w.each(w.client.create_run, ["9999999", "abc"])


@program()
def create_run__in_a_deleted_experiment__is_refused(w: World) -> Any:
    experiment_id = w.experiment()
    w.client.delete_experiment(experiment_id)
    return w.refused(w.client.create_run, experiment_id)


@program()
def create_run__with_tags_of_all_kinds__keeps_them_as_texts(w: World) -> Any:
    tags = {"int": 5, "float": 1.5, "bool": True, "none": None, "empty": "", "long": "v" * 8_001}
    run = w.client.get_run(w.run(tags=tags))
    return {key: [len(value), value[:20]] for key, value in run.data.tags.items()}


@program()
def create_run__under_a_parent__is_found_by_it(w: World) -> Any:
    experiment_id = w.experiment()
    parent = w.run(experiment_id, "parent")
    child = w.run(experiment_id, "child", tags={"mlflow.parentRunId": parent})
    found = w.client.search_runs([experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    return [
        w.client.get_parent_run(child).info.run_name,
        w.client.get_parent_run(parent),
        [run.info.run_name for run in found],
    ]


@program()
def create_run__of_a_note_and_a_source__keeps_them(w: World) -> Any:
    tags = {
        "mlflow.note.content": "# notes",
        "mlflow.source.name": "train.py",
        "mlflow.source.type": "LOCAL",
        "mlflow.source.git.commit": "c" * 40,
    }
    return w.client.get_run(w.run(tags=tags)).data.tags


@program()
def get_run__of_nobody__is_refused(w: World) -> Any:
    return w.each(w.client.get_run, [NOBODY, "abc", "a b", ""])


@program()
def set_terminated__with_each_status__has_it(w: World) -> Any:
    experiment_id = w.experiment()
    found = []
    for status in (None, "FINISHED", "FAILED", "KILLED"):
        run_id = w.run(experiment_id, str(status), start_time=T)
        w.client.set_terminated(run_id, status=status, end_time=T + 5)
        found.append(w.client.get_run(run_id).info)
    return found


@program()
def set_terminated__without_a_time__ends_now(w: World) -> Any:
    run_id = w.run()
    w.client.set_terminated(run_id)
    return w.client.get_run(run_id).info


@program()
def set_terminated__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.set_terminated, NOBODY)


@program()
def set_terminated__with_an_unknown_status__is_refused(w: World) -> Any:
    return w.refused(w.client.set_terminated, w.run(), status="NOPE")


@program("A run that a client tracks is running or over: SCHEDULED is shown as RUNNING.")
def update_run__to_scheduled__is_running(w: World) -> Any:
    run_id = w.run()
    w.client.update_run(run_id, status="SCHEDULED")
    return w.client.get_run(run_id).info.status


@program("A run that is over has an end: when it was told, unless the client says when.")
def update_run__to_an_end_without_a_time__ends_now(w: World) -> Any:
    run_id = w.run()
    w.client.update_run(run_id, status="FAILED")
    return w.client.get_run(run_id).info.end_time is not None


@program()
def update_run__to_running_and_to_an_end__has_it(w: World) -> Any:
    run_id, found = w.run(), []
    for status in ("RUNNING", "FAILED", "RUNNING", "FINISHED"):
        w.client.update_run(run_id, status=status)
        found.append(w.client.get_run(run_id).info.status)
    return found


@program()
def update_run__to_another_name__is_its_name_and_its_tag(w: World) -> Any:
    run_id = w.run(run_name="before")
    w.client.update_run(run_id, name="after")
    return w.client.get_run(run_id)


@program()
def update_run__to_a_status_and_a_name__has_both(w: World) -> Any:
    run_id = w.run()
    w.client.update_run(run_id, status="FINISHED", name="done")
    return w.client.get_run(run_id).info.run_name


@program()
def update_run__to_nothing__stays_as_it_is(w: World) -> Any:
    run_id = w.run()
    w.client.update_run(run_id)
    w.client.update_run(run_id, name="")
    return w.client.get_run(run_id)


@program()
def set_tag__of_the_name__renames_the_run(w: World) -> Any:
    run_id = w.run(run_name="before")
    w.client.set_tag(run_id, "mlflow.runName", "after")
    return w.client.get_run(run_id)


@program()
def delete_run__and_restore_it__comes_back(w: World) -> Any:
    experiment_id = w.experiment()
    run_id = w.run(experiment_id)
    w.client.log_metric(run_id, "m", 1, timestamp=T)
    w.client.delete_run(run_id)
    deleted = w.client.get_run(run_id)
    view = w.entities.ViewType
    among = [
        len(w.client.search_runs([experiment_id], run_view_type=kind))
        for kind in (view.ACTIVE_ONLY, view.DELETED_ONLY, view.ALL)
    ]
    w.client.restore_run(run_id)
    return [deleted, among, w.client.get_run(run_id)]


@program()
def delete_run__and_write_to_it__is_refused(w: World) -> Any:
    run_id = w.run()
    w.client.delete_run(run_id)
    return [
        w.refused(w.client.log_metric, run_id, "m", 1),
        w.refused(w.client.log_param, run_id, "p", "1"),
        w.refused(w.client.set_tag, run_id, "t", "1"),
        w.refused(w.client.delete_tag, run_id, "t"),
        w.refused(w.client.log_batch, run_id, metrics=[w.metric("m", 1)]),
        w.refused(w.client.update_run, run_id, name="x"),
        w.refused(w.client.set_terminated, run_id),
        w.client.get_run(run_id),
    ]


@program()
def delete_run__twice__is_fine(w: World) -> Any:
    run_id = w.run()
    w.client.delete_run(run_id)
    return [w.refused(w.client.delete_run, run_id), w.refused(w.client.delete_run, NOBODY)]


@program()
def restore_run__that_lives__is_fine(w: World) -> Any:
    return [w.refused(w.client.restore_run, w.run()), w.refused(w.client.restore_run, NOBODY)]


@program()
def restore_experiment__whose_run_was_deleted_before__keeps_it_so_or_not(w: World) -> Any:
    experiment_id = w.experiment()
    run_id = w.run(experiment_id)
    w.client.set_terminated(run_id, end_time=T)
    w.client.delete_experiment(experiment_id)
    w.client.restore_experiment(experiment_id)
    return w.client.get_run(run_id)


@program()
def get_run__with_metrics_of_many_steps__has_the_last_of_each(w: World) -> Any:
    run_id = w.run()
    for step, value in ((3, 0.3), (1, 0.1), (2, 0.2)):
        w.client.log_metric(run_id, "m", value, timestamp=T + step, step=step)
    w.client.log_metric(run_id, "same step", 1, timestamp=T + 5, step=0)
    w.client.log_metric(run_id, "same step", 2, timestamp=T, step=0)
    w.client.log_metric(run_id, "same time", 1, timestamp=T, step=0)
    w.client.log_metric(run_id, "same time", 2, timestamp=T, step=0)
    w.client.log_metric(run_id, "same time", 1.5, timestamp=T, step=0)
    return w.client.get_run(run_id).data
