"""The edge of what the CLI starts: one line for every error, and what a bug leaves behind."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import pytest

from seafloor.boot import __main__ as edge
from seafloor.boot.settings import load
from seafloor.domain.errors import InvalidValue, SeafloorError, error_classes
from seafloor.wire.exit_codes import code_of_error


def broken(_given: argparse.Namespace) -> None:
    raise RuntimeError("a bug\nwith two lines")


def test_main__a_bug__is_one_line_with_an_id_and_a_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEAFLOOR_HOME", str(tmp_path))
    monkeypatch.setitem(edge._ALONE, "localize", broken)
    assert edge.main(["localize", "x", "--to", "y", "--cache", "z"]) == 9
    (line,) = capfd.readouterr().err.splitlines()
    (file,) = (tmp_path / "crashes").iterdir()
    assert line.startswith("error: ")
    assert line.endswith(str(file))
    assert "RuntimeError: a bug" in file.read_text()


def test_main__an_error_that_names_what_is_not_utf8__is_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(_given: argparse.Namespace) -> None:
        raise InvalidValue('"a\udcff" is no source.')

    monkeypatch.setitem(edge._ALONE, "localize", refused)
    assert edge.main(["localize", "x", "--to", "y", "--cache", "z"]) == 2
    assert capfd.readouterr().err == 'error: "a\\udcff" is no source.\n'


@pytest.mark.parametrize("cls", error_classes().values(), ids=lambda cls: cls.code)
def test_main__an_error_of_any_class__ends_it_as_the_command_line(
    cls: type[SeafloorError],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refused(_given: argparse.Namespace) -> None:
        raise cls("No.")

    monkeypatch.setitem(edge._ALONE, "localize", refused)
    assert edge.main(["localize", "x", "--to", "y", "--cache", "z"]) == code_of_error(cls("No."))
    assert capfd.readouterr().err == "error: No.\n"


NEEDLESS = """
import sys
from seafloor.boot import __main__ as edge
edge._load_server()
print(sorted({"rich", "pygments", "httpx", "pyarrow", "lightkube"} & set(sys.modules)))
import rich
"""


def test_load_server__what_no_start_needs__is_not_loaded_and_can_be_had_later() -> None:
    done = subprocess.run(
        [sys.executable, "-c", NEEDLESS], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_load__a_token_from_a_file__is_what_a_client_can_present(tmp_path: Path) -> None:
    def token(text: str) -> str:
        variables = {"SEAFLOOR_SERVER__TOKEN": text}
        return load(data_dir=tmp_path, flags={}, variables=variables).server.token

    assert token("abc\n") == "abc"
    assert token(" \n") == ""
    for text in ("a b", "a\nb", "ä"):
        with pytest.raises(InvalidValue, match="SEAFLOOR_SERVER__TOKEN"):
            token(text)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--metadata", "postgresql://captain:hunter2@127.0.0.1:9/sea"],
            "error: The database, 127.0.0.1:9, does not answer",
        ),
        (["--metadata", "foo://x/y"], 'error: No database is known as "foo://". Known: mariadb'),
        (["--objects", "nonsense"], 'error: No object store is known as "nonsense", which is no'),
    ],
)
def test_up__store_that_cannot_be__is_named_in_one_line(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    """In a process of its own: a server's start is for good."""
    command = [sys.executable, "-m", "seafloor.boot", "up", "--data", str(tmp_path / "data")]
    ended = subprocess.run([*command, *arguments], capture_output=True, text=True, check=False)
    (line,) = ended.stderr.splitlines()
    assert line.startswith(said)
    assert "hunter2" not in ended.stdout + ended.stderr
    assert ended.returncode != 0
