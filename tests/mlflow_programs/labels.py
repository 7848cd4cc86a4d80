"""Params and tags of runs."""

from __future__ import annotations

from typing import Any

from mlflow_programs.world import NOBODY, World, program

KEYS = [
    "k" * 250,
    "k" * 251,
    "a b",
    "a/b",
    "a.b-c_d:e",
    "größe",
    "",
    "a*",
    "a?",
    "a,b",
    "/a",
    "a/",
    "a//b",
    "..",
    "../a",
    ".",
    "./a",
    "a/../b",
    "a\tb",
    "😀",
]


@program()
def log_param__of_every_kind__is_a_text(w: World) -> Any:
    run_id = w.run()
    values = {"i": 1, "f": 0.1, "b": True, "n": None, "s": "x", "e": "", "l": [1, 2], "d": {"a": 1}}
    given = [w.client.log_param(run_id, key, value) for key, value in values.items()]
    return [given, w.client.get_run(run_id).data.params]


@program()
def log_param__again_alike__is_fine(w: World) -> Any:
    run_id = w.run()
    w.client.log_param(run_id, "p", "1")
    return [w.refused(w.client.log_param, run_id, "p", 1), w.client.get_run(run_id).data.params]


@program()
def log_param__again_otherwise__is_refused(w: World) -> Any:
    run_id = w.run()
    w.client.log_param(run_id, "p", "1")
    return [w.refused(w.client.log_param, run_id, "p", "2"), w.client.get_run(run_id).data.params]


@program()
def log_param__with_odd_keys__is_refused_or_kept(w: World) -> Any:
    run_id = w.run()
    refused = w.each(lambda key: w.client.log_param(run_id, key, "v"), KEYS)
    return [refused, w.client.get_run(run_id).data.params]


@program()
def log_param__longer_than_it_may_be__is_cut(w: World) -> Any:
    run_id = w.run()
    for size in (5_999, 6_000, 6_001, 20_000):
        w.client.log_param(run_id, str(size), "ü" * size)
    return {key: len(value) for key, value in w.client.get_run(run_id).data.params.items()}


@program()
def log_param__cut_and_again__is_fine(w: World) -> Any:
    run_id = w.run()
    w.client.log_param(run_id, "p", "v" * 6_001)
    return w.refused(w.client.log_param, run_id, "p", "v" * 7_000)


@program()
def log_param__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.log_param, NOBODY, "p", "1")


@program()
def log_param__after_the_end__is_kept(w: World) -> Any:
    run_id = w.run()
    w.client.set_terminated(run_id)
    w.client.log_param(run_id, "p", "1")
    w.client.set_tag(run_id, "t", "1")
    w.client.log_metric(run_id, "m", 1)
    return w.client.get_run(run_id).data


@program()
def set_tag__of_every_kind__is_a_text(w: World) -> Any:
    run_id = w.run()
    for key, value in {"i": 1, "f": 0.1, "b": True, "n": None, "e": "", "l": [1]}.items():
        w.client.set_tag(run_id, key, value)
    return w.client.get_run(run_id).data.tags


@program()
def set_tag__again__has_the_last_value(w: World) -> Any:
    run_id = w.run()
    for value in ("1", "2", "größer 東京"):
        w.client.set_tag(run_id, "t", value)
    return w.client.get_run(run_id).data.tags


@program()
def set_tag__with_odd_keys__is_refused_or_kept(w: World) -> Any:
    run_id = w.run()
    refused = w.each(lambda key: w.client.set_tag(run_id, key, "v"), KEYS)
    return [refused, w.client.get_run(run_id).data.tags]


@program()
def set_tag__longer_than_it_may_be__is_cut(w: World) -> Any:
    run_id = w.run()
    for size in (7_999, 8_000, 8_001, 20_000):
        w.client.set_tag(run_id, str(size), "ü" * size)
    return {key: len(value) for key, value in w.client.get_run(run_id).data.tags.items()}


@program()
def set_tag__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.set_tag, NOBODY, "t", "1")


@program()
def delete_tag__that_is_there__is_gone(w: World) -> Any:
    run_id = w.run(tags={"a": "1", "b": "2"})
    w.client.delete_tag(run_id, "a")
    return w.client.get_run(run_id).data.tags


