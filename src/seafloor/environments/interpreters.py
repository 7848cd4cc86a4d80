"""Which Pythons are on this machine. None is ever downloaded without the user's asking."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from seafloor.domain.errors import InvalidValue, SourceError
from seafloor.environments.uv_command import UvCommand

LISTING_TIMEOUT_S: Final = 60.0
_REQUEST: Final = re.compile(r"3\.\d{1,2}(\.\d{1,2}((a|b|rc)\d{1,2})?)?\Z")


@dataclass(frozen=True)
class Interpreter:
    """A Python of this machine.

    Args:
        version: Exact, ``3.11.2``.
        path: Its program.
    """

    version: str
    path: Path


class _Listed(msgspec.Struct, frozen=True):
    """One entry of ``uv python list --output-format json``."""

    version: str
    path: str | None = None
    implementation: str = ""
    variant: str = "default"


_LISTING: Final = msgspec.json.Decoder(list[_Listed])


@cache
def platform_tag() -> str:
    """What packages are chosen for on this machine: ``linux-x86_64-glibc``."""
    libc = platform.libc_ver()[0] or "musl"
    parts = [sys.platform, platform.machine().lower()]
    return "-".join([*parts, libc] if sys.platform == "linux" else parts)


def own_interpreter() -> Interpreter:
    """The Python that this server runs in."""
    return Interpreter(platform.python_version(), Path(sys.executable))


def check_request(python: str) -> None:
    """Check how a user asks for a version: ``3.11`` or ``3.11.2``.

    Raises:
        InvalidValue: it is written otherwise.
    """
    if not _REQUEST.match(python):
        shown = python if len(python) <= 40 else python[:37] + "…"
        raise InvalidValue(
            f'"{shown}" is not a version of Python: write "3.11" or "3.11.2".', field="python"
        )


async def find_interpreter(uv: UvCommand, version: str, *, folder: Path) -> Interpreter:
    """Find a Python: the server's own if it answers, else the newest here that does.

    Args:
        version: ``3.11``, or exact.
        folder: Where uv runs.

    Raises:
        SourceError: there is none; the message lists those that are here.
    """
    own = own_interpreter()
    if _answers(own.version, version):
        return own
    here = await _interpreters(uv, folder=folder)
    for interpreter in here:
        if _answers(interpreter.version, version):
            return interpreter
    versions = dict.fromkeys([own.version, *(interpreter.version for interpreter in here)])
    shown = ", ".join(sorted(versions, key=_order))
    raise SourceError(
        f"Python {version} is not on this server, and Seafloor downloads none by itself. "
        f"There is: {shown}. Ask for one of these, or have it installed "
        f"(`uv python install {version}`).",
        field="python",
    )


async def _interpreters(uv: UvCommand, *, folder: Path) -> Sequence[Interpreter]:
    """Every CPython that uv can see, newest first."""
    ended = await uv.run(
        "python",
        "list",
        "--only-installed",
        "--output-format=json",
        folder=folder,
        timeout_s=LISTING_TIMEOUT_S,
    )
    try:
        listed = _LISTING.decode(ended.stdout) if ended.returncode == 0 else []
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SourceError(
            "The Pythons of this server cannot be listed: its uv is too old or too new.",
            field="python",
            detail=str(error),
        ) from error
    found = [
        Interpreter(entry.version, Path(entry.path))
        for entry in listed
        if entry.path and entry.implementation == "cpython" and entry.variant == "default"
    ]
    return sorted(found, key=lambda interpreter: _order(interpreter.version), reverse=True)


def _answers(version: str, asked: str) -> bool:
    return version == asked or version.startswith(f"{asked}.")


def _order(version: str) -> tuple[tuple[int, ...], str]:
    numbers = re.match(r"[\d.]*\d", version)
    release = tuple(int(part) for part in numbers[0].split(".")) if numbers else ()
    return release, version
