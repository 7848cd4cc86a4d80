"""Specs: what is accepted, and that every refusal names the field and the fix."""

from __future__ import annotations

import contextlib
import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.code import SyncMode
from seafloor.domain.errors import CallerError, InvalidValue, NotSupported
from seafloor.domain.specs import (
    COMMAND_BYTES_MAX,
    EnvironmentSpec,
    ExperimentSpec,
    check_on_machine,
    parse_environment,
    parse_environment_reference,
    parse_experiment,
    parse_spec,
)

LEAST = {"name": "digits", "command": "python train.py"}
FULL = {
    "name": "digits",
    "run_name": "first try",
    "project": "team-a",
    "environment": "digits@2",
    "code": {"sync_mode": "git", "url": "https://git.example.com/digits.git", "ref": "v1.2"},
    "command": ["python", "digits/train.py"],
    "resources": {"cpu": "500m", "memory": "20Gi", "gpu": 0},
    "env": {"OMP_NUM_THREADS": "4"},
    "tags": {"team": "a"},
    "timeout": "1h30m",
    "retries": 2,
    "tensorboard": True,
}


def test_parse_experiment__with_every_field__reads_them_all() -> None:
    spec = parse_experiment(FULL)
    assert spec.code is not None
    assert spec.code.sync_mode is SyncMode.GIT
    assert spec.command == ["python", "digits/train.py"]
    assert spec.resources.cpu_count == 0.5
    assert spec.resources.memory_bytes == 20 * 2**30
    assert spec.timeout_s == 5400
    assert (spec.retries, spec.tensorboard) == (2, True)


