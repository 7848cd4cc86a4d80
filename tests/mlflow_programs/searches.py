"""Searches over runs: what is found, in which order, in which pages, and what is refused."""

from __future__ import annotations

import math
from typing import Any

from mlflow_programs.world import MORE, STRICT, T, World, names, program


def _many(w: World) -> str:
    """An experiment with eight runs that differ in everything."""
    experiment_id = w.experiment()
    for at in range(8):
        run_id = w.run(experiment_id, f"run-{at}", start_time=T + at * 1000)
        values = {0: 0.0, 1: 1.0, 2: 2.0, 3: 3.0, 4: math.nan, 5: 1.0}
        metrics = [w.metric("loss", values[at])] if at in values else []
        w.client.log_batch(
            run_id,
            metrics=[*metrics, w.metric("a metric/x", at)],
            params=w.params(lr=str(at / 10), **({"net.kind": "cnn"} if at % 2 else {})),
            tags=w.tags(team="a" if at < 4 else "B", **{"odd key": str(at)}),
        )
        if at < 6:
            w.client.set_terminated(
                run_id, "FINISHED" if at % 3 else "FAILED", end_time=T + 9000 + at
            )
    return experiment_id


def _searched(w: World, experiment_id: str, conditions: list[str]) -> list[Any]:
    return w.each(
        lambda text: sorted(names(w.client.search_runs([experiment_id], text))), conditions
    )


@program()
def search_runs__by_metrics__finds_them(w: World) -> Any:
    return _searched(
        w,
        w.shared(_many),
        [
            "metrics.loss = 1",
            "metrics.loss != 1",
            "metrics.loss < 1",
            "metrics.loss <= 1.0",
            "metrics.loss > 1e0",
            "metrics.loss >= 2",
            "metric.loss > -1",
            "metrics.`a metric/x` > 5",
            'metrics."a metric/x" <= 1',
            "metrics.never = 1",
            "metrics.never != 1",
            "metrics.Loss = 1",
            "metrics.loss = .5",
        ],
    )


@program()
def search_runs__by_params__finds_them(w: World) -> Any:
    return _searched(
        w,
        w.shared(_many),
        [
            "params.lr = '0.1'",
            'params.lr = "0.1"',
            "params.lr != '0.1'",
            "param.lr LIKE '0.%'",
            "parameters.lr LIKE '0._'",
            "params.lr ILIKE '0.3'",
            "params.`net.kind` = 'cnn'",
            "params.net.kind = 'cnn'",
            "params.\"net.kind\" = 'cnn'",
            "params.`net.kind` != 'cnn'",
            "params.`net.kind` LIKE 'CNN'",
            "params.`net.kind` ILIKE 'CNN'",
            "params.`net.kind` IS NULL",
            "params.`net.kind` IS NOT NULL",
            "params.`net.kind` is not null and params.lr != '0.1'",
            "params.lr = ''",
        ],
    )


@program()
def search_runs__by_tags__finds_them(w: World) -> Any:
    return _searched(
        w,
        w.shared(_many),
        [
            "tags.team = 'a'",
            "tag.team = 'b'",
            "tags.team ILIKE 'b'",
            "tags.team != 'a'",
            "tags.`odd key` LIKE '%'",
            "tags.`odd key` = '3'",
            "tags.'odd key' = '3'",
            "tags.\"odd key\" = '3'",
            "tags.mlflow.runName = 'run-3'",
            "tags.`mlflow.runName` LIKE 'run-_'",
            "tags.never IS NULL AND tags.team = 'a'",
            "tags.never = 'x'",
            "tags.never != 'x'",
        ],
    )


@program()
def search_runs__by_attributes__finds_them(w: World) -> Any:
    return _searched(
        w,
        w.shared(_many),
        [
            "attributes.status = 'FINISHED'",
            "attribute.status != 'FINISHED'",
            "attr.status = 'RUNNING'",
            "run.status LIKE 'F%'",
            "status ILIKE 'failed'",
            "attributes.run_name = 'run-2'",
            "run_name != 'run-2'",
            "attributes.run_name LIKE '%-3'",
            "`run_name` ILIKE 'RUN-4'",
            "attributes.`run name` = 'run-1'",
            "attributes.`Run Name` = 'run-1'",
            f"attributes.start_time > {T + 4000}",
            f"start_time >= {T + 4000}",
            f"start_time = {T + 4000}",
            f"start_time != {T + 4000}",
            f"attributes.created < {T + 2000}",
            f"attributes.end_time <= {T + 9002}",
            f"end_time > {T}",
            "attributes.user_id = 'nobody'",
            "attributes.artifact_uri = 'x'",
        ],
    )


