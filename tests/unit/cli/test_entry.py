"""The script ``seafloor``: Ctrl-C at any moment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

# Stops at a place, says so, and goes on when its input ends.
STOP = """
import sys

def stop():
    print("here", flush=True)
    sys.stdin.read()
"""
IN_THE_IMPORTS = """
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            stop()

sys.meta_path.insert(0, Finder())
"""
IN_THE_COMMAND = """
from seafloor.cli import main as command_line
command_line.cli.main = lambda **_: stop()
"""
WHILE_THE_FIRST_IS_TOLD = """
from seafloor.cli import main as command_line

def interrupted(**_):
    raise KeyboardInterrupt

command_line.cli.main = interrupted
command_line._tell = lambda _text: stop()
"""
AT_THE_END = """
import atexit
atexit.register(stop)
sys.argv = ["seafloor", "--version"]
"""
ENTRY = """
from seafloor.cli.entry import main
sys.exit(main())
"""


@contextmanager
def stopped(at: str, before: Callable[[], object] | None = None) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", STOP + at + ENTRY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    ) as process:
        assert process.stdout is not None
        assert any(line == "here\n" for line in process.stdout)
        yield process


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (IN_THE_IMPORTS, -signal.SIGINT),
        (IN_THE_COMMAND, 130),
        (WHILE_THE_FIRST_IS_TOLD, 130),
        (AT_THE_END, -signal.SIGINT),
    ],
    ids=["imports", "command", "second", "end"],
)
def test_entry__ctrl_c__is_no_traceback(at: str, code: int) -> None:
    with stopped(at) as process:
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert (process.returncode, said.strip()) == (code, "")


@pytest.mark.parametrize("at", [IN_THE_IMPORTS, IN_THE_COMMAND, AT_THE_END])
def test_entry__ctrl_c_that_is_ignored__stays_so(at: str) -> None:
    with stopped(at, lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) as process:
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode in {0, 2}, said
    assert "Traceback" not in said