def test_parse_experiment__with_name_and_command_only__has_no_limits() -> None:
    spec = parse_experiment(LEAST)
    assert (spec.timeout_s, spec.resources.cpu_count, spec.resources.memory_bytes) == (None,) * 3
    assert (spec.retries, spec.project, spec.code, spec.environment) == (0, "default", None, None)


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"comand": "x"}, "comand", 'Unknown field "comand". Did you mean "command"?'),
        ({5: 6}, "5", "Known: code, command, env"),
        ({"code": {"sync_mode": "gti"}}, "code.sync_mode", 'Did you mean "git"?'),
        ({"code": {"sync_mode": "ftp9"}}, "code.sync_mode", "Known: abfs, file, git"),
        ({"code": {"sync_mod": "git"}}, "code.sync_mod", 'Did you mean "sync_mode"?'),
        ({"code": {}}, "code.sync_mode", "`code` needs a `sync_mode`."),
        ({"code": "git"}, "code", "must be a mapping of fields, not a text"),
        ({"code": {"sync_mode": "git"}}, "code.url", "needs the repository's `url`"),
        (
            {"code": {"sync_mode": "git", "url": "u", "path": "."}},
            "code.path",
            "`path` is for sync_mode local",
        ),
        (
            {"code": {"sync_mode": "local", "ref": "main"}},
            "code.ref",
            "`ref` is for sync_mode git",
        ),
        ({"code": {"sync_mode": "s3"}}, "code.url", "needs the archive's `url`"),
        (
            {"code": {"sync_mode": "image", "url": "s3://b/k"}},
            "code.url",
            "`url` is for sync_mode git, s3, gs, abfs, hdfs, http, file, not for image",
        ),
        (
            {"code": {"sync_mode": "image", "path": "app"}},
            "code.path",
            "A folder in an image is an absolute path",
        ),
        (
            {"code": {"sync_mode": "git", "url": "u", "sha256": "0" * 64}},
            "code.sha256",
            "`sha256` is for sync_mode s3, gs",
        ),
        (
            {"code": {"sync_mode": "git", "url": "u", "strip_components": 1}},
            "code.strip_components",
            "not for git",
        ),
        (
            {"code": {"sync_mode": "git", "url": "u", "ref": 1.2}},
            "code.ref",
            'put it in quotes, "1.2"',
        ),
        (
            {"code": {"sync_mode": "git", "url": "u", "ref": datetime.date(2024, 1, 1)}},
            "code.ref",
            'put it in quotes, "2024-01-01"',
        ),
        (
            {"env": {"THREADS": 4}},
            "env.THREADS",
            'must be a text, not a number: put it in quotes, "4"',
        ),
        ({"env": {"DEBUG": True}}, "env.DEBUG", 'put it in quotes, "true"'),
        ({"env": {"EMPTY": None}}, "env.EMPTY", "must be a text, not empty"),
        ({"env": {8: "x"}}, "env", 'The names under `env` must be texts: put it in quotes, "8"'),
        ({"env": {"A-B": "x"}}, "env.A-B", 'use letters, digits and "_"'),
        ({"env": {"A": "x\0"}}, "env.A", "NUL"),
        ({"env": {"A": "\ud800"}}, "env.A", "surrogate"),
        ({"env": ["A=1"]}, "env", "must be a mapping, not a list"),
        ({"tags": {"a": 1}}, "tags.a", "put it in quotes"),
        ({"name": None}, "name", "must be a text, not empty"),
        ({"name": "x" * 300}, "name", "at most 256 characters, not 300"),
        ({"name": " "}, "name", "blank"),
        ({"project": "Team A"}, "project", '"team-a" would do'),
        ({"run_name": "a\nb"}, "run_name", "control characters"),
        ({"command": ""}, "command", 'needs a command, such as "python train.py"'),
        ({"command": []}, "command", "needs a command"),
        ({"command": [""]}, "command", "needs a command"),
        ({"command": None}, "command", "needs a command"),
        ({"command": ["a", 3]}, "command[1]", 'put it in quotes, "3"'),
        ({"command": {"a": 1}}, "command", "must be a text or a list, not a mapping"),
        ({"command": "a\0"}, "command", "NUL"),
        ({"command": ["a", "b\0"]}, "command", "NUL"),
        ({"command": "x" * COMMAND_BYTES_MAX}, "command", "put it into a script"),
        ({"retries": "3"}, "retries", "write 3 without quotes"),
        ({"retries": 1.5}, "retries", "must be a whole number, not 1.5"),
        ({"retries": True}, "retries", "not a yes/no"),
        ({"retries": -1}, "retries", "0..100, not -1"),
        ({"retries": 10**40}, "retries", "0..100"),
        ({"tensorboard": "yes"}, "tensorboard", "must be true or false, not a text"),
        ({"timeout": "30x"}, "timeout", '"30m"'),
        ({"timeout": 0}, "timeout", "more than 0"),
        ({"timeout": -5}, "timeout", "is not a duration"),
        ({"timeout": float("inf")}, "timeout", "is not a duration"),
        ({"timeout": float("nan")}, "timeout", "is not a duration"),
        ({"timeout": "9" * 19}, "timeout", "at most 3650d"),
        ({"timeout": datetime.timedelta(1)}, "timeout", "must be a text or a number"),
        ({"resources": {"cpu": [1]}}, "resources.cpu", "must be a number or a text, not a list"),
        ({"resources": {"cpu": 0}}, "resources.cpu", "more than 0"),
        ({"resources": {"cpu": "1_0"}}, "resources.cpu", '3, 0.5 or "500m"'),
        ({"resources": {"memory": "20GB"}}, "resources.memory", 'The unit "GB" is written "G".'),
        ({"resources": {"memory": "9" * 400}}, "resources.memory", "is not an amount of memory"),
        ({"resources": {"memory": "9" * 20}}, "resources.memory", "at most 9223372036854775807"),
        ({"resources": {"gpu": -1}}, "resources.gpu", "0 or more"),
        ({"resources": {"mem": 1}}, "resources.mem", 'Did you mean "memory"?'),
        ({"resources": None}, "resources", "or leave the field out"),
        ({"environment": "a@0"}, "environment", "a whole number from 1"),
        ({"environment": "a@" + "9" * 5000}, "environment", "a whole number from 1"),
        ({"environment": "Team Env"}, "environment", '"team-env" would do'),
        ({"volumes": [{"volume": "a"}]}, "volumes[0].path", "needs a `path`"),
        ({"volumes": {"volume": "a"}}, "volumes", "must be a list, not a mapping"),
        ({"tasks": {"w": {"replicas": "x"}}}, "tasks.w.replicas", "must be a whole number"),
        ({"tasks": {"w": {"replica": 1}}}, "tasks.w.replica", 'Did you mean "replicas"?'),
    ],
)
def test_parse_experiment__with_a_bad_field__names_field_and_fix(
    changed: dict[Any, Any], field: str, words: str
) -> None:
    with pytest.raises(CallerError) as refused:
        parse_experiment({**LEAST, **changed})
    assert refused.value.field == field
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"secrets": {"A": "team/a"}}, "secrets"),
        (
            {"command": None, "tasks": {"w": {"command": "x", "resources": {"gpu": 1}}}},
            "tasks.w.resources.gpu",
        ),
        ({"resources": {"gpu": 2}}, "resources.gpu"),
    ],
)
def test_experiment__with_what_processes_cannot_have__says_so(
    changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(NotSupported) as refused:
        check_on_machine(parse_experiment({**LEAST, **changed}))
    assert refused.value.field == field


@pytest.mark.parametrize("missing", ["name", "command"])
def test_parse_experiment__without_a_needed_field__names_it(missing: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_experiment({key: value for key, value in LEAST.items() if key != missing})
    assert refused.value.field == missing
    assert missing in refused.value.message


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "This one is empty."),
        ([], "This one is a list."),
        ({}, "has 0: none"),
        ({"experimnt": {}}, 'Did you mean "experiment"?'),
        ({"experiment": LEAST, "environment": {}}, "has 2: experiment, environment"),
        (LEAST, "Put all of it below `experiment:`."),
        ({"name": "x"}, "Put all of it below `experiment:`."),
        ({"experiment": None}, "An experiment must be a mapping of fields, not empty."),
        ({"experiment": "x"}, "An experiment must be a mapping of fields, not a text."),
    ],
)
def test_parse_spec__of_what_is_none__says_what_it_is(document: object, words: str) -> None:
    with pytest.raises(InvalidValue) as refused:
        parse_spec(document)
    assert words in refused.value.message


