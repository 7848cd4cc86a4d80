"""Metrics and their histories."""

from __future__ import annotations

import math
from typing import Any

from mlflow_programs.labels import KEYS
from mlflow_programs.world import NOBODY, T, World, program

INFINITIES = "Infinities are kept and shown as such; MLflow makes them the greatest float."
BY_STEP = "A history is in order of steps, then times; MLflow's in order of times, then steps."


@program()
def log_metric__step_by_step__has_a_history(w: World) -> Any:
    run_id = w.run()
    for step in range(5):
        w.client.log_metric(run_id, "m", step / 3, timestamp=T + step, step=step)
    return [w.client.get_metric_history(run_id, "m"), w.client.get_run(run_id).data]


@program()
def log_metric__without_time_and_step__is_now_at_zero(w: World) -> Any:
    run_id = w.run()
    w.client.log_metric(run_id, "m", 1)
    return w.client.get_metric_history(run_id, "m")


@program()
def log_metric__exactly_again__is_one_point(w: World) -> Any:
    run_id = w.run()
    for value in (1, 1, 1, 2, 2):
        w.client.log_metric(run_id, "m", value, timestamp=T, step=3)
    return w.client.get_metric_history(run_id, "m")


@program()
def log_metric__of_odd_floats__keeps_them(w: World) -> Any:
    run_id = w.run()
    values = (math.nan, 0.0, 5e-324, 1.7976931348623157e308, -1e308, 1 / 3, 2**53 + 1)
    for step, value in enumerate(values):
        w.client.log_metric(run_id, "m", value, timestamp=T + step, step=step)
    return [[m.step, repr(m.value)] for m in w.client.get_metric_history(run_id, "m")]


@program("A float is kept bit for bit; MLflow's client reads -0.0 back as 0.0.")
def log_metric__of_minus_zero__keeps_its_sign(w: World) -> Any:
    run_id = w.run()
    w.client.log_metric(run_id, "m", -0.0, timestamp=T)
    return [repr(one.value) for one in w.client.get_metric_history(run_id, "m")]


@program()
def log_metric__of_nan__is_the_latest(w: World) -> Any:
    run_id = w.run()
    w.client.log_metric(run_id, "m", 1, timestamp=T, step=1)
    w.client.log_metric(run_id, "m", math.nan, timestamp=T + 1, step=2)
    return w.client.get_run(run_id).data.metrics


@program(INFINITIES)
def log_metric__of_infinities__keeps_them(w: World) -> Any:
    run_id = w.run()
    w.client.log_metric(run_id, "m", math.inf, timestamp=T, step=0)
    w.client.log_metric(run_id, "m", -math.inf, timestamp=T + 1, step=1)
    return w.client.get_metric_history(run_id, "m")


@program()
def log_metric__of_no_number__is_refused(w: World) -> Any:
    run_id = w.run()
    refused = w.each(lambda v: w.client.log_metric(run_id, "m", v), ["much", None, [1], {}, "1.5"])
    return [[r.get("class"), r.get("code")] for r in refused]


@program()
def log_metric__of_numpy_numbers__is_taken(w: World) -> Any:
    import numpy as np

    run_id = w.run()
    for step, value in enumerate((np.float32(0.5), np.float64(0.1), np.int64(7), np.array(2.5))):
        w.client.log_metric(run_id, "m", value, timestamp=T + step, step=step)
    return w.client.get_metric_history(run_id, "m")


@program()
def log_metric__with_odd_keys__is_refused_or_kept(w: World) -> Any:
    run_id = w.run()
    refused = w.each(lambda key: w.client.log_metric(run_id, key, 1, timestamp=T), KEYS)
    return [refused, w.client.get_run(run_id).data.metrics]


@program()
def log_metric__with_negative_steps__is_taken(w: World) -> Any:
    run_id = w.run()
    for at, step in enumerate((-5, 0, -1, 2**62, -(2**62))):
        w.client.log_metric(run_id, f"m{at}", 1, timestamp=T, step=step)
    return [w.client.get_metric_history(run_id, f"m{at}") for at in range(5)]


@program()
def log_metric__with_odd_times__is_refused(w: World) -> Any:
    run_id = w.run()
    return w.each(lambda t: w.client.log_metric(run_id, "m", 1, timestamp=t), [-1, 0, 1])


