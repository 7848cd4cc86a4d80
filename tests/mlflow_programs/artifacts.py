"""Artifacts: kept, listed, fetched, refused."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from mlflow_programs.world import NOBODY, World, program


def _tree(folder: str | Path) -> list[list[str]]:
    root = Path(folder)
    return sorted(
        [str(path.relative_to(root)), path.read_text(encoding="utf-8")]
        for path in root.rglob("*")
        if path.is_file()
    )


@program()
def log_artifact__of_a_file__is_listed_and_fetched(w: World) -> Any:
    run_id = w.run()
    folder = w.folder(a="one", größe="zwei")
    w.client.log_artifact(run_id, str(folder / "a.txt"))
    w.client.log_artifact(run_id, str(folder / "größe.txt"), "sub/deep")
    fetched = Path(w.client.download_artifacts(run_id, "sub/deep/größe.txt", tempfile.mkdtemp()))
    return [
        w.client.list_artifacts(run_id),
        w.client.list_artifacts(run_id, "sub"),
        w.client.list_artifacts(run_id, "sub/deep"),
        fetched.read_text(encoding="utf-8"),
    ]


@program()
def log_artifacts__of_a_folder__comes_back_whole(w: World) -> Any:
    run_id = w.run()
    w.client.log_artifacts(run_id, str(w.folder(a="1", b__c="2", b__d__e="3")), "into")
    return [
        w.client.list_artifacts(run_id),
        w.client.list_artifacts(run_id, "into"),
        _tree(w.client.download_artifacts(run_id, "into", tempfile.mkdtemp())),
        _tree(w.client.download_artifacts(run_id, "", tempfile.mkdtemp())),
    ]


@program()
def log_artifact__again__is_replaced(w: World) -> Any:
    run_id = w.run()
    for text in ("one", "another"):
        w.client.log_text(run_id, text, "a.txt")
    return [
        w.client.list_artifacts(run_id),
        _tree(w.client.download_artifacts(run_id, "", tempfile.mkdtemp())),
    ]


@program()
def log_text_and_dict__are_files(w: World) -> Any:
    run_id = w.run()
    w.client.log_text(run_id, "größer\n", "t.txt")
    w.client.log_dict(run_id, {"a": [1, {"b": "ü"}]}, "d.json")
    w.client.log_dict(run_id, {"a": [1]}, "sub/d.yaml")
    return [
        w.client.list_artifacts(run_id),
        _tree(w.client.download_artifacts(run_id, "", tempfile.mkdtemp())),
    ]


@program("An empty file has a size: 0. MLflow tells none.")
def log_text__of_nothing__has_a_size(w: World) -> Any:
    run_id = w.run()
    w.client.log_text(run_id, "", "empty.txt")
    return w.client.list_artifacts(run_id)


@program()
def log_table__twice__is_appended_to(w: World) -> Any:
    run_id = w.run()
    w.client.log_table(run_id, {"q": ["a", "b"], "n": [1, 2]}, "t.json")
    w.client.log_table(run_id, {"q": ["c"], "n": [3]}, "t.json")
    experiment_id = w.client.get_run(run_id).info.experiment_id
    table = w.client.load_table(experiment_id, "t.json", [run_id])
    tags = w.client.get_run(run_id).data.tags
    return [table.to_dict(orient="list"), tags.get("mlflow.loggedArtifacts")]


@program()
def log_image__of_a_key_and_step__is_a_file_and_a_tag(w: World) -> Any:
    import numpy as np

    run_id = w.run()
    image = np.zeros((4, 4, 3), dtype=np.uint8)
    w.client.log_image(run_id, image, "black.png")
    w.client.log_image(run_id, image, key="dogs", step=3, timestamp=1_700_000_000_000)
    tags = w.client.get_run(run_id).data.tags
    files = w.client.list_artifacts(run_id, "images")
    return [
        [one.path for one in w.client.list_artifacts(run_id)],
        len(files),
        tags.get("mlflow.loggedImages"),
    ]


@program()
def list_artifacts__of_nothing_and_of_a_file__is_empty(w: World) -> Any:
    run_id = w.run()
    w.client.log_text(run_id, "x", "a.txt")
    return [
        w.client.list_artifacts(w.run()),
        w.client.list_artifacts(run_id, "never"),
        w.client.list_artifacts(run_id, "a.txt"),
    ]


@program()
def list_artifacts__of_nobody__is_refused(w: World) -> Any:
    return w.refused(w.client.list_artifacts, NOBODY)


@program()
def list_artifacts__elsewhere__is_refused(w: World) -> Any:
    run_id = w.run()
    paths = ["..", "../x", "a/../../x", "/etc", "%2e%2e/x", "a/%2e%2e/%2e%2e/x"]
    found = w.each(lambda path: w.client.list_artifacts(run_id, path), paths)
    return [[one.get("class"), one.get("code")] for one in found]


@program()
def log_artifact__elsewhere__is_refused(w: World) -> Any:
    run_id, file = w.run(), str(w.folder(a="x") / "a.txt")
    paths = ["../x", "a/../../x", "/etc", "%2e%2e/x"]
    found = w.each(lambda path: w.client.log_artifact(run_id, file, path), paths)
    return [[[one.get("class"), one.get("code")] for one in found], w.client.list_artifacts(run_id)]


@program()
def download_artifacts__that_is_not_there__is_refused(w: World) -> Any:
    run_id = w.run()
    found = w.refused(w.client.download_artifacts, run_id, "never.txt", tempfile.mkdtemp())
    return [found["class"], found["code"]]


@program()
def download_artifacts__by_every_address__is_the_same(w: World) -> Any:
    run = w.client.get_run(w.run())
    w.client.log_text(run.info.run_id, "here", "sub/a.txt")
    load = w.mlflow.artifacts.load_text
    fetch = w.mlflow.artifacts.download_artifacts
    return [
        load(f"{run.info.artifact_uri}/sub/a.txt"),
        load(f"runs:/{run.info.run_id}/sub/a.txt"),
        _tree(fetch(run_id=run.info.run_id, artifact_path="sub", dst_path=tempfile.mkdtemp())),
        _tree(fetch(artifact_uri=f"runs:/{run.info.run_id}/sub", dst_path=tempfile.mkdtemp())),
        w.mlflow.artifacts.list_artifacts(run_id=run.info.run_id),
        w.mlflow.artifacts.list_artifacts(artifact_uri=f"runs:/{run.info.run_id}/sub"),
    ]


@program()
def log_artifact__of_odd_names__keeps_them(w: World) -> Any:
    run_id = w.run()
    names = ["a b", "a+b", "a&b=c", "ü 東京", "a%20b", "'q'", "UPPER", ".hidden", "a,b;c", "a@b!"]
    found = w.each(lambda name: w.client.log_text(run_id, name, f"{name}.txt"), names)
    listed = sorted(one.path for one in w.client.list_artifacts(run_id))
    return [found, listed, _tree(w.client.download_artifacts(run_id, "", tempfile.mkdtemp()))]


@program()
def log_artifact__of_a_deleted_run__is_kept_or_refused(w: World) -> Any:
    run_id = w.run()
    w.client.log_text(run_id, "before", "a.txt")
    w.client.delete_run(run_id)
    return w.client.list_artifacts(run_id)


@program()
def log_artifact__of_many_bytes__comes_back(w: World) -> Any:
    run_id = w.run()
    path = Path(tempfile.mkdtemp()) / "big.bin"
    path.write_bytes(bytes(range(256)) * 20_000)
    w.client.log_artifact(run_id, str(path))
    fetched = Path(w.client.download_artifacts(run_id, "big.bin", tempfile.mkdtemp()))
    return [w.client.list_artifacts(run_id), fetched.read_bytes() == path.read_bytes()]


@program()
def log_artifact__that_is_no_file__is_refused(w: World) -> Any:
    found = w.refused(w.client.log_artifact, w.run(), "/nothing/here.txt")
    return found["class"]
