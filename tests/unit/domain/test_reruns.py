"""A run again with some values changed."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import InvalidValue
from seafloor.domain.reruns import rerun_spec
from seafloor.domain.shell_words import shell_words


def command(spec: dict[str, Any], **changes: str) -> object:
    return rerun_spec(spec, changes)["command"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("python t.py --lr 0.1", "python t.py --lr 0.5"),
        ("python t.py --lr=0.1 --epochs 3", "python t.py --lr=0.5 --epochs 3"),
        (
            "python t.py  --lr   '0 1'  &&  echo --lrx 1",
            "python t.py  --lr   0.5  &&  echo --lrx 1",
        ),
        ('python t.py --lr="0 1";ls', "python t.py --lr=0.5;ls"),
        ("python t.py -lr 0.1", "python t.py -lr 0.5"),
        (
            "cd x && /bin/bash -e -lc \"python t.py --lr 3 | tee 'a b'\" y",
            "cd x && /bin/bash -e -lc 'python t.py --lr 0.5 | tee '\"'\"'a b'\"'\"'' y",
        ),
        ("sh -c 'python $X --lr 3'", "sh -c 'python $X --lr 0.5'"),
        (["sh", "-c", "python t.py --lr 3 "], ["sh", "-c", "python t.py --lr 0.5 "]),
        ("python t.py lr=0.1 model.lr=7", "python t.py lr=0.5 model.lr=7"),
        ("python t.py --lr -0.1", "python t.py --lr 0.5"),
        ("python t.py --lr 1 --lr 2", "python t.py --lr 0.5 --lr 0.5"),
        ("python t.py --lr \\\n  0.1\n--x y", "python t.py --lr \\\n  0.5\n--x y"),
        ("python t.py --lr\n  0.1\n--x y", "python t.py --lr\n  0.5\n--x y"),
        ("t --lr $(cat 'a)b' \"(\") --x", "t --lr 0.5 --x"),
        ("t --lr ${LR:-0 1} --x", "t --lr 0.5 --x"),
        ("t --lr `cat \\`x\\`` --x", "t --lr 0.5 --x"),
        ('t --lr "$(echo "0 1")" --x', "t --lr 0.5 --x"),
        ('t "--lr=0 1" "--lr" 3', 't --lr=0.5 "--lr" 0.5'),
        ("(t --lr 1)|t --lr=1 # --lr 1\nt --lr 1", "(t --lr 0.5)|t --lr=0.5 # --lr 1\nt --lr 0.5"),
        (
            "t --lr 1 - <<'A B' <<-E\nlr=1\nA B\n --lr 1\n\tE\nt --lr 1",
            "t --lr 0.5 - <<'A B' <<-E\nlr=1\nA B\n --lr 1\n\tE\nt --lr 0.5",
        ),
        ('echo "--lr 1" && t --lr 1', 'echo "--lr 1" && t --lr 0.5'),
        ('python -c "f( lr=1, x)" --lr 1', 'python -c "f( lr=1, x)" --lr 0.5'),
        ("t --note 'use --lr 1' --lr 1", "t --note 'use --lr 1' --lr 0.5"),
        ("t --lr; 3 --lr=1", "t --lr; 3 --lr=0.5"),
        (["python", "t.py", "--lr", "0.1"], ["python", "t.py", "--lr", "0.5"]),
        (["t", "--lr=0.1 2\n3", "lr=1", "x"], ["t", "--lr=0.5", "lr=0.5", "x"]),
        (["t", "--lr", "-1e-3"], ["t", "--lr", "0.5"]),
    ],
)
def test_rerun_spec__option_of_the_command__its_value_is_changed(before: Any, after: Any) -> None:
    assert command({"command": before}, lr="0.5") == after


def test_rerun_spec__dashes_and_underscores__are_one() -> None:
    spec = {"command": "t --learning-rate 1 --batch_size=2"}
    assert command(spec, learning_rate="3") == "t --learning-rate 3 --batch_size=2"
    assert rerun_spec(spec, {"batch-size": "4"})["command"] == "t --learning-rate 1 --batch_size=4"


def test_rerun_spec__params_and_variables__are_changed_where_they_stand() -> None:
    spec = {"command": "t", "params": {"lr": "1", "a": "b"}, "env": {"lr": "1", "X": "2"}}
    made = rerun_spec(spec, {"lr": "3", "X": "4"})
    assert made == {
        "command": "t",
        "params": {"lr": "3", "a": "b"},
        "env": {"lr": "3", "X": "4"},
    }
    assert spec["params"] == {"lr": "1", "a": "b"}, "the other run's spec was changed"


@pytest.mark.parametrize(
    "spec",
    [
        {"command": "python t.py --lrate 1"},
        {"command": "python t.py --lr --lrate 1"},
        {"command": "python t.py --lr", "env": {"lrate": "1"}},
        {"command": ["t", "--lr", "--lrate", "1"]},
        {"command": ["t", "x.lr=1"], "params": {"lrate": "1"}},
        {"env": {"lrate": "1"}},
        {"command": ["python", "-c", 'lr=3; print("lrate", lr)', "lrate=1"]},
        {"command": ["python", "-c", "lr=3"], "env": {"lrate": "1"}},
        {"command": ["t", "lr=1\n2"], "env": {"lrate": "1"}},
        {"command": ["t", "lr=1;2"], "env": {"lrate": "1"}},
        {"command": 'python -c "x = 1; lr=3; print(lr)"', "env": {"lrate": "1"}},
        {"command": 'echo -c "python t.py --lr 3"', "env": {"lrate": "1"}},
        {"command": ["sh", "-c", "python -c 'lr=3'"], "env": {"lrate": "1"}},
        {"command": 'sh -c "python $X --lr 3"', "env": {"lrate": "1"}},
        {"command": "t 'use --lr 3'", "env": {"lrate": "1"}},
        {"command": "t <<E\n--lr 3\nE\n", "env": {"lrate": "1"}},
    ],
)
def test_rerun_spec__nothing_of_that_name__is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue) as refused:
        rerun_spec(spec, {"lr": "2"})
    assert refused.value.field == "--with"
    assert '"lr"' in refused.value.message
    assert refused.value.message.endswith(("?", "Known: lrate."))


def test_rerun_spec__only_a_program_has_the_name__says_that_it_is_left() -> None:
    with pytest.raises(InvalidValue, match=r"only a program or another text that mentions it"):
        rerun_spec({"command": 'python -c "import t; t.main( lr=3, n=1)"'}, {"lr": "2"})


@pytest.mark.parametrize("line", ["t --lr '3", 't --lr "3', "t --lr $(3", "t --lr `3", "t ${lr"])
def test_rerun_spec__command_that_no_shell_reads__is_refused(line: str) -> None:
    with pytest.raises(InvalidValue, match="is not closed"):
        rerun_spec({"command": line}, {"lr": "2"})


@pytest.mark.parametrize("name", ["-", "--", "_"])
def test_rerun_spec__name_of_dashes__is_refused(name: str) -> None:
    with pytest.raises(InvalidValue, match="no name of an option"):
        rerun_spec({"command": "t - x -- y"}, {name: "2"})


@given(st.text("ab-=lr 1'\"\\$(){}`<>;&|#\n\t", max_size=30))
def test_shell_words__any_line__are_where_they_are_said_to_be(line: str) -> None:
    try:
        words = shell_words(line)
    except InvalidValue:
        return
    ends = [0, *(end for word in words for end in (word.start, word.end)), len(line)]
    assert ends == sorted(ends)
    assert all(word.start < word.end for word in words)


@given(st.lists(st.text("ab-=lr 1'\"\\$;&|#\n", max_size=8), min_size=1))
def test_shell_words__quoted_words__are_those_of_shlex(words: list[str]) -> None:
    assert [word.text for word in shell_words(shlex.join(words))] == words


def test_rerun_spec__of_several_tasks__changes_each_command_that_has_it() -> None:
    tasks = {
        "worker": {"replicas": 2, "command": "python t.py --lr 0.1"},
        "ps": {"replicas": 1, "command": ["python", "ps.py", "--port=1"]},
    }
    spec = {"name": "x", "tasks": tasks, "params": {"lr": "0.1"}}
    assert rerun_spec(spec, {"lr": "0.2", "port": "2"}) == {
        "name": "x",
        "tasks": {
            "worker": {"replicas": 2, "command": "python t.py --lr 0.2"},
            "ps": {"replicas": 1, "command": ["python", "ps.py", "--port=2"]},
        },
        "params": {"lr": "0.2"},
    }
    with pytest.raises(InvalidValue, match="Did you mean"):
        rerun_spec({"tasks": tasks}, {"prt": "2"})
    assert tasks["worker"]["command"] == "python t.py --lr 0.1"


def test_rerun_spec__same_value__is_fine() -> None:
    assert command({"command": "t --lr 0.5"}, lr="0.5") == "t --lr 0.5"


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
def test_rerun_spec__any_value__the_shell_reads_it_as_one_word(value: str) -> None:
    made = command({"command": "python t.py --a 1 --lr 'x y' --b 2"}, lr=value)
    assert isinstance(made, str)
    assert shlex.split(made) == ["python", "t.py", "--a", "1", "--lr", value, "--b", "2"]
