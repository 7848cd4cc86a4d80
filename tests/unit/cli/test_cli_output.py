"""Where commands print: full and closed outputs, narrow terminals, texts of somebody else's."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from scripted_server import Answer, Asked, ScriptedServer, run_view
from seafloor.cli import main as edge
from seafloor.cli.output import ProgressLine, plain

RUN_ID = "a" * 32
HOSTILE = "ann\x1b[2J\x1b]0;title\x07\nstate  succeeded\u202e"
SEEN = r"ann\x1b[2J\x1b]0;title\x07\nstate  succeeded\u202e"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer().running() as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEAFLOOR_HOME", str(tmp_path))
    return tmp_path


def seafloor(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "seafloor.cli", *arguments]
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_main__standard_output_is_full__is_one_line_and_no_bug(home: Path) -> None:
    done = seafloor(">/dev/full", "--help")
    assert done.returncode == 8
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ")
    assert "No space left on device" in line
    assert not (home / "crashes").exists()


def test_main__whoever_reads_has_enough__is_done(home: Path, server: ScriptedServer) -> None:
    """Of more than a pipe holds, which click made an exit with 1 of."""
    found = [run_view(f"{number:032x}", name="n" * 200) for number in range(2000)]
    server.answer = lambda _: Answer(200, {"items": found, "next": None})
    command = [sys.executable, "-m", "seafloor.cli", "runs", "list", "-n", "1999"]
    with subprocess.Popen(
        [*command, "--url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 0)
    assert not (home / "crashes").exists()


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_main__an_output_is_closed__goes_on_without_it(home: Path, redirection: str) -> None:
    done = seafloor(redirection, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert not (home / "crashes").exists()


def test_runs_show__of_texts_with_control_characters__shows_them_and_obeys_none(
    home: Path, capsys: pytest.CaptureFixture[str], server: ScriptedServer
) -> None:
    def answer(asked: Asked) -> Answer:
        path = asked.path.partition("?")[0]
        if path.endswith("/attempts"):
            return Answer(200, {"items": []})
        if path.endswith("/events"):
            event = {"sequence": 1, "time_ns": 1, "kind": "state", "actor": "x", "message": HOSTILE}
            return Answer(200, {"items": [event]})
        labels = {HOSTILE: HOSTILE}
        return Answer(200, run_view(RUN_ID, params=labels, tags=labels, user=HOSTILE))

    server.answer = answer
    assert edge.main(["runs", "show", RUN_ID, "--url", server.url]) == 0
    out = capsys.readouterr().out
    assert out.count(SEEN) == 6
    assert all(text == plain(text) for text in out.splitlines())


def test_runs_list__of_texts_with_control_characters__is_one_line_a_run(
    home: Path, capsys: pytest.CaptureFixture[str], server: ScriptedServer
) -> None:
    server.answer = lambda _: Answer(200, {"items": [run_view(RUN_ID, name=HOSTILE)], "next": None})
    assert edge.main(["runs", "list", "--url", server.url]) == 0
    _, line = capsys.readouterr().out.splitlines()
    assert SEEN in line


def test_main__an_error_with_control_characters__is_said_without_them(
    home: Path, capsys: pytest.CaptureFixture[str], server: ScriptedServer
) -> None:
    server.answer = lambda _: Answer(404, {"code": "not_found", "message": "no \x1b[2J run"})
    assert edge.main(["runs", "list", "--url", server.url]) == 3
    assert capsys.readouterr().err == "error: no \\x1b[2J run\n"


@pytest.mark.parametrize(("there", "says"), [(2, False), (3, True)])
def test_runs_list__as_many_as_asked_for__says_more_only_if_there_are(
    home: Path, capsys: pytest.CaptureFixture[str], server: ScriptedServer, there: int, says: bool
) -> None:
    def answer(asked: Asked) -> Answer:
        limit = int(parse_qs(urlsplit(asked.path).query)["limit"][0])
        found = [run_view(f"{number:032x}") for number in range(there)][:limit]
        return Answer(200, {"items": found, "next": None})

    server.answer = answer
    assert edge.main(["runs", "list", "--limit", "2", "--url", server.url]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1 + 2
    assert ("These are 2; more with --limit." in err) == says


def test_runs_stop__one_of_several_is_none__stops_none(
    home: Path, capsys: pytest.CaptureFixture[str], server: ScriptedServer
) -> None:
    asked_for: list[str] = []

    def answer(asked: Asked) -> Answer:
        asked_for.append(asked.path)
        if RUN_ID in asked.path:
            return Answer(200, run_view(RUN_ID))
        if "filter=" in asked.path:
            return Answer(200, {"items": [], "next": None})
        return Answer(404, {"code": "not_found", "message": "None."})

    server.answer = answer
    assert edge.main(["runs", "stop", RUN_ID, "nope", "--url", server.url]) == 3
    assert not [path for path in asked_for if path.endswith("/stop")]


def test_import__no_place_for_its_report__brings_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], server: ScriptedServer
) -> None:
    """It was said when all had been brought, instead of what had no place."""
    (home / "logs").mkdir()
    (home / "logs" / "events.out.tfevents.1.host").touch()
    asked_for: list[str] = []

    def answer(asked: Asked) -> Answer:
        asked_for.append(asked.path)
        return Answer(200, {"status": "ok", "version": "1", "parts": {}})

    server.answer = answer
    logs = home / "logs"
    report = logs / "events.out.tfevents.1.host" / "report.json"
    arguments = ["import", "tensorboard", str(logs), "--report", str(report)]
    assert edge.main([*arguments, "--url", server.url]) == 2
    assert "--report" in capsys.readouterr().err
    assert asked_for == ["/health"]


def test_progress_line__in_a_narrow_terminal__is_never_folded(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    begun_s = time.monotonic()
    line = ProgressLine()
    monkeypatch.setattr(time, "monotonic", lambda: begun_s + 3600)
    line.tell(lambda: "x" * 100 + "\n")
    assert capsys.readouterr().err == f"\r\033[K{'x' * 19}"