@program()
def search_runs__by_ids__finds_them(w: World) -> Any:
    experiment_id = w.shared(_many)
    found = {run.info.run_name: run.info.run_id for run in w.client.search_runs([experiment_id])}
    one, two = found["run-1"], found["run-2"]
    return _searched(
        w,
        experiment_id,
        [
            f"run_id = '{one}'",
            f"attributes.run_id != '{one}'",
            f"run_id IN ('{one}', '{two}')",
            f"attributes.run_id IN ('{one}')",
            f"run_id NOT IN ('{one}', '{two}')",
            f"run_id LIKE '{one[:30]}%'",
            f"run_id IN ('{one}') AND metrics.loss = 1",
        ],
    )


@program()
def search_runs__by_several_at_once__finds_what_meets_all(w: World) -> Any:
    return _searched(
        w,
        w.shared(_many),
        [
            "metrics.loss >= 1 AND params.`net.kind` = 'cnn' AND tags.team = 'a'",
            "metrics.loss >= 1 and metrics.loss <= 1",
            "status = 'FINISHED' AnD metrics.loss < 2",
            "tags.team = 'a' AND tags.`odd key` != '2'",
            "  metrics.loss   =  1  ",
            "",
        ],
    )


@program("The sentence about a filter that cannot be read differs in some, their codes do not.")
def search_runs__by_what_cannot_be_read__is_refused_in_words(w: World) -> Any:
    return _searched(w, w.experiment(), ["metrics.m ==", "nonsense", "params.p > 1", "a = b = c"])


@program(MORE)
def search_runs__by_other_letters_or_by_nothing__finds_them(w: World) -> Any:
    return _searched(w, w.shared(_many), ["METRICS.loss = 1", " "])


@program(STRICT)
def search_runs__by_what_can_be_read_in_part__is_refused(w: World) -> Any:
    conditions = [
        "metrics.m > 1 AND",
        "AND metrics.m > 1",
        "metrics.m > 1 metrics.n > 2",
    ]
    return _searched(w, w.experiment(), conditions)


@program()
def search_runs__by_what_cannot_be_read__is_refused(w: World) -> Any:
    conditions = [
        "metrics.m > 1 OR metrics.m < 0",
        "(metrics.m > 1)",
        "NOT (metrics.m > 1)",
        "metrics.m > 'a'",
        "metrics.m LIKE '1'",
        "metrics.m IS NULL",
        "params.p = 1",
        "params.p > '1'",
        "params.p IN ('1')",
        "tags.t = 1",
        "tags.t >= '1'",
        "attributes.status > 'F'",
        "attributes.start_time = 'x'",
        "attributes.nothing = 'x'",
        "nothing.x = 'x'",
        "metrics.m",
        "metrics.m >",
        "> 1",
        "metrics.m > 1; DROP TABLE runs",
        "run_name IN ('a')",
        "params.p = 'a",
    ]
    found = _searched(w, w.experiment(), conditions)
    return [[one.get("class"), one.get("code")] for one in found]


@program()
def search_runs__in_an_order__has_it(w: World) -> Any:
    experiment_id = w.shared(_many)
    orders: list[list[str]] = [
        [],
        ["metrics.loss"],
        ["metrics.loss ASC"],
        ["metrics.loss DESC"],
        ["metric.loss desc", "params.lr"],
        ["metrics.`a metric/x` DESC"],
        ["params.lr"],
        ["params.lr DESC"],
        ["params.`net.kind`", "start_time ASC"],
        ["params.`net.kind` DESC", "start_time ASC"],
        ["tags.team", "start_time ASC"],
        ["tags.`odd key` DESC"],
        ["attributes.start_time"],
        ["start_time DESC"],
        ["attribute.end_time", "start_time"],
        ["end_time DESC", "start_time"],
        ["run_name DESC"],
        ["created"],
        ["metrics.never", "start_time"],
        ["params.never DESC"],
    ]
    return w.each(
        lambda order: names(w.client.search_runs([experiment_id], order_by=order)), orders
    )


@program("Runs are ordered by our states, which are finer than MLflow's.")
def search_runs__in_order_of_status__are_grouped_by_it(w: World) -> Any:
    found = w.client.search_runs([w.shared(_many)], order_by=["status", "start_time"])
    return names(found)