@pytest.mark.parametrize("kind", ["notebook", "serving", "template"])
def test_parse_spec__of_a_later_kind__says_so(kind: str) -> None:
    with pytest.raises(NotSupported, match=f"A {kind} cannot be run by this version"):
        parse_spec({kind: {}})


def test_parse_spec__of_each_kind__gives_its_type() -> None:
    assert isinstance(parse_spec({"experiment": FULL}), ExperimentSpec)
    assert isinstance(parse_spec({"environment": {"name": "a", "pip": ["six"]}}), EnvironmentSpec)


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"pip": "six"}, "pip", "must be a list, not a text"),
        ({"pip": [1]}, "pip[0]", "put it in quotes"),
        ({"python": 3.11}, "python", 'put it in quotes, "3.11"'),
        ({"name": "Team Env"}, "name", '"team-env" would do'),
        ({"pips": []}, "pips", 'Did you mean "pip"?'),
        ({"conda": {"package": ["x"]}}, "conda.package", 'Did you mean "packages"?'),
        ({"conda": {"channels": ["x"]}}, "conda.packages", "Channels without packages"),
        ({"description": 1}, "description", "must be a text"),
    ],
)
def test_parse_environment__with_a_bad_field__names_field_and_fix(
    changed: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises((InvalidValue, NotSupported)) as refused:
        parse_environment({"name": "digits", **changed})
    assert refused.value.field == field
    assert words in refused.value.message


def test_parse_environment_reference__with_and_without_version__reads_both() -> None:
    assert parse_environment_reference("digits") == ("digits", None)
    assert parse_environment_reference("digits@12") == ("digits", 12)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=12) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from([*FULL, "secrets", "volumes", "tasks", "x"]), PLAIN, max_size=4)
)
def test_parse_experiment__of_any_plain_data__refuses_or_accepts(data: dict[str, Any]) -> None:
    with contextlib.suppress(CallerError, NotSupported):
        parse_experiment({**LEAST, **data})
