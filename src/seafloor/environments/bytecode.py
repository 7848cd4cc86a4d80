"""Compiled modules for an archive: made once, beside the run, and by no other machine.

The environment's own Python compiles, from the files as they were built, into a folder beside. A
compiled module names the hash of its source, so it counts wherever and whenever the source was
written, and counts no more when somebody changes that (PEP 552, checked).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

TIMEOUT_S: Final = 1_800.0
_TESTS: Final = frozenset({"test", "tests"})
_PROGRAM: Final = """
import importlib.util, os, py_compile, sys, warnings
warnings.simplefilter("ignore")
os.nice(15)
folder, into = (os.fsencode(each) for each in sys.argv[1:])
for path in sys.stdin.buffer.read().split(b"\\0"):
    compiled = os.fsencode(importlib.util.cache_from_source(os.fsdecode(os.path.join(into, path))))
    try:
        py_compile.compile(
            os.fsdecode(os.path.join(folder, path)), os.fsdecode(compiled), os.fsdecode(path),
            doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH,
        )
    except (py_compile.PyCompileError, OSError, ValueError, RecursionError, MemoryError):
        pass  # as it is no module of this Python, nobody will miss it
"""
"""For any Python from 3.8 on, without its site packages."""


def modules_of(paths: Iterable[str]) -> Sequence[str]:
    """Say which files of an environment are worth compiling: not the tests of packages.

    >>> modules_of(["lib/a/b.py", "lib/a/tests/test_b.py", "bin/tool", "lib/a/c.so"])
    ['lib/a/b.py']
    """
    return [
        path
        for path in paths
        if path.endswith(".py") and _TESTS.isdisjoint(PurePosixPath(path).parts)
    ]


async def compile_modules(
    python: Path, folder: Path, paths: Sequence[str], *, into: Path
) -> dict[str, Path]:
    """Compile modules of an environment; it takes turns with whoever needs the processors.

    Args:
        python: Of the environment; it loads nothing that packages brought.
        folder: Of the environment.
        paths: In it.
        into: A folder that is made, if there is anything.

    Returns:
        Where each compiled module belongs in the environment, and where it is. What cannot be
        compiled is left out.

    Raises:
        OSError: Python cannot be started.
    """
    process = await asyncio.create_subprocess_exec(
        *(str(python), "-I", "-S", "-c", _PROGRAM, str(folder), str(into)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    told = b"\0".join(os.fsencode(path) for path in paths)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TIMEOUT_S):
                await process.communicate(told)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return await asyncio.to_thread(_found, into)


def _found(into: Path) -> dict[str, Path]:
    files = sorted(into.rglob("__pycache__/*.pyc"))
    return {path.relative_to(into).as_posix(): path for path in files}