@program(MORE)
def search_runs__in_order_of_another_name_of_an_attribute__has_it(w: World) -> Any:
    experiment_id = w.shared(_many)
    return w.refused(w.client.search_runs, [experiment_id], order_by=["attributes.`run name`"])


@program()
def search_runs__in_what_is_no_order__is_refused(w: World) -> Any:
    experiment_id = w.experiment()
    orders = ["foo.bar", "metrics.m DESCC", "metrics", "", "metrics.m ASC DESC", "nothing"]
    found = w.each(lambda one: w.client.search_runs([experiment_id], order_by=[one]), orders)
    return [[one.get("class"), one.get("code")] for one in found]


@program()
def search_runs__in_pages__gives_each_once(w: World) -> Any:
    experiment_id, pages, token = w.shared(_many), [], None
    while True:
        page = w.client.search_runs(
            [experiment_id], order_by=["metrics.loss DESC"], max_results=3, page_token=token
        )
        pages.append(names(page))
        if not (token := page.token):
            return pages


@program()
def search_runs__with_a_page_of_all__has_no_token(w: World) -> Any:
    experiment_id = w.experiment()
    for at in range(3):
        w.run(experiment_id, f"r{at}", start_time=T + at)
    sizes = [1, 2, 3, 4]
    pages = [w.client.search_runs([experiment_id], max_results=size) for size in sizes]
    return [[names(page), bool(page.token)] for page in pages]


@program()
def search_runs__of_odd_sizes__is_refused_or_not(w: World) -> Any:
    experiment_id = w.experiment()
    sizes = [0, -1, 1, 50_000, 50_001]
    return w.each(lambda size: len(w.client.search_runs([experiment_id], max_results=size)), sizes)


@program()
def search_runs__over_several_experiments__finds_all(w: World) -> Any:
    ids = [w.experiment() for _ in range(3)]
    for at, experiment_id in enumerate(ids):
        w.run(experiment_id, f"r{at}", start_time=T + at)
    return [
        names(w.client.search_runs(ids)),
        names(w.client.search_runs(ids[:2], order_by=["start_time"])),
        names(w.client.search_runs(ids[0])),
        names(w.client.search_runs([])),
        names(w.client.search_runs(["9999999"])),
        w.refused(w.client.search_runs, ["abc"]),
    ]


@program()
def search_runs__gives_whole_runs(w: World) -> Any:
    experiment_id = w.experiment()
    run_id = w.run(experiment_id, start_time=T)
    w.client.log_batch(
        run_id, metrics=[w.metric("m", 1.5, 2)], params=w.params(p="1"), tags=w.tags(t="x")
    )
    w.client.log_inputs(run_id, [w.dataset("d", context="train")])
    (found,) = w.client.search_runs([experiment_id])
    return [found, found.to_dictionary() == w.client.get_run(run_id).to_dictionary()]


@program()
def search_runs__by_datasets__finds_them(w: World) -> Any:
    experiment_id = w.experiment()
    for at, context in enumerate(("train", "test", "")):
        run_id = w.run(experiment_id, f"r{at}")
        w.client.log_inputs(run_id, [w.dataset(f"data-{at}", f"digest{at}", context)])
    w.run(experiment_id, "none")
    return _searched(
        w,
        experiment_id,
        [
            "dataset.name = 'data-0'",
            "datasets.name != 'data-0'",
            "dataset.name LIKE 'data-%'",
            "dataset.name ILIKE 'DATA-1'",
            "dataset.name IN ('data-0', 'data-1')",
            "dataset.name NOT IN ('data-0', 'data-1')",
            "dataset.digest = 'digest1'",
            "dataset.context = 'train'",
            "dataset.context != 'train'",
            "dataset.context LIKE 't%'",
            "dataset.name = 'data-0' AND dataset.context = 'train'",
            "dataset.name = 'data-0' AND dataset.context = 'test'",
            "dataset.context = 'train' AND run_name = 'r0'",
        ],
    )


@program()
def search_runs__while_runs_are_added__pages_do_not_repeat(w: World) -> Any:
    experiment_id = w.experiment()
    for at in range(4):
        w.run(experiment_id, f"r{at}", start_time=T + at)
    first = w.client.search_runs([experiment_id], max_results=2, order_by=["start_time"])
    w.run(experiment_id, "late", start_time=T + 9)
    second = w.client.search_runs(
        [experiment_id], max_results=2, order_by=["start_time"], page_token=first.token
    )
    return [names(first), names(second), bool(second.token)]
