"""Experiments: made, found, renamed, tagged, deleted, restored."""

from __future__ import annotations

from typing import Any

from mlflow_programs.world import MORE, World, program


@program()
def create_experiment__and_get_it__tells_all_of_it(w: World) -> Any:
    experiment_id = w.experiment(tags={"a": "1", "b": "x y"})
    return w.client.get_experiment(experiment_id)


@program()
def create_experiment__twice__is_refused(w: World) -> Any:
    name = w.name()
    w.client.create_experiment(name)
    refused = w.refused(w.client.create_experiment, name)
    return [refused["class"], refused["code"]]


@program()
def create_experiment__of_a_deleted_ones_name__is_refused(w: World) -> Any:
    name = w.name()
    w.client.delete_experiment(w.client.create_experiment(name))
    refused = w.refused(w.client.create_experiment, name)
    return [refused["class"], refused["code"]]


@program()
def create_experiment__without_a_name__is_refused(w: World) -> Any:
    return w.each(w.client.create_experiment, ["", None, 5])


@program()
def create_experiment__in_other_letters__is_another(w: World) -> Any:
    name = w.name(" größe 東京 'quoted' \"too\" %_")
    ids = [w.client.create_experiment(name), w.client.create_experiment(name.upper())]
    return [w.client.get_experiment_by_name(name), len(set(ids))]


@program()
def create_experiment__with_odd_tags__is_refused_or_kept(w: World) -> Any:
    return [
        w.refused(lambda: w.client.get_experiment(w.experiment(tags={"n": 5, "e": ""}))),
        w.refused(lambda: w.experiment(tags={"k" * 251: "v"})),
    ]


@program()
def get_experiment_by_name__of_nobody__is_none(w: World) -> Any:
    return w.client.get_experiment_by_name("nobody is called this")


@program()
def get_experiment_by_name__of_a_deleted_one__is_found(w: World) -> Any:
    name = w.name()
    w.client.delete_experiment(w.client.create_experiment(name))
    return w.client.get_experiment_by_name(name)


@program()
def get_experiment__of_what_is_not_there__is_refused(w: World) -> Any:
    return w.each(w.client.get_experiment, ["9999999", "abc", "-1", "1.5", ""])


@program()
def get_experiment__of_the_default__is_there(w: World) -> Any:
    found = w.client.get_experiment("0")
    return [found.name, found.lifecycle_stage, found.experiment_id]


@program()
def rename_experiment__to_a_free_name__is_found_by_it(w: World) -> Any:
    experiment_id, new = w.experiment(), w.name()
    w.client.rename_experiment(experiment_id, new)
    return w.client.get_experiment_by_name(new)


@program()
def rename_experiment__to_its_own_name__is_fine(w: World) -> Any:
    name = w.name()
    experiment_id = w.client.create_experiment(name)
    return w.refused(w.client.rename_experiment, experiment_id, name)


@program()
def rename_experiment__that_is_not_there__is_refused(w: World) -> Any:
    return w.refused(w.client.rename_experiment, "9999999", "x")


@program()
def rename_experiment__to_nothing__is_refused(w: World) -> Any:
    return w.refused(w.client.rename_experiment, w.experiment(), "")


@program()
def set_experiment_tag__again__has_the_last_value(w: World) -> Any:
    experiment_id = w.experiment(tags={"a": "1"})
    for value in ("2", "größer", "", 5, 1.5, None, True):
        w.client.set_experiment_tag(experiment_id, f"k {value}", value)
    w.client.set_experiment_tag(experiment_id, "a", "2")
    return w.client.get_experiment(experiment_id).tags


@program()
def set_experiment_tag__with_an_odd_key__is_refused(w: World) -> Any:
    experiment_id = w.experiment()
    keys = ["", "k" * 250, "k" * 251, "a*", "a/b", "../x", ".", "a//b", "über"]
    return w.each(lambda key: w.client.set_experiment_tag(experiment_id, key, "v"), keys)


@program()
def set_experiment_tag__of_a_deleted_one__is_refused(w: World) -> Any:
    experiment_id = w.experiment()
    w.client.delete_experiment(experiment_id)
    return w.refused(w.client.set_experiment_tag, experiment_id, "a", "1")


@program()
def delete_experiment_tag__twice__is_refused_the_second_time(w: World) -> Any:
    experiment_id = w.experiment(tags={"a": "1", "b": "2"})
    first = w.refused(w.client.delete_experiment_tag, experiment_id, "a")
    second = w.refused(w.client.delete_experiment_tag, experiment_id, "a")
    return [first, second, w.client.get_experiment(experiment_id).tags]


@program()
def delete_experiment__and_its_runs__are_deleted_and_come_back(w: World) -> Any:
    experiment_id = w.experiment()
    run, gone = w.run(experiment_id), w.run(experiment_id)
    before = w.client.get_experiment(experiment_id).lifecycle_stage
    w.client.delete_experiment(experiment_id)
    deleted = [
        w.client.get_experiment(experiment_id).lifecycle_stage,
        w.client.get_run(run).info.lifecycle_stage,
        w.client.get_run(gone).info.lifecycle_stage,
        w.refused(w.client.log_metric, run, "m", 1),
        w.refused(w.client.create_run, experiment_id),
    ]
    w.client.restore_experiment(experiment_id)
    return [before, deleted, w.client.get_experiment(experiment_id), w.client.get_run(run)]


