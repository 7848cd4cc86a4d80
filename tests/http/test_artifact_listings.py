"""Folders of artifacts, page by page on `/api/v1` and whole on the MLflow routes."""

from __future__ import annotations

from unittest import mock

import httpx
import pytest

from seafloor.http.mlflow import artifacts

OWN = ("a-b", "a/1", "a/2", "b/c/d", "e", "model.txt", "taken")


@pytest.fixture
async def run(client: httpx.AsyncClient) -> str:
    """A run with files, and two models logged by it, one of which is called as a file is."""
    answer = await client.post("/api/v1/runs", json={"experiment": "listings"})
    run_id: str = answer.json()["id"]
    for path in OWN:
        await client.put(f"/api/v1/runs/{run_id}/artifacts/{path}", content=b"one")
    told = await client.get("/api/2.0/mlflow/runs/get", params={"run_id": run_id})
    experiment = told.json()["run"]["info"]["experiment_id"]
    for name in ("model", "taken"):
        body = {"experiment_id": experiment, "name": name, "source_run_id": run_id}
        answer = await client.post("/api/2.0/mlflow/logged-models", json=body)
        model = answer.json()["model"]["info"]["artifact_uri"].removeprefix("mlflow-artifacts:/")
        for path in ("MLmodel", "data/1", "data/2"):
            place = f"/api/2.0/mlflow-artifacts/artifacts/{model}/{path}"
            assert (await client.put(place, content=b"two")).status_code == 200
    return run_id


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 1000])
async def test_list__page_by_page__gives_each_entry_once(
    client: httpx.AsyncClient, run: str, limit: int
) -> None:
    for folder, expected in (
        ("", ["a-b 1", "a 2", "b 1", "e 1", "model.txt 1", "model 3", "taken 1"]),
        ("a", ["a/1 1", "a/2 1"]),
        ("model", ["model/MLmodel 1", "model/data 2"]),
        ("model/data", ["model/data/1 1", "model/data/2 1"]),
        ("missing", []),
    ):
        seen: list[str] = []
        given: dict[str, str | int] = {"folder": folder, "limit": limit}
        while True:
            answer = await client.get(f"/api/v1/runs/{run}/artifacts", params=given)
            page = answer.json()
            assert len(page["items"]) <= limit
            seen += [f"{one['path']} {one['files']}" for one in page["items"]]
            if page.get("next") is None:
                break
            given["cursor"] = page["next"]
        assert seen == expected


async def _listed(
    client: httpx.AsyncClient, run: str, folder: str, limit: int, *, recursive: bool = False
) -> list[str]:
    """All entries of a folder, with how many files each is."""
    seen: list[str] = []
    given: dict[str, str | int | bool] = {"folder": folder, "limit": limit, "recursive": recursive}
    while True:
        page = (await client.get(f"/api/v1/runs/{run}/artifacts", params=given)).json()
        seen += [f"{one['path']} {one.get('files', 1)}" for one in page["items"]]
        if page.get("next") is None:
            return seen
        given["cursor"] = page["next"]


@pytest.mark.parametrize("limit", [1, 2, 3, 1000])
async def test_list__run_and_model_have_one_folder__shows_what_both_have(
    client: httpx.AsyncClient, run: str, limit: int
) -> None:
    """Whoever added a note to a model found the model gone from the folder."""
    for path in ("model/a.md", "model/data/0", "model/data/2", "model/more/x", "model/z"):
        place = f"/api/v1/runs/{run}/artifacts/{path}"
        assert (await client.put(place, content=b"three")).status_code == 200
    inside = ["model/MLmodel 1", "model/a.md 1", "model/data 4", "model/more 1", "model/z 1"]
    data = ["model/data/0 1", "model/data/1 1", "model/data/2 1"]
    assert await _listed(client, run, "model", limit) == inside
    assert await _listed(client, run, "model/data", limit) == data
    assert await _listed(client, run, "model/more", limit) == ["model/more/x 1"]
    root = ["a-b 1", "a 2", "b 1", "e 1", "model.txt 1", "model 8", "taken 1"]
    assert await _listed(client, run, "", limit) == root
    files = ["model/MLmodel 1", "model/a.md 1", *data, "model/more/x 1", "model/z 1"]
    assert await _listed(client, run, "model", limit, recursive=True) == files


async def test_list__model_is_called_as_a_file_is__is_not_shown_below_it(
    client: httpx.AsyncClient, run: str
) -> None:
    """Nobody could fetch both into one folder."""
    assert "taken 1" in await _listed(client, run, "", 1000, recursive=True)
    assert await _listed(client, run, "taken", 1000, recursive=True) == []
    assert await _listed(client, run, "taken", 1000) == []


@pytest.mark.parametrize("cursor", ["\0", "a\0b"])
@pytest.mark.parametrize("recursive", ["true", "false"])
async def test_list__after_what_no_database_takes__is_refused(
    client: httpx.AsyncClient, run: str, cursor: str, recursive: str
) -> None:
    given = {"cursor": cursor, "recursive": recursive}
    answer = await client.get(f"/api/v1/runs/{run}/artifacts", params=given)
    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == "cursor"


@pytest.mark.parametrize("at_once", [1, 2, 6, 1000])
async def test_mlflow_list__more_than_is_read_at_once__gives_all(
    client: httpx.AsyncClient, run: str, at_once: int
) -> None:
    mlflow = "/api/2.0/mlflow"
    with mock.patch.object(artifacts, "_LISTED_AT_ONCE", at_once):
        answer = await client.get(f"{mlflow}/artifacts/list", params={"run_id": run})
        listed = answer.json()
        path = f"0/{run}/artifacts"
        by_place = await client.get(f"{mlflow}-artifacts/artifacts", params={"path": path})
        missing = await client.get(f"{mlflow}-artifacts/artifacts", params={"path": f"{path}/no"})
        none = await client.get(f"{mlflow}/artifacts/list", params={"run_id": run, "path": "no"})
    assert answer.headers["content-type"] == "application/json"
    assert listed["root_uri"].endswith(f"/{run}/artifacts")
    assert [file["path"] for file in listed["files"]] == [
        "a-b",
        "a",
        "b",
        "e",
        "model.txt",
        "taken",
    ]
    assert listed["files"][:2] == [
        {"path": "a-b", "is_dir": False, "file_size": 3},
        {"path": "a", "is_dir": True},
    ]
    assert by_place.json() == {"files": listed["files"]}
    assert missing.json() == {}
    assert none.json() == {"root_uri": listed["root_uri"]}