@program()
def delete_tag__that_is_not_there__is_refused(w: World) -> Any:
    run_id = w.run()
    return [
        w.refused(w.client.delete_tag, run_id, "a"),
        w.refused(w.client.delete_tag, NOBODY, "a"),
    ]


@program()
def log_batch__of_params__all_or_none_are_logged(w: World) -> Any:
    run_id = w.run()
    w.client.log_batch(run_id, params=w.params(a="1", b="2"))
    refused = [
        w.refused(w.client.log_batch, run_id, params=w.params(a="other", c="3")),
        w.refused(w.client.log_batch, run_id, params=w.params(d="4") + w.params(d="4")),
        w.refused(w.client.log_batch, run_id, params=w.params(d="4") + w.params(d="5")),
    ]
    return [refused, w.client.get_run(run_id).data.params]


@program()
def log_batch__of_params_again_alike__is_fine(w: World) -> Any:
    run_id = w.run()
    for _ in range(2):
        w.client.log_batch(run_id, params=w.params(a="1", b="2"))
    return w.client.get_run(run_id).data.params


@program()
def log_batch__of_tags_twice_in_it__has_the_last(w: World) -> Any:
    run_id = w.run()
    w.client.log_batch(run_id, tags=w.tags(a="1") + w.tags(a="2", b="3"))
    return w.client.get_run(run_id).data.tags


@program()
def log_batch__of_the_name__renames_the_run(w: World) -> Any:
    run_id = w.run()
    w.client.log_batch(run_id, tags=[w.entities.RunTag("mlflow.runName", "by batch")])
    return w.client.get_run(run_id)


@program()
def log_batch__of_everything__has_it(w: World) -> Any:
    run_id = w.run()
    w.client.log_batch(
        run_id,
        metrics=[w.metric("m", 1.5, 3), w.metric("n", -2)],
        params=w.params(p="1"),
        tags=w.tags(t="1"),
    )
    return w.client.get_run(run_id)


@program()
def log_batch__of_nothing__is_fine(w: World) -> Any:
    run_id = w.run()
    return [w.refused(w.client.log_batch, run_id), w.refused(w.client.log_batch, NOBODY)]


@program()
def log_batch__over_the_limits__is_refused(w: World) -> Any:
    run_id = w.run()
    metrics = [w.metric(f"m{at}", at) for at in range(1_001)]
    params = [w.entities.Param(f"p{at}", "1") for at in range(101)]
    tags = [w.entities.RunTag(f"t{at}", "1") for at in range(101)]
    return [
        w.refused(w.client.log_batch, run_id, metrics=metrics),
        w.refused(w.client.log_batch, run_id, params=params),
        w.refused(w.client.log_batch, run_id, tags=tags),
        w.refused(
            w.client.log_batch, run_id, metrics=metrics[:900], params=params[:100], tags=tags[:1]
        ),
        w.client.get_run(run_id).data,
    ]


@program()
def log_batch__at_the_limits__is_taken(w: World) -> Any:
    run_id = w.run()
    w.client.log_batch(
        run_id,
        metrics=[w.metric(f"m{at}", at) for at in range(800)],
        params=[w.entities.Param(f"p{at}", "1") for at in range(100)],
        tags=[w.entities.RunTag(f"t{at}", "1") for at in range(100)],
    )
    data = w.client.get_run(run_id).data
    return [len(data.metrics), len(data.params), sum(key.startswith("t") for key in data.tags)]


@program()
def log_batch__with_one_odd_key__logs_nothing(w: World) -> Any:
    run_id = w.run()
    odd = [
        w.refused(w.client.log_batch, run_id, metrics=[w.metric("m", 1), w.metric("a*", 1)]),
        w.refused(w.client.log_batch, run_id, params=w.params(p="1", **{"a*": "1"})),
        w.refused(w.client.log_batch, run_id, tags=w.tags(t="1", **{"a*": "1"})),
        w.refused(w.client.log_batch, run_id, metrics=[w.metric("m", 1)], tags=w.tags(**{"": "1"})),
    ]
    return [odd, w.client.get_run(run_id).data]
