"""What creating and changing a run refuses, before anything is written."""

from __future__ import annotations

import pytest

from seafloor.app.runs import check_code
from seafloor.domain.code import GitCode, SnapshotCode
from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import GitCommit, Sha256
from seafloor.domain.specs import ExperimentSpec, parse_experiment

COMMIT, DIGEST = GitCommit("a" * 40), Sha256("b" * 64)
GIT = GitCode(url="https://git.example.com/x.git", commit=COMMIT, folder="x")
SNAPSHOT = SnapshotCode(sha256=DIGEST, size_bytes=5, folder="x")


def spec(**code: str) -> ExperimentSpec:
    body: dict[str, object] = {"name": "x", "command": "y"}
    if code:
        body["code"] = code
    return parse_experiment(body)


WITH_GIT = spec(sync_mode="git", url="https://git.example.com/x.git")
WITH_FOLDER = spec(sync_mode="local")


def test_check_code__that_is_what_the_spec_asks_for__is_accepted() -> None:
    check_code(spec(), None)
    check_code(WITH_GIT, GIT)
    check_code(WITH_FOLDER, SNAPSHOT)
    check_code(WITH_FOLDER, SnapshotCode(DIGEST, 5, "x", subfolder="src/deep"))


@pytest.mark.parametrize(
    ("asked", "code", "field"),
    [
        (spec(), GIT, "code"),
        (WITH_GIT, None, "code"),
        (WITH_GIT, SNAPSHOT, "code"),
        (WITH_FOLDER, GIT, "code"),
        (WITH_GIT, GitCode("u", GitCommit("main"), "x"), "code.commit"),
        (WITH_GIT, GitCode("u", COMMIT, "../x"), "code.folder"),
        (WITH_GIT, GitCode("u", COMMIT, "a/b"), "code.folder"),
        (WITH_GIT, GitCode("u", COMMIT, ""), "code.folder"),
        (WITH_GIT, GitCode("--upload-pack=x", COMMIT, "x"), "code.url"),
        (WITH_GIT, GitCode("a\nb", COMMIT, "x"), "code.url"),
        (WITH_FOLDER, SnapshotCode(Sha256("x"), 5, "x"), "code.sha256"),
        (WITH_FOLDER, SnapshotCode(DIGEST, 5, "/x"), "code.folder"),
        (WITH_FOLDER, SnapshotCode(DIGEST, 5, "x", subfolder="../x"), "code.subfolder"),
    ],
)
def test_check_code__that_is_not__names_the_field(
    asked: ExperimentSpec, code: GitCode | SnapshotCode | None, field: str
) -> None:
    with pytest.raises(InvalidValue) as refused:
        check_code(asked, code)
    assert refused.value.field == field