@program()
def delete_experiment__that_is_not_there__is_refused(w: World) -> Any:
    return w.each(w.client.delete_experiment, ["9999999", "abc"])


@program()
def restore_experiment__that_is_not_there__is_refused(w: World) -> Any:
    return w.refused(w.client.restore_experiment, "9999999")


@program("Both refuse; MLflow answers 500 and Seafloor 400.")
def delete_experiment__of_the_default__is_refused(w: World) -> Any:
    found = w.refused(w.client.delete_experiment, "0")
    if "given" in found:  # so that the other programs still have it
        w.client.restore_experiment("0")
    return found


@program()
def search_experiments__by_their_names__finds_them(w: World) -> Any:
    stem = w.name()
    for suffix in ("a", "b", "B", "c%"):
        w.client.create_experiment(f"{stem} {suffix}")

    def found(condition: str) -> Any:
        return sorted(e.name for e in w.client.search_experiments(filter_string=condition))

    return w.each(
        found,
        [
            f"name = '{stem} a'",
            f"name LIKE '{stem} %'",
            f"name LIKE '{stem} b'",
            f"name ILIKE '{stem.upper()} B'",
            f"attribute.name LIKE '{stem}%' AND name != '{stem} a'",
            f'name = "{stem} a"',
            f"`name` = '{stem} a'",
            f"name LIKE '{stem} c_'",
        ],
    )


@program(MORE)
def search_experiments__by_other_names_of_attributes__finds_them(w: World) -> Any:
    name = w.name()
    w.client.create_experiment(name)

    def found(condition: str) -> Any:
        return [e.name for e in w.client.search_experiments(filter_string=condition)]

    return w.each(found, [f"attributes.name = '{name}'", f"attr.name = '{name}'"])


@program()
def search_experiments__by_tags__finds_them(w: World) -> Any:
    stem = w.name()
    tags: list[dict[str, str]] = [{"t": "1", "a.b": "x"}, {"t": "2", "a b": "y"}, {}]
    for at, one in enumerate(tags):
        w.client.create_experiment(f"{stem} {at}", tags={**one, "of": stem})

    def found(condition: str) -> Any:
        whole = f"tags.of = '{stem}' AND {condition}"
        return sorted(e.name for e in w.client.search_experiments(filter_string=whole))

    return w.each(
        found,
        [
            "tags.t = '1'",
            "tag.t != '1'",
            "tags.t LIKE '%'",
            "tags.t ILIKE '2'",
            "tags.`a.b` = 'x'",
            "tags.'a b' = 'y'",
            "tags.\"a b\" = 'y'",
            "tags.t IS NULL",
            "tags.t IS NOT NULL",
            "tags.t = '1' AND tags.t = '2'",
        ],
    )


@program()
def search_experiments__in_an_order__has_it(w: World) -> Any:
    stem = w.name()
    for suffix in ("b", "a", "c"):
        w.client.create_experiment(f"{stem} {suffix}")

    def found(order: list[str] | None) -> Any:
        condition = f"name LIKE '{stem}%'"
        return [
            e.name for e in w.client.search_experiments(filter_string=condition, order_by=order)
        ]

    return w.each(
        found,
        [
            None,
            [],
            ["name"],
            ["name DESC"],
            ["name asc"],
            ["attribute.name DESC"],
            ["experiment_id"],
            ["experiment_id DESC"],
            ["last_update_time DESC", "name"],
        ],
    )


@program()
def search_experiments__in_pages__gives_each_once(w: World) -> Any:
    stem = w.name()
    for at in range(7):
        w.client.create_experiment(f"{stem} {at}")
    pages, token = [], None
    while True:
        page = w.client.search_experiments(
            filter_string=f"name LIKE '{stem}%'", max_results=3, page_token=token
        )
        pages.append([e.name for e in page])
        if not (token := page.token):
            return pages


@program()
def search_experiments__by_view__finds_the_living_or_the_deleted(w: World) -> Any:
    stem = w.name()
    w.client.delete_experiment(w.client.create_experiment(f"{stem} gone"))
    w.client.create_experiment(f"{stem} here")
    view = w.entities.ViewType
    condition = f"name LIKE '{stem}%'"
    return [
        [e.name for e in w.client.search_experiments(kind, filter_string=condition)]
        for kind in (view.ACTIVE_ONLY, view.DELETED_ONLY, view.ALL)
    ]


@program()
def search_experiments__of_odd_sizes__is_refused_or_not(w: World) -> Any:
    def found(size: Any) -> Any:
        return len(w.client.search_experiments(max_results=size, filter_string="name = 'nobody'"))

    return w.each(found, [0, -1, 1, 50_000, 50_001])


@program()
def search_experiments__by_times_and_ids__finds_them(w: World) -> Any:
    stem = w.name()
    ids = [w.client.create_experiment(f"{stem} {at}") for at in range(3)]

    def found(condition: str) -> Any:
        whole = f"name LIKE '{stem}%' AND {condition}"
        return sorted(e.name for e in w.client.search_experiments(filter_string=whole))

    return w.each(
        found,
        [
            f"creation_time > {1_700_000_000_000}",
            f"last_update_time < {1_700_000_000_000}",
            f"experiment_id IN ('{ids[0]}', '{ids[2]}')",
            f"experiment_id = '{ids[1]}'",
        ],
    )