@program()
def log_metric__of_nobody__is_refused(w: World) -> Any:
    return w.each(lambda run_id: w.client.log_metric(run_id, "m", 1), [NOBODY, "abc"])


@program()
def log_metric__async__is_there_after_waiting(w: World) -> Any:
    run_id = w.run()
    waits = [
        w.client.log_metric(run_id, "m", at, timestamp=T + at, step=at, synchronous=False)
        for at in range(10)
    ]
    for wait in waits:
        wait.wait()
    return w.client.get_metric_history(run_id, "m")


@program()
def log_batch__of_one_metric_many_times__has_them_all(w: World) -> Any:
    run_id = w.run()
    points = [w.metric("m", at / 7, step=at, timestamp=T + at) for at in range(1_000)]
    w.client.log_batch(run_id, metrics=points)
    w.client.log_batch(run_id, metrics=points)
    history = w.client.get_metric_history(run_id, "m")
    return [len(history), history[0], history[-1], w.client.get_run(run_id).data]


@program()
def log_batch__with_a_point_twice_in_it__is_one(w: World) -> Any:
    run_id = w.run()
    w.client.log_batch(run_id, metrics=[w.metric("m", 1), w.metric("m", 1), w.metric("m", 2)])
    return w.client.get_metric_history(run_id, "m")


@program()
def log_batch__in_no_order__latest_is_of_the_greatest_step(w: World) -> Any:
    run_id = w.run()
    w.client.log_batch(
        run_id,
        metrics=[w.metric("m", at, step=at, timestamp=T) for at in (5, 9, 1)],
    )
    w.client.log_batch(run_id, metrics=[w.metric("m", 7, step=7, timestamp=T + 50)])
    return w.client.get_run(run_id).data


@program()
def get_metric_history__of_what_was_never_logged__is_empty(w: World) -> Any:
    run_id = w.run()
    w.client.log_metric(run_id, "m", 1)
    return w.client.get_metric_history(run_id, "n")


@program()
def get_metric_history__of_a_deleted_run__is_there(w: World) -> Any:
    run_id = w.run()
    w.client.log_metric(run_id, "m", 1, timestamp=T)
    w.client.delete_run(run_id)
    return w.client.get_metric_history(run_id, "m")


@program("A run that does not exist is not found; MLflow says that it has no points.")
def get_metric_history__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.get_metric_history, NOBODY, "m")


@program(BY_STEP)
def get_metric_history__of_times_against_steps__has_an_order(w: World) -> Any:
    run_id = w.run()
    for step in range(3):
        w.client.log_metric(run_id, "m", step, timestamp=T - step, step=step)
    return w.client.get_metric_history(run_id, "m")


@program()
def get_metric_history__of_one_time__is_in_order_of_steps_and_values(w: World) -> Any:
    run_id = w.run()
    for step, value in ((2, 1), (1, 5), (1, 4), (0, 9)):
        w.client.log_metric(run_id, "m", value, timestamp=T, step=step)
    return w.client.get_metric_history(run_id, "m")


@program()
def get_metric_history__of_keys_with_slashes_and_spaces__is_theirs(w: World) -> Any:
    run_id = w.run()
    keys = ("a/b", "a b", "a:b", "größe", "a%2Fb"[:1] + ".b", "val-loss_1")
    for at, key in enumerate(keys):
        w.client.log_metric(run_id, key, at, timestamp=T)
    return [w.client.get_metric_history(run_id, key) for key in keys]


@program()
def log_metric__on_a_dataset_or_model__is_told_with_it(w: World) -> Any:
    experiment_id = w.experiment()
    run_id, model = w.run(experiment_id), w.model(experiment_id)
    for at, more in enumerate(
        (
            {"dataset_name": "d", "dataset_digest": "x"},
            {"model_id": model.model_id},
            {"model_id": model.model_id, "dataset_name": "d", "dataset_digest": "x"},
        )
    ):
        w.client.log_metric(run_id, f"m{at}", at, timestamp=T, step=1, **more)
    found = w.client.get_logged_model(model.model_id).metrics
    return [sorted(found or [], key=lambda m: m.key), w.client.get_run(run_id).data]
