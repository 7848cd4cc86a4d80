"""Spec files: every error says where it stands and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from seafloor.cli.spec_files import read_spec_file
from seafloor.cli.submissions import SubmissionOptions, make_submission
from seafloor.domain.errors import InvalidValue, NotFound, SeafloorError
from seafloor.domain.specs import EnvironmentSpec, ExperimentSpec

GOOD = """\
experiment:
  name: digits
  code:
    sync_mode: git
    url: ../repository
    ref: main
  command: python digits/train.py
  env: {A: "1"}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    folder = tmp_path / "specs"
    folder.mkdir()
    return folder / "train.yaml"


def test_read__a_good_spec__is_plain_data_and_typed(spec: Path) -> None:
    spec.write_text(GOOD)
    read = read_spec_file(spec)
    assert isinstance(read.spec, ExperimentSpec)
    assert read.body["env"] == {"A": "1"}


@pytest.mark.parametrize(
    ("text", "where", "said"),
    [
        ("experiment:\n  name: x\n  comand: y\n", ":3:3:", 'Did you mean "command"?'),
        ("experiment:\n\tname: x\n", ":2:1:", "spaces, not with tabs"),
        ("experiment:\n  name: x\n  command: a: b\n", ":3:13:", "in quotes"),
        ("experiment:\n  name: x\n  name: y\n  command: c\n", ":3:3:", "second time"),
        ("experiment:\n  name: x\n", ":1:1:", "needs a command"),
        ("experiment:\n  name: x\n  command: c\n  retries: many\n", ":4:3:", "retries"),
        (
            "experiment:\n  name: x\n  command: c\n  code:\n    sync_mode: svn\n    url: u\n",
            ":5:5:",
            "svn",
        ),
        ("experiment:\n  name: x\n  command: c\n  timeout: soon\n", ":4:3:", "soon"),
        ("notebook:\n  name: x\n", ":1:1:", "notebook"),
        ("- a\n- b\n", ":1:1:", "mapping"),
        ("", "", "empty"),
    ],
)
def test_read__a_mistake__names_line_column_and_fix(
    spec: Path, text: str, where: str, said: str
) -> None:
    spec.write_text(text)
    with pytest.raises(SeafloorError) as caught:
        read_spec_file(spec)
    assert caught.value.message.startswith(f"{spec}{where}")
    assert said in caught.value.message


def test_read__no_such_file__is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"none\.yaml"):
        read_spec_file(tmp_path / "none.yaml")


def test_read__not_text__is_refused(spec: Path) -> None:
    spec.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidValue, match="UTF-8"):
        read_spec_file(spec)


def test_submission__a_relative_repository__is_meant_from_the_spec(spec: Path) -> None:
    spec.write_text(GOOD)
    made = make_submission(SubmissionOptions(file=spec, folder=Path("/somewhere/else")))
    assert made.body["code"]["url"] == str(spec.parent.parent / "repository")


@pytest.mark.parametrize(
    "url",
    ["https://git.example.com/x.git", "git@host:x/y.git", "ssh://git@host/x", "file:///srv/x"],
)
def test_submission__an_address__stays_as_it_is(spec: Path, url: str) -> None:
    spec.write_text(GOOD.replace("../repository", url))
    assert make_submission(SubmissionOptions(file=spec)).body["code"]["url"] == url


def test_submission__a_local_folder__is_meant_from_the_spec(spec: Path) -> None:
    spec.write_text(
        "experiment:\n  name: x\n  command: c\n  code: {sync_mode: local, path: ../work}\n"
    )
    made = make_submission(SubmissionOptions(file=spec))
    assert made.body["code"]["path"] == str(spec.parent.parent / "work")


def test_submission__a_command_alone__takes_the_folder_and_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "my project"
    folder.mkdir()
    made = make_submission(
        SubmissionOptions(
            command=("python", "train.py", "--lr", "0.1"), folder=folder, env=("A=b=c",), retries=2
        )
    )
    assert made.spec.name == "my project"
    assert made.spec.command == ["python", "train.py", "--lr", "0.1"]
    assert made.body["code"] == {"sync_mode": "local", "path": str(folder)}
    assert made.body["env"] == {"A": "b=c"}
    assert made.body["retries"] == 2


def test_submission__options__go_before_the_spec(spec: Path) -> None:
    spec.write_text(GOOD)
    made = make_submission(
        SubmissionOptions(
            file=spec,
            git="https://x.example/y.git",
            experiment="other",
            env=("B=2",),
            command=("a",),
        )
    )
    assert made.body["code"] == {
        "sync_mode": "git",
        "url": "https://x.example/y.git",
        "ref": "main",
    }
    assert made.body["name"] == "other"
    assert made.body["env"] == {"A": "1", "B": "2"}
    assert made.body["command"] == ["a"]


def test_submission__nothing_to_run__says_how(tmp_path: Path) -> None:
    with pytest.raises(InvalidValue, match="seafloor run -- python"):
        make_submission(SubmissionOptions(folder=tmp_path))


def test_submission__an_environment__is_sent_elsewhere(spec: Path) -> None:
    spec.write_text("environment:\n  name: x\n  pip: [numpy]\n")
    assert isinstance(read_spec_file(spec).spec, EnvironmentSpec)
    with pytest.raises(InvalidValue, match="seafloor env create"):
        make_submission(SubmissionOptions(file=spec))


@pytest.mark.parametrize("text", ["A", "=b", ""])
def test_submission__a_variable_without_a_value__is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidValue, match="NAME=VALUE"):
        make_submission(SubmissionOptions(command=("c",), env=(text,), folder=tmp_path))
