"""The edge of the command line: one line for every error, and what a bug leaves behind."""

from __future__ import annotations

import doctest
import importlib
import io
import json
import os
import pkgutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec
import pytest

import seafloor.cli
import seafloor.sdk
from scripted_server import Answer, Asked, ScriptedServer, run_view
from seafloor.cli import main as edge
from seafloor.cli.exit_codes import MEANINGS, RUN_MEANINGS, code_of_run
from seafloor.cli.output import styled
from seafloor.cli.plots import draw, outline_of
from seafloor.cli.ports import is_free
from seafloor.cli.references import find_run
from seafloor.domain.errors import (
    InvalidValue,
    NotFound,
    SeafloorError,
    StoreFull,
    StoreUnavailable,
    error_classes,
)
from seafloor.domain.workloads import Ending, WorkloadState
from seafloor.sdk.client import Client
from seafloor.sdk.settings import VARIABLES
from seafloor.wire.exit_codes import code_of_error
from seafloor.wire.metrics import BucketOut
from seafloor.wire.server import ServerInfo

MODULES = [
    found.name
    for package in (seafloor.cli, seafloor.sdk)
    for found in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    if not found.name.endswith("__main__")
]


@click.command("broken")
def broken() -> None:
    raise RuntimeError("a bug\nwith two lines")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEAFLOOR_HOME", str(tmp_path))
    monkeypatch.setenv("SEAFLOOR_URL", "http://127.0.0.1:9")
    return tmp_path


@pytest.mark.parametrize("module", MODULES)
def test_doctests__of_every_module__pass(module: str) -> None:
    assert doctest.testmod(importlib.import_module(module)).failed == 0


