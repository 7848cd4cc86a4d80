"""``/api/v1/runs``."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from http_world import Answer, ask, check_envelope
from live_server import LiveServer
from seafloor.app.run_pages import KEYS_MAX
from seafloor.domain.ids import WorkloadId
from seafloor.launch.local.folders import attempt_folders, keep_task
from seafloor.launch.protocol import TaskKey

Call = Callable[..., Answer]


def tracked(call: Call, **fields: Any) -> dict[str, Any]:
    answer = call("POST", "/api/v1/runs", {"experiment": "http tests", **fields})
    assert answer.status == 201, answer
    return answer.json


def test_create__of_a_tracked_run__gives_it_running(call: Call) -> None:
    run = tracked(call, name="first", user="ann", params={"lr": "0.1"}, tags={"team/x": "ü"})
    assert (run["state"], run["origin"], run["attempt"]) == ("running", "tracked", 0)
    assert (run["name"], run["user"]) == ("first", "ann")
    assert run["params"] == {"lr": "0.1"}
    assert run["tags"] == {"team/x": "ü"}
    assert run["url"].endswith(f"/runs/{run['id']}")
    assert call("GET", f"/api/v1/runs/{run['id']}").json["params"] == {"lr": "0.1"}


def test_create__with_an_id__is_repeated_harmlessly(call: Call) -> None:
    wanted = uuid.uuid4().hex
    first, again = tracked(call, id=wanted, name="one"), tracked(call, id=wanted, name="two")
    assert first["id"] == again["id"] == wanted
    assert again["name"] == "one"


def test_create__with_an_idempotency_key__gives_the_run_that_is_there(call: Call) -> None:
    body = {"spec": {"name": "http tests", "command": "true"}, "idempotency_key": uuid.uuid4().hex}
    first, again = (call("POST", "/api/v1/runs", body) for _ in range(2))
    assert first.status == again.status == 201
    assert first.json["id"] == again.json["id"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"spec": {"name": "x", "command": "y"}, "experiment": "x"}, "spec"),
        ({"spec": {"name": "x"}}, "command"),
        ({"spec": {"name": "x", "command": "y", "comand": 1}}, "comand"),
        ({"spec": {"name": "x", "command": "y", "code": {"sync_mode": "gti"}}}, "code.sync_mode"),
        (
            {"spec": {"name": "x", "command": "y", "code": {"sync_mode": "git", "url": "u"}}},
            "code",
        ),
        ({"code": {"kind": "git", "url": "u", "commit": "0" * 40, "folder": "f"}}, "code"),
        ({"experiment": " "}, "name"),
        ({"id": "XYZ"}, "id"),
        ({"params": {"a//b": "1"}}, "params.a//b"),
        ({"name": "a\nb"}, "name"),
        ({"user": " a"}, "user"),
    ],
)
def test_create__with_a_bad_field__names_it_and_creates_nothing(
    call: Call, body: dict[str, Any], field: str
) -> None:
    before = call("GET", "/api/v1/experiments").json
    error = check_envelope(call("POST", "/api/v1/runs", body), code="invalid_value", status=400)
    assert error["field"] == field
    assert call("GET", "/api/v1/experiments").json == before


def test_create__refused_for_its_params__leaves_no_experiment(call: Call) -> None:
    name = f"never {uuid.uuid4().hex}"
    body = {"experiment": name, "params": {"..": "x"}}
    check_envelope(call("POST", "/api/v1/runs", body), code="invalid_value", status=400)
    spec = {"name": name, "command": "true"}
    check_envelope(
        call("POST", "/api/v1/runs", {"spec": spec, "name": "\x07"}),
        code="invalid_value",
        status=400,
    )
    names = [found["name"] for found in call("GET", "/api/v1/experiments").json["items"]]
    assert name not in names


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "The request body is not JSON (Input data was truncated)."),
        (b"\xff\xfe", "The request body is not JSON"),
        (b"", "This request needs a JSON body."),
        (b"[]", "The request body must be an object, not a list."),
        (b'{"nmae": "x"}', 'Unknown field "nmae". Did you mean "name"?'),
        (b'{"started_ns": 9223372036854775808}', "at most 9223372036854775807"),
        (b'{"started_ns": -1}', "`started_ns` must be at least 0."),
        (b'{"started_ns": 1e400}', ""),
        (b'{"params": {"a": 1}}', "must be a text, not a whole number"),
        (b'{"name": "\\ud800"}', "The request body is not JSON"),
        (b'{"code": {"kind": "gti"}}', '"gti" cannot stand at `code.kind`'),
        (b'{"code": {"kind": "git", "url": "u"}}', "The field `code.commit` is missing."),
    ],
)
def test_create__of_a_body_that_is_none__is_refused(call: Call, body: bytes, words: str) -> None:
    answer = call("POST", "/api/v1/runs", body, Content_Type="application/json")
    error = check_envelope(answer, code="invalid_value", status=400)
    assert words in error["message"]


@pytest.mark.parametrize(
    ("tasks", "field", "words"),
    [
        ({"worker": {"replicas": 65, "command": "train"}}, "tasks", "at most 64 tasks here"),
        (
            {"a": {"replicas": 40, "command": "x"}, "b": {"replicas": 40, "command": "x"}},
            "tasks",
            "and not 80",
        ),
        ({"Worker": {"command": "x"}}, "tasks.Worker", "cannot be a role"),
        ({"worker": {"replicas": 0, "command": "x"}}, "tasks.worker.replicas", "1..1000"),
        ({"worker": {}}, "tasks.worker.command", "needs a command"),
        ({"worker": {"replicas": 1, "comand": "x"}}, None, 'Did you mean "command"?'),
    ],
)
def test_create__of_tasks_that_cannot_be__says_which(
    call: Call, tasks: dict[str, Any], field: str | None, words: str
) -> None:
    answer = call("POST", "/api/v1/runs", {"spec": {"name": "gang", "tasks": tasks}})
    error = check_envelope(answer, code="invalid_value", status=400)
    assert words in error["message"]
    assert field is None or error["field"] == field


@pytest.mark.parametrize(
    ("role", "field"),
    [
        ({"resources": {"gpu": 1}}, "tasks.worker.resources.gpu"),
        ({"resources": {"pool": "fast"}}, "tasks.worker.resources.pool"),
    ],
)
def test_create__of_a_role_that_wants_what_machines_have_not__names_it(
    call: Call, role: dict[str, Any], field: str
) -> None:
    tasks = {"worker": {"command": "train", **role}}
    answer = call("POST", "/api/v1/runs", {"spec": {"name": "gang", "tasks": tasks}})
    assert check_envelope(answer, code="not_supported", status=501)["field"] == field


def test_create__of_a_role_whose_environment_is_not_there__says_so(call: Call) -> None:
    tasks = {"worker": {"command": "train", "environment": "other"}}
    answer = call("POST", "/api/v1/runs", {"spec": {"name": "gang", "tasks": tasks}})
    assert "other" in check_envelope(answer, code="not_found", status=404)["message"]


def test_create__of_a_body_nested_too_deeply__is_refused(call: Call) -> None:
    body = b'{"spec": ' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    answer = call("POST", "/api/v1/runs", body, Content_Type="application/json")
    error = check_envelope(answer, code="invalid_value", status=400)
    assert "nested too deeply" in error["message"]


@pytest.mark.parametrize("path", ["runs", "experiments", "environments", "volumes"])
def test_create__of_a_text_that_is_not_utf_8__is_refused(call: Call, path: str) -> None:
    answer = call("POST", f"/api/v1/{path}", b'{"name": "\xff"}', Content_Type="application/json")
    error = check_envelope(answer, code="invalid_value", status=400)
    assert "it is not UTF-8" in error["message"]


def test_create__with_a_name_of_300_characters__says_how_long_it_may_be(call: Call) -> None:
    error = check_envelope(
        call("POST", "/api/v1/runs", {"name": "é" * 300}), code="limit_exceeded", status=413
    )
    assert "at most 256 characters, not 300" in error["message"]


def test_create__with_unicode_everywhere__gives_it_back(call: Call) -> None:
    words = "Größe 東京 🦀 'quoted' \"double\" <b> & %25"
    run = tracked(call, name=words, user="Ünal", params={"größe": words}, tags={"東京": words})
    again = call("GET", f"/api/v1/runs/{run['id']}").json
    assert (again["name"], again["params"], again["tags"]) == (
        words,
        {"größe": words},
        {"東京": words},
    )
    where = quote("params.größe LIKE '%東京%'")
    found = call("GET", f"/api/v1/runs?filter={where}")
    assert [one["id"] for one in found.json["items"]] == [run["id"]]


def test_get__by_the_beginning_or_end_of_an_id__finds_it(call: Call) -> None:
    run = tracked(call)
    assert call("GET", f"/api/v1/runs/{run['id'][-12:]}").json["id"] == run["id"]
    check_envelope(call("GET", "/api/v1/runs/xyz"), code="invalid_value", status=400)
    check_envelope(call("GET", "/api/v1/runs/abc"), code="invalid_value", status=400)
    check_envelope(call("GET", f"/api/v1/runs/{'0' * 32}"), code="not_found", status=404)
    check_envelope(call("GET", "/api/v1/runs/ffffffff"), code="not_found", status=404)


def test_update__of_a_param__never_changes_its_value(call: Call) -> None:
    run = tracked(call, params={"lr": "0.1"})
    path = f"/api/v1/runs/{run['id']}"
    assert call("PATCH", path, {"params": {"lr": "0.1", "new": "2"}}).json["params"]["new"] == "2"
    error = check_envelope(
        call("PATCH", path, {"params": {"lr": "0.2"}}), code="conflict", status=409
    )
    assert "0.1" in error["message"]
    assert "0.2" in error["message"]


def test_update__refused_for_one_part__changes_none(call: Call) -> None:
    run = tracked(call, name="before")
    path = f"/api/v1/runs/{run['id']}"
    for bad in ({"name": " x"}, {"tags": {"//": "x"}}):
        answer = call("PATCH", path, {"params": {"p": "1"}, "tags": {"t": "1"}, **bad})
        assert answer.status == 400, answer
    again = call("GET", path).json
    assert (again["name"], again["params"], again["tags"]) == ("before", {}, {})


def test_update__of_the_state__follows_the_arrows(call: Call) -> None:
    run = tracked(call)
    path = f"/api/v1/runs/{run['id']}"
    ended = call("PATCH", path, {"state": "succeeded", "reason": "All done."}).json
    assert ended["state"] == "succeeded"
    assert ended["ending"] is None or ended["ending"]["reason"] == "All done."
    assert call("PATCH", path, {"state": "succeeded"}).status == 200
    check_envelope(call("PATCH", path, {"state": "failed"}), code="conflict", status=409)
    assert call("PATCH", path, {"state": "running"}).json["state"] == "running"
    check_envelope(call("PATCH", path, {"state": "lost"}), code="invalid_value", status=400)


@pytest.mark.parametrize(
    ("state", "other", "code"),
    [
        ("stopped", {}, "conflict"),
        ("running", {"params": {"lr": "0.2"}}, "conflict"),
        ("running", {"delete_tags": ["none"]}, "no_such_tag"),
    ],
    ids=["the state", "a param", "a tag"],
)
def test_update__of_everything_refused_for_one_part__changes_none(
    call: Call, state: str, other: dict[str, Any], code: str
) -> None:
    run = tracked(call, name="before", params={"lr": "0.1"})
    path = f"/api/v1/runs/{run['id']}"
    call("PATCH", path, {"state": "succeeded"})
    before = call("GET", path).json
    change = {"state": state, "name": "half", "params": {"x": "1"}, "tags": {"y": "2"}, **other}
    check_envelope(call("PATCH", path, change), code=code, status=409)
    assert call("GET", path).json == before


def test_update__of_tags__sets_and_deletes_them(call: Call) -> None:
    run = tracked(call, tags={"a": "1", "b": "2"})
    path = f"/api/v1/runs/{run['id']}"
    changed = call("PATCH", path, {"tags": {"a": "3"}, "delete_tags": ["b"]}).json
    assert changed["tags"] == {"a": "3"}
    check_envelope(call("PATCH", path, {"delete_tags": ["b"]}), code="no_such_tag", status=409)
    check_envelope(
        call("PATCH", path, {"tags": {"seafloor.createdBy": "x"}}), code="invalid_value", status=400
    )


def test_delete__and_restore__and_purge__say_what_they_did(call: Call) -> None:
    run = tracked(call)
    path = f"/api/v1/runs/{run['id']}"
    call("PUT", f"{path}/artifacts/a.bin", b"x" * 1000)
    assert call("DELETE", path).json == {"id": run["id"], "purged": False, "freed_bytes": 0}
    assert call("DELETE", path).status == 200
    assert call("GET", path).json["deleted_ns"] is not None
    check_envelope(call("PATCH", path, {"name": "x"}), code="conflict", status=409)
    check_envelope(call("PUT", f"{path}/artifacts/b", b"x"), code="conflict", status=409)
    assert call("POST", f"{path}/restore").json["deleted_ns"] is None
    purged = call("DELETE", f"{path}?purge=true").json
    assert purged["purged"] is True
    assert purged["freed_bytes"] >= 1000
    check_envelope(call("GET", path), code="not_found", status=404)


def test_purge__what_was_kept_of_the_run__goes_with_it(
    call: Call, shared_server: LiveServer
) -> None:
    run, other = (WorkloadId(tracked(call)["id"]) for _ in range(2))
    kept = [attempt_folders(shared_server.data / "work", TaskKey(one, 1)) for one in (run, other)]
    for one in kept:
        one.make()
        keep_task(shared_server.data / "work", TaskKey(WorkloadId(one.root.parent.name), 1))
    assert call("DELETE", f"/api/v1/runs/{run}").status == 200
    assert kept[0].output.is_dir()  # it may be restored
    assert call("DELETE", f"/api/v1/runs/{run}?purge=true").json["purged"] is True
    assert [one.root.parent.exists() for one in kept] == [False, True]
    call("DELETE", f"/api/v1/runs/{other}?purge=true")


def test_list__filtered_ordered_and_paged__gives_each_run_once(call: Call) -> None:
    mark = uuid.uuid4().hex
    made = [tracked(call, tags={"mark": mark}, params={"i": str(i)})["id"] for i in range(7)]
    for number, one in enumerate(made):
        point = ["loss", float(number % 4), 1, 1]
        call("POST", f"/api/v1/runs/{one}/metrics", {"points": [point]})
    where = quote(f"tags.mark = '{mark}' AND metrics.loss >= 0")
    query = f"/api/v1/runs?filter={where}&order={quote('metrics.loss desc')}&limit=3"
    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = call("GET", query + cursor).json
        seen += page["items"]
        if page["next"] is None:
            break
        cursor = f"&cursor={quote(page['next'])}"
    assert sorted(one["id"] for one in seen) == sorted(made)
    losses = [one["metrics"]["loss"]["last"] for one in seen]
    assert losses == sorted(losses, reverse=True)


def test_list__of_some_fields__gives_only_those(call: Call) -> None:
    mark = uuid.uuid4().hex
    made = tracked(call, tags={"mark": mark, "b": "2"}, params={"x": "1", "y": "2"})["id"]
    points = [["loss", 0.5, 1, 1], ["a b", 1.5, 1, 1]]
    call("POST", f"/api/v1/runs/{made}/metrics", {"points": points})
    where = "/api/v1/runs?filter=" + quote(f"tags.mark = '{mark}'")

    def shown(query: str) -> tuple[set[str], set[str], set[str]]:
        (run,) = call("GET", where + query).json["items"]
        assert run["id"] == made
        return set(run["params"]), set(run["tags"]), set(run["metrics"])

    assert shown("") == ({"x", "y"}, {"mark", "b"}, {"loss", "a b"})
    assert shown("&fields=") == (set(), set(), set())
    assert shown("&fields=metrics,params.y") == ({"y"}, set(), {"loss", "a b"})
    assert shown(f"&fields={quote('metrics.`a b`, tags.b, tags.c')}") == (set(), {"b"}, {"a b"})


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        (f"limit={'9' * 400}", "limit"),
        ("experiment=-1", "experiment"),
        (f"experiment={2**63}", "experiment"),
        ("experiment=null", "experiment"),
        ("state=faild", "state"),
        ("deleted=perhaps", "deleted"),
        ("filter=metrics.loss", "filter"),
        ("filter=metrics.loss%20%3D%20'x'", "filter"),
        ("filter=params.a->'$'%20%3D%201", "filter"),
        ("filter=NOT%20NOT", "filter"),
        ("order=metrics.", "order"),
        ("fields=loss", "fields"),
        ("fields=metrics.a%20params", "fields"),
        ("cursor=nonsense", "cursor"),
    ],
)
def test_list__with_an_odd_parameter__names_it(call: Call, query: str, field: str) -> None:
    error = check_envelope(call("GET", f"/api/v1/runs?{query}"), code="invalid_value", status=400)
    assert error.get("field", "").startswith(field), error


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("limit=x", "`limit` must be a whole number, not a text."),
        ("limit=0", "`limit` must be at least 1."),
        ("limit=1001", "`limit` must be at most 1000."),
        ("state=faild", '"faild" cannot stand at `state`. Did you mean "failed"?'),
        ("deleted=perhaps", "Known: active, all, deleted."),
        ("experiment=null", "`experiment` cannot be null: leave it out."),
    ],
)
def test_list__with_an_odd_parameter__says_what_would_do(
    call: Call, query: str, words: str
) -> None:
    assert words in call("GET", f"/api/v1/runs?{query}").json["message"]


@pytest.mark.parametrize(
    "text",
    [
        f"metrics.loss < {'9' * 400}",
        f"metrics.loss < {2**63}",
        f"created_ns > {2**64}",
        f"experiment_id = {10**30}",
        "metrics.loss < 1e999",
        "name LIKE '" + "%" * 500 + "x'",
        "tags.`a b/c` = 'ü'",
        "params.a IN (" + ", ".join(str(n) for n in range(2_000)) + ")",
        "params.a IN ('" + "', '".join(str(n) for n in range(2_000)) + "')",
        "params.a->'$.x[999999].y' > 1 AND NOT params.a < -1e-400",
        "name LIKE '􏿿%' OR params.a LIKE '퟿%' OR tags.a LIKE '_x'",
        f"metrics.a.min < {10**400} OR metrics.a.step IN (1e300, -1, 0.5)",
        "created BETWEEN '0001-01-01' AND '9999-12-31T23:59:59.999999+00:00'",
        " AND ".join(["params.a = 1"] * 200),
    ],
)
def test_list__with_an_odd_filter__answers(call: Call, text: str) -> None:
    assert call("GET", f"/api/v1/runs?filter={quote(text)}").status == 200


def test_list__with_a_filter_too_long_or_too_deep__is_refused(call: Call) -> None:
    deep = "(" * 30 + "name = 'x'" + ")" * 30
    check_envelope(
        call("GET", f"/api/v1/runs?filter={quote(deep)}"), code="invalid_value", status=400
    )
    long = quote("name = '" + "x" * 20_000 + "'")
    check_envelope(call("GET", f"/api/v1/runs?filter={long}"), code="limit_exceeded", status=413)


def test_compare__of_runs__lays_them_side_by_side(call: Call) -> None:
    first = tracked(call, params={"lr": "0.1", "same": "x"})["id"]
    second = tracked(call, params={"lr": "0.2", "same": "x"})["id"]
    call("POST", f"/api/v1/runs/{first}/metrics", {"points": [["loss", "NaN", 1, 1]]})
    found = call("GET", f"/api/v1/comparisons?run={second}&run={first}").json
    assert [run["id"] for run in found["runs"]] == [second, first]
    params = {row["key"]: row for row in found["params"]}
    assert params["lr"] == {"key": "lr", "values": ["0.2", "0.1"], "differs": True}
    assert params["same"]["differs"] is False
    assert found["metrics"] == [{"key": "loss", "values": [None, "NaN"], "differs": True}]


def test_compare__of_one_or_of_too_many__is_refused(call: Call) -> None:
    one = tracked(call)["id"]
    for query in (f"run={one}", f"run={one}&run={one}", "&".join(["run=abcd"] * 21), ""):
        answer = call("GET", f"/api/v1/comparisons?{query}")
        check_envelope(answer, code="invalid_value", status=400)


def test_stop__of_a_tracked_run__ends_it_and_is_repeated_harmlessly(call: Call) -> None:
    run = tracked(call)
    path = f"/api/v1/runs/{run['id']}"
    assert call("POST", f"{path}/stop").json["state"] == "stopped"
    assert call("POST", f"{path}/stop").json["state"] == "stopped"
    check_envelope(call("POST", f"{path}/attempts"), code="conflict", status=409)


def test_events__after_a_sequence__go_on_from_there(call: Call) -> None:
    run = tracked(call)
    path = f"/api/v1/runs/{run['id']}"
    call("PATCH", path, {"state": "failed", "reason": "It broke."})
    events = call("GET", f"{path}/events").json["items"]
    assert [event["sequence"] for event in events] == [1, 2]
    assert events[1]["message"] == "It broke."
    assert call("GET", f"{path}/events?after=1").json["items"] == events[1:]
    assert call("GET", f"{path}/attempts").json == {"items": []}


def test_launched__run__is_executed_and_its_end_is_told(shared_server: LiveServer) -> None:
    run = shared_server.launch(["sh", "-c", "echo hello; exit 3"])
    ended = shared_server.wait_state(run["id"], "failed")
    assert ended["ending"]["exit_code"] == 3
    assert ended["attempt"] == 1
    assert ended["spec"]["command"] == ["sh", "-c", "echo hello; exit 3"]
    (attempt,) = shared_server.get(f"/api/v1/runs/{run['id']}/attempts")["items"]
    assert attempt["state"] == "failed"
    again = shared_server.post(f"/api/v1/runs/{run['id']}/attempts")
    assert again["attempt"] == 2
    shared_server.wait_state(run["id"], "failed")


def test_create__by_many_at_once_with_one_key__gives_one_run(shared_server: LiveServer) -> None:
    key = uuid.uuid4().hex
    body = {"spec": {"name": "http tests", "command": "true"}, "idempotency_key": key}
    ids: list[str] = []

    def create() -> None:
        answer = ask(shared_server.url, "POST", "/api/v1/runs", body=body)
        assert answer.status == 201, answer
        ids.append(answer.json["id"])

    threads = [threading.Thread(target=create) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 8
    assert len(set(ids)) == 1


def test_list__of_runs_with_many_metrics__answers_in_pages_of_bounded_size(call: Call) -> None:
    """MLflow lets a page be shorter than ``max_results``, and so do we."""
    experiment = f"many metrics {uuid.uuid4().hex}"
    ids = [tracked(call, experiment=experiment)["id"] for _ in range(KEYS_MAX // 40_000 + 1)]
    for run_id in ids:
        for begin in (0, 20_000):
            points = [[f"layer/{at}", 1.0, 1, 1] for at in range(begin, begin + 20_000)]
            answer = call("POST", f"/api/v1/runs/{run_id}/metrics", {"points": points})
            assert answer.status == 200, answer
    place = call("GET", f"/api/v1/runs/{ids[0]}?fields=").json["experiment"]["id"]

    def native(following: str) -> tuple[dict[str, int], str | None]:
        cursor = f"&cursor={following}" if following else ""
        page = call("GET", f"/api/v1/runs?experiment={place}&limit=1000{cursor}").json
        return {one["id"]: len(one["metrics"]) for one in page["items"]}, page["next"]

    def as_mlflow(following: str) -> tuple[dict[str, int], str | None]:
        body = {"experiment_ids": [str(place)], "page_token": following}
        page = call("POST", "/api/2.0/mlflow/runs/search", body).json
        counts = {one["info"]["run_id"]: len(one["data"]["metrics"]) for one in page["runs"]}
        return counts, page.get("next_page_token")

    for read in (native, as_mlflow):
        found: list[str] = []
        following: str | None = ""
        while following is not None:
            runs, following = read(following)
            assert set(runs.values()) == {40_000}
            assert sum(runs.values()) <= KEYS_MAX
            found += runs
        assert found == ids[::-1]
