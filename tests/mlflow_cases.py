"""Requests of MLflow's API that are made to a real ``mlflow server`` and to Seafloor.

``{exp}``, ``{run}`` … stand for the ids that each side gave. A case that says how it ``differs``
does so on purpose; those that a server takes and the other refuses speak of ``{odd}``, so that
the state of ``{run}`` stays the same on both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

T = 1_700_000_000_000
NOBODY = "0" * 32
Body = dict[str, Any]


class Case(NamedTuple):
    """A request; ``differs`` says why the answers do."""

    method: str
    path: str
    body: Body | None = None
    differs: str = ""


STRICT = "What cannot be kept as it was sent is refused, not changed in silence."
NAMES = "Names of experiments have at most 256 characters."
DRIVER = "MLflow shows the words of its database driver."
IDEMPOTENT = "A repeat is harmless: what is deleted or restored already stays so."
FILTER_WORDS = "The sentence about a filter that cannot be read differs, its code does not."
NAMED = "A run always has a name, which is its tag mlflow.runName."
INFINITIES = "Infinities are kept and shown as such; MLflow makes them the greatest float."
BY_STEP = "A history is in order of steps, then times; MLflow's in order of times, then steps."
BUG = "MLflow answers 500 where the caller is at fault."
CLEARED = "A run that goes on has no end; MLflow keeps the old one."
FIRST_END = "A run that has ended keeps how and when; MLflow takes a later word for both."
UNKNOWN_RUN = "A run that does not exist is not found; MLflow says that it has no points."
STAGES = "An unknown kind of view is refused; MLflow takes it for the default."
INTERVAL = "Where the points do not divide evenly, MLflow makes the first buckets the larger ones."


def _posts(path: str, *bodies: Body, differs: str = "") -> list[Case]:
    return [Case("POST", path, body, differs) for body in bodies]


def _gets(path: str, *queries: str, differs: str = "") -> list[Case]:
    return [Case("GET", f"{path}?{query}", None, differs) for query in queries]


def _experiments() -> list[Case]:
    named, by_id = "/experiments/get-by-name", "/experiments/get"
    tag, untag = "/experiments/set-experiment-tag", "/experiments/delete-experiment-tag"
    return [
        *_gets(named, "experiment_name=diff", "experiment_name=nobody", "x=1"),
        *_gets(by_id, *(f"experiment_id={text}" for text in ("{exp}", "0", "99999", "abc")), "x=1"),
        *_posts("/experiments/create", {"name": ""}, {}, {"name": 5}, {"name": None}),
        *_posts("/experiments/create", {"name": "x" * 501}, differs=NAMES),
        *_posts("/experiments/create", {"name": "diff"}, {"name": "deleted"}, differs=DRIVER),
        *_posts(
            "/experiments/update",
            {"experiment_id": "{exp}", "new_name": "renamed"},
            {"experiment_id": "{exp}", "new_name": "diff"},
            {"experiment_id": "{exp}"},
            {"experiment_id": "99999", "new_name": "other"},
        ),
        *_posts(
            "/experiments/update",
            {"experiment_id": "{exp}", "new_name": "Default"},
            differs=DRIVER,
        ),
        *_posts(
            "/experiments/update", {"experiment_id": "{dexp}", "new_name": "other"}, differs=BUG
        ),
        *_posts("/experiments/delete", {"experiment_id": "99999"}, {}),
        *_posts("/experiments/delete", {"experiment_id": "{dexp}"}, differs=IDEMPOTENT),
        *_posts("/experiments/restore", {"experiment_id": "{dexp}"}, {"experiment_id": "99999"}),
        *_posts("/experiments/restore", {"experiment_id": "{dexp}"}, differs=IDEMPOTENT),
        *_posts("/experiments/delete", {"experiment_id": "{dexp}"}),
        *_gets(by_id, "experiment_id={dexp}"),
        *_posts(
            tag,
            {"experiment_id": "{exp}", "key": "a", "value": "1"},
            {"experiment_id": "{exp}", "key": "a", "value": "2"},
            {"experiment_id": "99999", "key": "a", "value": "2"},
            {"experiment_id": "{exp}", "value": "2"},
            {"experiment_id": "{exp}", "key": "k" * 251, "value": "2"},
            {"experiment_id": "{exp}", "key": "long", "value": "v" * 5_001},
            {"experiment_id": "{dexp}", "key": "k", "value": "v"},
        ),
        *_gets(by_id, "experiment_id={exp}"),
        *_posts(
            untag,
            {"experiment_id": "{exp}", "key": "a"},
            {"experiment_id": "{exp}", "key": "a"},
            {"experiment_id": "99999", "key": "a"},
            {"experiment_id": "{dexp}", "key": "a"},
        ),
        *_experiment_searches(),
    ]


def _experiment_searches() -> list[Case]:
    path = "/experiments/search"
    return [
        *_posts(
            path,
            {"max_results": 5, "filter": "name = 'diff'"},
            {"maxResults": 5, "viewType": "DELETED_ONLY"},
            {"max_results": 5, "filter": "name = 'diff'", "page_token": None, "order_by": None},
            {"max_results": 5, "filter": "name LIKE 'di%'"},
            {"max_results": 5, "filter": "name ILIKE 'DI%'"},
            {"max_results": 5, "filter": "tags.a = '1'"},
            {"max_results": 5, "filter": "tags.long LIKE 'v%' AND name != 'x'"},
            {"max_results": 5, "view_type": "DELETED_ONLY"},
            {"max_results": 5, "view_type": 2},
            {"max_results": 5, "view_type": "ALL", "order_by": ["name ASC"]},
            {"max_results": 5, "order_by": ["name DESC"]},
            {"max_results": 1, "order_by": ["name DESC"], "view_type": "ACTIVE_ONLY"},
            {"max_results": "5"},
            {"max_results": 0},
            {"max_results": -1},
            {"max_results": 50_001},
            {"max_results": "x"},
            {"max_results": 5, "page_token": "garbage"},
            {"max_results": 5, "filter": "foo = '1'"},
            {"max_results": 5, "order_by": ["foo"]},
        ),
        *_posts(
            path,
            {"max_results": 5, "filter": "nonsense"},
            {"max_results": 5, "filter": "name = 'a' OR name = 'b'"},
            differs=FILTER_WORDS,
        ),
        *_posts(path, {"max_results": 5, "view_type": "NONE"}, differs=STAGES),
    ]


def _runs() -> list[Case]:
    return [
        *_posts(
            "/runs/create",
            {"experiment_id": "99999"},
            {"experiment_id": "abc"},
            {"experiment_id": "{dexp}"},
            {
                "experiment_id": "{exp}",
                "run_name": "a",
                "tags": [{"key": "mlflow.runName", "value": "b"}],
            },
            {"experiment_id": "{exp}", "start_time": "x"},
            *({"experiment_id": "0", "experimentId": exp} for exp in ("0", "{exp}", None)),
            {"experiment_id": "{exp}", "run_name": "a", "runName": "a"},
            {"experimentId": "99999"},
            {"experimentId": "{exp}", "startTime": "x", "runName": "a", "run_name": "a"},
        ),
        *_posts(
            "/runs/create",
            *({}, {"run_name": "a"}, {"experiment_id": ""}, {"experiment_id": None}),
            differs=DRIVER,
        ),
        *_posts(
            "/runs/create",
            {"experiment_id": "0", "tags": [{"key": "k" * 251, "value": "b"}]},
            differs=STRICT,
        ),
        *_gets(
            "/runs/get",
            *("run_id={run}", "run_uuid={run}", "run_id={gone}", f"run_id={NOBODY}"),
            *("run_id=", "run_id=abc", "x=1"),
        ),
        *_gets("/runs/get", "run_id=..%2F", differs=STRICT),
    ]


def _metric(**change: Any) -> Body:
    body: Body = {"run_id": "{run}", "key": "m", "value": 1.5, "timestamp": T, "step": 0}
    return {name: value for name, value in (body | change).items() if value is not ...}


def _metrics() -> list[Case]:
    path = "/runs/log-metric"
    return [
        *_posts(
            path,
            _metric(),
            _metric(),
            _metric(value=2, timestamp=T + 2, step=5),
            _metric(value=0.5, timestamp=T + 1, step=3),
            _metric(run_id=..., run_uuid="{run}", key="nan", value="NaN"),
            _metric(key="negative", step=-3),
            _metric(key="texts", timestamp=str(T), step="7"),
            _metric(key="whole floats", timestamp=float(T), step=1.0),
            _metric(key="whole texts", timestamp="1.0", step="1e3"),
            _metric(step="1.5"),
            _metric(step=""),
            _metric(step="1e400"),
            *(_metric(key=f"{text} as text", value=text) for text in ("1.5", " 2", "1_0", "1e3")),
            _metric(run_id="{odd}", key="infinite as text", value="inf"),
            _metric(value=""),
            _metric(key="big", value=1e308),
            _metric(key="tiny", value=5e-324),
            _metric(key="zero", value=-0.0),
            _metric(key="a/b"),
            _metric(key="über"),
            _metric(key="unknown field", unknown=3),
            _metric(key="no step", step=...),
            _metric(value="much"),
            _metric(value=None),
            *(_metric(**{name: None}) for name in ("run_id", "key", "timestamp")),
            _metric(key="nulls", step=None, model_id=None, dataset_name=None, dataset_digest=None),
            _metric(value=...),
            _metric(timestamp=...),
            _metric(key=...),
            _metric(run_id=...),
            _metric(run_id=..., runId="{run}"),
            _metric(runId="{run}"),
            _metric(key="dataset", datasetName="d", datasetDigest="x"),
            _metric(dataset_name="d", datasetName="d"),
            _metric(dataset_name="d"),
            _metric(dataset_digest="x"),
            _metric(dataset_name="", dataset_digest="x"),
            _metric(model_id="m-" + NOBODY, dataset_name="d"),
            _metric(dataset_name=5),
            _metric(dataset_digest=5),
            _metric(key=""),
            _metric(key="k" * 251),
            _metric(key="k" * 250),
            *(_metric(key=key) for key in ("a*b", "../x", "a//b", "/a", "a?")),
            _metric(timestamp=-1),
            _metric(timestamp="x"),
            _metric(run_id="{gone}"),
            _metric(run_id=NOBODY),
        ),
        *_posts(
            path,
            _metric(run_id="{odd}", key="odd", value=True),
            _metric(run_id="{odd}", key="odd", timestamp=1.5),
            _metric(run_id="{odd}", key="odd", step=1 << 63),
            _metric(run_id="{odd}", key="odd", step=0.5),
            differs=STRICT,
        ),
        *_posts(path, _metric(run_id="{odd}", value=[1]), differs=BUG),
        *_posts(path, _metric(run_id="{odd}", value="nan"), differs=STRICT),
        *_posts(path, _metric(run_id="{odd}", key="infinite", value="Infinity")),
        *_posts(path, _metric(run_id="{odd}", key="infinite", value="-Infinity", step=1)),
        *_posts(path, _metric(run_id="{odd}", key="late", step=1, timestamp=T)),
        *_posts(path, _metric(run_id="{odd}", key="late", step=2, timestamp=T - 5)),
    ]


def _labels() -> list[Case]:
    def label(**change: Any) -> Body:
        body: Body = {"run_id": "{run}", "key": "p", "value": "1"}
        return {name: value for name, value in (body | change).items() if value is not ...}

    common = (
        label(key=...),
        label(key=""),
        label(key="k" * 251),
        label(key="a*"),
        label(key="../a"),
        label(key=5),
        label(value=5),
        label(run_id="{gone}"),
        label(run_id=NOBODY),
        label(run_id=...),
        label(run_id=None),
        label(key=None),
    )
    return [
        *_posts(
            "/runs/log-parameter",
            label(),
            label(),
            label(value="2"),
            label(key="empty", value=""),
            label(key="no value", value=...),
            label(key="null", value=None),
            label(key="long", value="v" * 6_001),
            *common,
        ),
        *_posts(
            "/runs/set-tag",
            label(key="t"),
            label(key="t", value="2"),
            label(key="null", value=None),
            label(key="long", value="v" * 8_001),
            label(key="mlflow.note.content", value="a note"),
            label(key="mlflow.runName", value="r"),
            *common,
        ),
        *_posts(
            "/runs/delete-tag",
            {"run_id": "{run}", "key": "t"},
            {"run_id": "{run}", "key": "t"},
            {"run_id": "{run}"},
            {"run_id": NOBODY, "key": "t"},
            {"run_id": "{gone}", "key": "t"},
        ),
        *_posts("/runs/delete-tag", {"run_id": "{odd}", "key": "mlflow.runName"}, differs=NAMED),
    ]


def _batches() -> list[Case]:
    def metrics(count: int) -> list[Body]:
        return [{"key": f"b{at}", "value": at, "timestamp": T, "step": at} for at in range(count)]

    def labels(count: int, key: str) -> list[Body]:
        return [{"key": f"{key}{at}", "value": str(at)} for at in range(count)]

    good: Body = {"key": "good", "value": 1, "timestamp": T}
    run: Body = {"run_id": "{run}"}
    return [
        *_posts(
            "/runs/log-batch",
            run | {"metrics": metrics(45)},
            run | {"metrics": metrics(1_001)},
            run | {"params": labels(100, "bp")},
            run | {"params": labels(101, "bq")},
            run | {"tags": labels(101, "bt")},
            run | {"metrics": metrics(950), "params": labels(51, "br")},
            run,
            run | {"params": [{"key": "d", "value": "1"}, {"key": "d", "value": "1"}]},
            run | {"params": [{"key": "d", "value": "1"}, {"key": "d", "value": "2"}]},
            run | {"params": [{"key": "p", "value": "other"}]},
            run | {"params": [{"key": "p", "value": "x"}, {"key": "bp0", "value": "y"}]},
            run | {"tags": [{"key": "x", "value": "1"}, {"key": "x", "value": "2"}]},
            run | {"metrics": [good | {"key": "a*"}]},
            run | {"metrics": [good, good | {"key": "a*"}]},
            run | {"metrics": [{"key": "good", "value": 1}]},
            run | {"metrics": [{"value": 1, "timestamp": T}]},
            run | {"metrics": 5},
            run | {"params": [{"key": "a*", "value": "1"}]},
            run | {"tags": [{"key": "a*", "value": "1"}]},
            run | {"tags": [{"key": "k" * 251, "value": "1"}]},
            run | {"params": [{"key": "k" * 251, "value": "1"}]},
            run | {"metrics": [good | {"key": "k" * 251}]},
            run | {"params": [{"value": "1"}]},
            run | {"metrics": [good | {"key": "same", "step": 1}] * 3},
            {"run_id": NOBODY, "metrics": metrics(1)},
            {"run_id": "{gone}", "metrics": metrics(1)},
            {"metrics": metrics(1)},
            {"runId": "{run}", "metrics": metrics(1)},
            run | {"runId": "{run}", "metrics": metrics(1)},
            run | {"metrics": [good | {"model_id": "", "modelId": ""}]},
            run | {"metrics": [good | {"key": "camel", "modelId": ""}]},
            run | {"metrics": [good | {"key": "floats", "step": 1.0, "timestamp": 1e3}]},
            run | {"metrics": [good | {"key": "numeric", "value": "1.5", "step": "2.0"}]},
            {"run_id": "{odd}", "metrics": [good | {"key": "infinite too", "value": "inf"}]},
            run | {"metrics": [good | {"key": "null", "step": None, "model_id": None}]},
            run | {"metrics": [good, good | {"value": None}], "params": None, "tags": None},
            run | {"params": [{"key": "null in batch", "value": None}]},
            run | {"params": [{"key": None, "value": "1"}]},
        ),
        *_posts(
            "/runs/log-batch",
            {"run_id": "{odd}", "metrics": [good | {"value": "q"}]},
            differs=STRICT,
        ),
    ]


def _curve(count: int) -> list[Body]:
    return [
        {"key": "curve", "value": 1 / (1 + at), "timestamp": T + at, "step": at * at}
        for at in range(count)
    ]


def _histories() -> list[Case]:
    path, interval = "/metrics/get-history", "/metrics/get-history-bulk-interval"
    run = "run_id={run}&metric_key="
    runs = "run_ids={run}&metric_key=m"
    return [
        *_gets(path, *(run + key for key in ("m", "nan", "absent", "zero", "same", "a/b"))),
        *_gets(path, "run_id={gone}&metric_key=m", "run_id={run}", "metric_key=m"),
        *_gets(path, run, f"{run}m&max_results=0", f"{run}m&page_token=x"),
        *_gets(path, "run_id={odd}&metric_key=infinite", differs=INFINITIES),
        *_gets(path, "run_id={odd}&metric_key=late", differs=BY_STEP),
        *_gets(path, f"run_id={NOBODY}&metric_key=m", differs=UNKNOWN_RUN),
        *_gets(path, f"{run}m&max_results=x", differs=STRICT),
        *_gets(
            interval,
            runs,
            *(f"{runs}&max_results={count}" for count in (0, 2_501)),
            f"{runs}&start_step=1",
            f"{runs}&start_step=3&end_step=1",
            f"{runs}&start_step=1&end_step=4",
            "metric_key=m",
            "run_ids={run}",
        ),
        *_posts("/runs/log-batch", {"run_id": "{run}", "metrics": _curve(100)}),
        *_gets(
            interval,
            f"{runs}&max_results=1",
            *(f"run_ids={{run}}&metric_key=curve&max_results={n}" for n in (1, 2, 10, 25, 100)),
            "run_ids={run}&metric_key=curve&start_step=100&end_step=899&max_results=4",
        ),
        *_gets(interval, "run_ids={run}&metric_key=curve&max_results=7", differs=INTERVAL),
    ]


def _updates() -> list[Case]:
    dataset: Body = {"name": "d", "digest": "x", "source_type": "local", "source": "s"}
    other: Body = dataset | {"name": "other", "digest": "y"}

    def inputs(tags: list[Body] | None = None, **change: str) -> Body:
        return {"run_id": "{run}", "datasets": [{"tags": tags or [], "dataset": dataset | change}]}

    return [
        *_posts(
            "/runs/update",
            {"run_id": "{run}", "status": 3, "end_time": str(T + 9)},
            {"run_id": "{run}", "run_name": "renamed"},
            {"run_id": "{run}", "runName": "again"},
            *({"run_id": "{run}", "status": status} for status in (0, 9, -1)),
            {"run_id": "{run}", "status": None, "run_name": None, "end_time": None},
            {"run_id": "{run}", "run_uuid": None, "run_name": "r"},
            {"run_id": "{run}", "run_name": "r"},
            {"run_id": None, "run_name": "r"},
            {"run_id": "{run}", "endTime": T + 9, "end_time": T + 9},
            {"runId": "{run}", "run_name": "r"},
            {"run_id": "{run}", "runUuid": "{run}", "run_uuid": "{run}"},
            {"run_id": "{odd}", "status": "FAILED", "end_time": T + 9},
            {"run_id": NOBODY, "status": "FINISHED"},
            {"status": "FINISHED"},
            {"run_id": "{gone}", "status": "FINISHED"},
        ),
        *_posts(
            "/runs/update",
            {"run_id": "{odd}", "status": "FAILED", "end_time": T + 10},
            {"run_id": "{odd}", "status": "FINISHED", "end_time": T + 11},
            {"run_id": "{odd}", "status": "KILLED", "end_time": T + 12},
            differs=FIRST_END,
        ),
        *_posts("/runs/update", {"run_id": "{odd}", "status": "RUNNING"}, differs=CLEARED),
        *_posts("/runs/update", {"run_id": "{odd}", "status": "NOPE"}, differs=STRICT),
        *_posts("/runs/delete", {"run_id": NOBODY}, {}, {"run_id": "{gone}"}),
        *_posts("/runs/restore", {"run_id": "{run}"}, {"run_id": NOBODY}, {}),
        *_posts(
            "/runs/log-inputs",
            inputs([{"key": "mlflow.data.context", "value": "train"}]),
            inputs([{"key": "mlflow.data.context", "value": "train"}]),
            inputs(name="n" * 501),
            inputs(digest="n" * 37),
            inputs([{"key": "k" * 256, "value": "1"}]),
            inputs([{"key": "k", "value": "v" * 501}]),
            {"run_id": "{odd}", "datasets": [{"tags": None, "dataset": other | {"schema": None}}]},
            inputs([{"key": "mlflow.data.context", "value": "train"}]) | {"models": None},
            inputs() | {"datasets": [{"dataset": {**dataset, "sourceType": "local"}}]},
            {"run_id": NOBODY, "datasets": []},
            {"datasets": []},
            {"run_id": "{gone}", "datasets": [{"tags": [], "dataset": dataset}]},
        ),
        *_gets("/runs/get", "run_id={run}"),
    ]


def _search(**change: Any) -> Body:
    only_run: Body = {"experiment_ids": ["{exp}"], "max_results": 10}
    return only_run | change


_FILTERS = (
    "metrics.m > 1",
    "metrics.m = 2",
    "metrics.absent < 1",
    "metrics.nan != 1",
    "metrics.`m` > 1",
    'metrics."m" > 1',
    "metric.m >= 2 and metric.m <= 2",
    "params.p = '1'",
    "params.p != '1'",
    "params.p LIKE '%'",
    "params.p ILIKE '1'",
    "params.absent IS NULL AND params.p IS NOT NULL",
    "params.p IS NOT NULL",
    "params.p IS NULL AND metrics.b1 > 0",
    "tags.x = '2'",
    "tag.x != '3'",
    "tags.mlflow.runName = 'r'",
    "attributes.status = 'FINISHED'",
    "status = 'FINISHED'",
    "status = 'x'",
    "run_name = 'r'",
    "attributes.run_name LIKE 'r%'",
    "start_time > 5 AND metrics.m > 1",
    "end_time < 99",
    "end_time > 99 AND params.p = '1'",
    "created > 0 AND params.p = '1'",
    "run_id IN ('{run}')",
    "run_id = '{run}'",
    "run_id = 'x'",
    "user_id = 'u' AND params.p = '1'",
    "attributes.artifact_uri = 'x'",
    "dataset.name = 'd'",
    "datasets.digest = 'x'",
    "dataset.context = 'train'",
    "dataset.name IN ('d', 'e')",
    "metrics.m > 1 AND params.p = '1' AND tags.x = '2'",
)
_REFUSED_FILTERS = (
    "metrics.m > 1 OR metrics.m < 0",
    "(metrics.m > 1)",
    "metrics.m > 'a'",
    "metrics.m",
    "foo.bar = '1'",
    "attributes.foo = '1'",
    "params.p = 1",
)
_REFUSED_IN_OTHER_WORDS = (
    "params.p > 1",
    "nonsense",
    "metrics.m ==",
)


def _searches() -> list[Case]:
    path = "/runs/search"
    return [
        *_posts(path, *(_search(filter=text) for text in (*_FILTERS, *_REFUSED_FILTERS))),
        *_posts(
            path,
            *(_search(filter=text) for text in _REFUSED_IN_OTHER_WORDS),
            differs=FILTER_WORDS,
        ),
        *_posts(
            path,
            *(
                _search(order_by=[order], filter="params.p = '1'")
                for order in ("metrics.m DESC", "metrics.m", "params.p ASC", "start_time", "tags.x")
            ),
            _search(order_by=["foo.bar"]),
            _search(order_by=["metrics.m DESCC"]),
            _search(order_by=["status", "run_id"], filter="params.p = '1'"),
            *(_search(run_view_type=view) for view in ("DELETED_ONLY", 2)),
            _search(run_view_type="ALL", filter="params.p = '1'"),
            *(_search(max_results=count) for count in (0, -1, 50_001, "x")),
            _search(max_results="5", filter="params.p = '1'"),
            _search(max_results=5.0, filter="params.p = '1'"),
            {"experimentIds": ["{exp}"], "maxResults": 5, "filter": "params.p = '1'"},
            {"experimentIds": ["{exp}"], "orderBy": ["start_time"], "runViewType": "DELETED_ONLY"},
            {"experimentIds": ["{exp}"], "maxResults": 0},
            _search(filter="params.p = '1'", order_by=None, page_token=None, run_view_type=None),
            {"experiment_ids": ["99999"], "filter": None},
            _search(experiment_ids=None),
            {"experiment_ids": ["{exp}"], "experimentIds": ["{exp}"]},
            {},
            {"experiment_ids": ["99999"]},
            {"experiment_ids": ["abc"]},
        ),
        *_posts(path, _search(order_by=["metrics.m", "metrics.m"]), differs=BUG),
        *_posts(path, _search(page_token="garbage")),
        *_posts(path, _search(run_view_type="NOPE"), differs=STAGES),
    ]


def _inputs() -> list[Case]:
    used, made = "/runs/log-inputs", "/runs/outputs"
    dataset = {"name": "d", "digest": "1", "source_type": "local", "source": "s"}
    return [
        *_posts(used, {}, {"run_id": "{run}"}, {"run_id": "{run}", "datasets": None}),
        *_posts(used, {"datasets": []}, {"run_id": "{gone}", "datasets": [{"dataset": dataset}]}),
        *_posts(used, {"run_id": "{run}", "datasets": [{"dataset": {}}]}),
        *_posts(made, {}, {"models": []}, {"run_id": "{run}"}, {"run_id": "{run}", "models": None}),
        *_posts(made, {"run_id": "{run}", "models": []}, {"run_id": "{run}", "models": "x"}),
        *_posts(made, {"run_id": NOBODY, "models": []}, {"run_id": "{gone}"}),
        *_gets("/model-versions/get", "name=x&version=1"),
        *_gets("/model-versions/get-download-uri", "name=x&version=1"),
        *_gets("/registered-models/get", "name=x"),
        *_gets("/registered-models/alias", "name=x&alias=a"),
        *_posts("/registered-models/get-latest-versions", {"name": "x"}),
    ]


CASES: tuple[Case, ...] = tuple(
    case
    for cases in (
        _experiments,
        _runs,
        _metrics,
        _labels,
        _batches,
        _histories,
        _updates,
        _searches,
        _inputs,
    )
    for case in cases()
)