def test_main__a_bug__is_one_line_with_an_id_and_a_file(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    group = edge.cli
    monkeypatch.setattr(group, "homes", {"broken": (f"{__name__}:broken", "")})
    assert edge.main(["broken"]) == 9
    (line,) = capsys.readouterr().err.splitlines()
    (file,) = (home / "crashes").iterdir()
    assert str(file) in line
    assert file.stem in line.partition("id ")[2]
    details = file.read_text()
    assert "RuntimeError: a bug" in details
    assert "Traceback" in details


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "nonsense"),
        (["runs", "list", "--nonsense"], "--nonsense"),
        (["runs", "show"], "RUN"),
        (["logs", "x", "--tail", "1", "--from", "1"], "exclude each other"),
    ],
)
def test_main__wrong_usage__is_one_line_that_says_where_help_is(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    assert edge.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("error: ")
    assert said in line
    assert "--help" in line


@pytest.mark.parametrize(
    ("arguments", "code"), [(["runs", "list", "--nope"], 2), (["volume"], 2), (["runs", "list"], 5)]
)
def test_main__standard_error_takes_nothing__the_exit_code_is_the_same(
    home: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    with open("/dev/full", "w", encoding="utf-8", buffering=1) as full:  # noqa: PTH123 - a device
        monkeypatch.setattr(sys, "stderr", full)
        assert edge.main(arguments) == code
        monkeypatch.undo()
        # What it holds still cannot be written either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


class Terminal(io.StringIO):
    """What is printed to a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("value", "shown"), [("1", "x\n"), ("", "\x1b[31mx\x1b[0m\n")])
def test_main__no_color__a_terminal_gets_none(
    home: Path, monkeypatch: pytest.MonkeyPatch, value: str, shown: str
) -> None:
    @click.command()
    def coloured() -> None:
        click.echo(styled("x", "red"))

    terminal = Terminal()
    monkeypatch.setattr(edge.cli, "resolve_command", lambda *_: ("any", coloured, []))
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("NO_COLOR", value)
    assert edge.main(["any"]) == 0
    assert terminal.getvalue() == shown


@pytest.mark.parametrize("command", [["down"], ["up", "--detach"]])
def test_main__address_for_a_command_of_this_machine__is_refused(
    command: list[str], home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`seafloor --url OTHER down` ended the server of this machine."""
    assert edge.main(["--url", "http://127.0.0.1:9", *command]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "leave --url out" in said


@pytest.mark.parametrize("arguments", [[], ["runs"], ["volume"], ["import"]])
def test_main__a_group_without_a_command__shows_its_help(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert edge.main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Usage: ")
    assert "\nCommands:\n" in err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--filter", "\udcff"],
        ["--token", "one\ntwo"],
        ["--token", "\N{LATIN SMALL LETTER U}\u0308"],
    ],
)
def test_main__what_no_request_can_hold__is_said_in_one_line(
    home: Path, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    assert edge.main(["runs", "list", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert "bug" not in line


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--task=nope", 'no task "nope". Known: main.'),
        ("--attempt=3", "no attempt 3"),
        ("--attempt=0", "newest is 1"),
    ],
)
def test_logs__of_what_the_run_does_not_have__is_not_an_empty_log(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    scripted_runs: ScriptedServer,
    option: str,
    said: str,
) -> None:
    launched = run_view("a" * 32, origin="launched", attempt=1)
    scripted_runs.answer = lambda _asked: Answer(200, launched)
    assert edge.main(["logs", "a" * 32, "--url", scripted_runs.url, option]) == 3
    assert said in capsys.readouterr().err


def test_show__events_of_two_pages__shows_all(
    home: Path, capsys: pytest.CaptureFixture[str], scripted_runs: ScriptedServer
) -> None:
    """The last are those that matter; a page has the first thousand."""

    def event(number: int) -> dict[str, object]:
        words = {"kind": "note", "actor": "server", "message": f"This is number {number}."}
        return {"sequence": number, "time_ns": number, **words}

    def answer(asked: Asked) -> Answer:
        if asked.path.endswith("attempts"):
            return Answer(200, {"items": []})
        if "events" not in asked.path:
            return Answer(200, run_view("a" * 32))
        if "after=1" in asked.path:
            return Answer(200, {"items": [event(2)]})
        return Answer(200, {"items": [event(1)], "next": 1})

    scripted_runs.answer = answer
    assert edge.main(["runs", "show", "a" * 32, "--url", scripted_runs.url]) == 0
    out = capsys.readouterr().out
    assert out.index("number 1.") < out.index("number 2.")


def test_main__help__is_no_error(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert edge.main(["--help"]) == 0
    assert "Commands:" in capsys.readouterr().out


def test_exit_codes__every_error_class__has_a_documented_one() -> None:
    for cls in error_classes().values():
        assert code_of_error(cls("x")) in MEANINGS
    assert code_of_error(SeafloorError("x")) == 9
    assert code_of_error(StoreUnavailable("x")) == 5
    assert code_of_error(StoreFull("x")) == 8


@pytest.mark.parametrize(
    ("state", "ending", "code"),
    [
        ("succeeded", Ending(exit_code=0), 0),
        ("failed", Ending(exit_code=42), 42),
        ("failed", Ending(exit_code=0), 1),
        ("failed", Ending(signal="SIGTERM"), 128 + signal.SIGTERM),
        ("failed", Ending(signal="SIGKILL", timed_out=True), 124),
        ("failed", Ending(reason="no such ref"), 120),
        ("failed", None, 120),
        ("stopped", Ending(signal="SIGTERM"), 122),
        ("lost", None, 121),
    ],
)
def test_exit_codes__of_a_run__say_how_it_ended(
    state: str, ending: Ending | None, code: int
) -> None:
    assert code_of_run(WorkloadState(state), ending) == code
    assert code in RUN_MEANINGS or code < 120 or code > 128


def runs_page(*ids: str) -> Answer:
    return Answer(200, {"items": [run_view(run_id) for run_id in ids], "next": None})


@pytest.fixture
def scripted_runs() -> Iterator[ScriptedServer]:
    """A server whose runs are all called ``feed``."""
    with ScriptedServer().running() as server:
        yield server


def test_find_run__a_name_that_looks_like_digits__is_found_by_name(
    scripted_runs: ScriptedServer,
) -> None:
    def answer(asked: Asked) -> Answer:
        if "filter=" in asked.path:
            return runs_page("a" * 32)
        if asked.path.endswith("a" * 32):
            return Answer(200, run_view("a" * 32))
        return Answer(404, {"code": "not_found", "message": "None."})

    scripted_runs.answer = answer
    assert find_run(Client(scripted_runs.url, ""), "feed").id == "a" * 32


def test_find_run__a_name_of_several__asks_for_the_id(scripted_runs: ScriptedServer) -> None:
    ids = [f"{number:032x}" for number in range(6)]
    scripted_runs.answer = lambda _asked: runs_page(*ids)
    with pytest.raises(InvalidValue, match="00000003"):
        find_run(Client(scripted_runs.url, ""), 'with "quotes"')


def test_find_run__no_runs_yet__says_how_to_start_one(scripted_runs: ScriptedServer) -> None:
    scripted_runs.answer = lambda _asked: runs_page()
    with pytest.raises(NotFound, match="seafloor run"):
        find_run(Client(scripted_runs.url, ""), "@last")


@pytest.mark.parametrize(
    ("options", "shown"),
    [([], True), (["--from", "1"], False), (["--from", "2"], False), (["--stream", "out"], False)],
    ids=["whole", "from the first line", "from the second", "one stream"],
)
def test_logs__only_some_lines_asked_for__what_prepared_the_pod_is_left_out(
    home: Path,
    capsys: pytest.CaptureFixture[str],
    scripted_runs: ScriptedServer,
    options: list[str],
    shown: bool,
) -> None:
    def log(*texts: str) -> dict[str, object]:
        lines = [
            {"number": at, "time_ns": 1, "stream": "out", "text": text}
            for at, text in enumerate(texts, 1)
        ]
        which = {"attempt": 1, "task": "main", "next_line": len(texts) + 1}
        counts = {"total_lines": len(texts), "lines_missing": 0, "finished": True}
        return {**which, **counts, "lines": lines}

    def answer(asked: Asked) -> Answer:
        if asked.path.partition("?")[0].endswith("/logs/setups"):
            one = {"setup": "git-localize", "lines": 1, "first_time_ns": 1, "finished": True}
            return Answer(200, {"attempt": 1, "task": "main", "items": [one]})
        if "setup=git-localize" in asked.path:
            return Answer(200, log("commit 1f2e"))
        if "/logs" in asked.path:
            return Answer(200, log("epoch 1"))
        return Answer(200, run_view("a" * 32, origin="launched", attempt=1))

    scripted_runs.answer = answer
    assert edge.main(["logs", "a" * 32, "--url", scripted_runs.url, *options]) == 0
    out, err = capsys.readouterr()
    assert out == "epoch 1\n"
    assert err == ("git-localize: commit 1f2e\n" if shown else "")


def test_outline__extremes__are_all_on_the_line() -> None:
    buckets = [
        BucketOut(0, 9, 0, 0, 1.0, 2.0, -5.0, 7.0, 10, 0),
        BucketOut(10, 19, 0, 0, "NaN", "Infinity", 3.0, "Infinity", 10, 4),
        BucketOut(20, 20, 0, 0, 4.0, 4.0, 4.0, 4.0, 1, 0),
    ]
    outline = outline_of(buckets)
    assert outline.values == [1.0, -5.0, 7.0, 2.0, 3.0, 4.0]
    assert outline.left_out == 4
    drawn = click.unstyle(draw("loss", outline, width=60))
    assert max(len(line) for line in drawn.splitlines()) <= 60
    assert "loss" in drawn


def test_draw__values_that_no_axis_tells_apart__says_nothing_beside_the_plot(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outline = outline_of([BucketOut(0, 9, 0, 0, 1e300, 1e300, 1e300, 1e300, 10, 0)])
    assert "ns" in draw("ns", outline, width=40)
    assert capsys.readouterr() == ("", "")


def test_is_free__an_address_that_is_none_of_ours__is_left_for_the_server_to_say() -> None:
    assert is_free("192.0.2.1", 80)


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (404, "not_found", "did not come: experiment logs: "),
        (503, "store_unavailable", "brought: the same command goes on"),
    ],
)
def test_import__nothing_can_be_brought__says_whether_the_same_again_helps(
    home: Path, capsys: pytest.CaptureFixture[str], status: int, code: str, said: str
) -> None:
    logs = home / "logs"
    logs.mkdir()
    (logs / "events.out.tfevents.1.host").touch()

    def answer(asked: Asked) -> Answer:
        if asked.path == "/health":
            return Answer(200, {"status": "ok", "version": "1", "parts": {}})
        return Answer(status, {"code": code, "message": 'There is no project "x".'})

    with ScriptedServer().running() as server:
        server.answer = answer
        assert edge.main(["import", "tensorboard", str(logs), "--url", server.url]) != 0
    err = capsys.readouterr().err
    assert said in err
    assert 'There is no project "x".' in err.splitlines()[-1]


def test_doctor__a_part_of_the_server_is_not_well__warns_in_its_words(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = {"metadata": "ok", "sealer": "One row is damaged."}
    info = {"version": "1", "url": "", "started_ns": 0, "data_dir": "", "python": "", "web": True}
    info |= {"authentication": "none", "settings": {}}

    def answer(asked: Asked) -> Answer:
        if asked.path == "/health":
            return Answer(200, {"status": "degraded", "version": "1", "parts": parts})
        return Answer(200, info)

    with ScriptedServer().running() as server:
        server.answer = answer
        edge.main(["--json", "doctor", "--url", server.url])
    items = json.loads(capsys.readouterr().out)["items"]
    checks = {check["name"]: check for check in items}
    assert checks["reachable"]["state"] == "ok"
    assert (checks["sealer"]["state"], checks["sealer"]["said"]) == ("warn", "One row is damaged.")
    assert "metadata" not in checks


def test_config_show__of_client_and_server__shows_what_can_be_set_and_as_it_is_written(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = ServerInfo(
        version="1",
        url="http://127.0.0.1:1",
        started_ns=1,
        data_dir="/data",
        python="3.11",
        web=False,
        authentication="none",
        settings={"launch.mount_code": {"value": True, "origin": "default"}},
    )
    with ScriptedServer().running() as server:
        server.answer = lambda _asked: Answer(200, msgspec.to_builtins(info))
        assert edge.main(["config", "show", "--url", server.url]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1] for row in rows if row[0] == "client"] == list(VARIABLES)
    assert ["server", "launch.mount_code", "true"] in rows


def test_version__as_an_option__is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert edge.main(["--version"]) == 0
    assert capsys.readouterr().out == f"seafloor {seafloor.__version__}\n"
