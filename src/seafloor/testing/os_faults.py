"""Failing, or dying, at the n-th call to the operating system that changes files.

Run as a program, it kills a piece of work at each such call in turn:
``python -m seafloor.testing.os_faults <module>:<function> <folder>``. The function gets a folder
of its own (``<folder>/1``, ``<folder>/2``, …), prepares, and returns the work. One line is printed
per call: its name, or ``acknowledged`` for the last, when the work came to its end.
"""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHANGING_CALLS = (
    "fsync",
    "link",
    "mkdir",
    "open",
    "rename",
    "rmdir",
    "unlink",
    "utime",
    "write",
)
_CALLS_MAX = 10_000

Work = Callable[[], None]


@contextmanager
def at_call(
    number: int,
    act: Callable[[str], None],
    *,
    thread_prefix: str = "",
    reading_opens: bool = False,
) -> Generator[list[str]]:
    """Act just before the n-th changing call, in place of it when the act raises.

    Args:
        number: Which call, from 1; a number too large never comes.
        act: Gets the name of the call.
        thread_prefix: Only calls made by threads with such a name count.
        reading_opens: Also count ``open`` where it creates nothing: it can fail as well.

    Yields:
        The names of the calls that counted; it grows.
    """
    names: list[str] = []
    lock = threading.Lock()

    def watched(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            is_counted = reading_opens or name != "open" or args[1] & os.O_CREAT
            if is_counted and threading.current_thread().name.startswith(thread_prefix):
                with lock:
                    names.append(name)
                    is_due = len(names) == number
                if is_due:
                    act(name)
            return real(*args, **kwargs)

        return call

    real = {name: getattr(os, name) for name in CHANGING_CALLS}
    for name, function in real.items():
        setattr(os, name, watched(name, function))
    try:
        yield names
    finally:
        for name, function in real.items():
            setattr(os, name, function)


def kill_at_each_call(work: str, folder: Path) -> list[str]:
    """Kill a piece of work at each changing call in turn, in processes of its own.

    Args:
        work: ``module:function``; see above.
        folder: Where the folders of the tries are made.

    Returns:
        The name of the call at which each try was killed; the last is ``acknowledged``.
    """
    done = subprocess.run(
        [sys.executable, "-m", "seafloor.testing.os_faults", work, str(folder)],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    return done.stdout.split()


def _die(name: str) -> None:
    print(name, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _try(prepare: Callable[[Path], Work], folder: Path, number: int) -> bool:
    """Do the work in a process that dies at one call; say whether it came to its end."""
    child = os.fork()
    if child == 0:
        work = prepare(folder)
        with at_call(number, _die):
            work()
        print("acknowledged", flush=True)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status != 0:
        raise AssertionError(f"the work failed at try {number}: status {status}")
    return True


def main() -> None:
    """Run as a program."""
    module, _, function = sys.argv[1].partition(":")
    prepare = getattr(importlib.import_module(module), function)
    for number in range(1, _CALLS_MAX):
        folder = Path(sys.argv[2]) / str(number)
        folder.mkdir(parents=True)
        if _try(prepare, folder, number):
            return
    raise AssertionError("the work makes more calls than can be tried")


if __name__ == "__main__":
    main()
