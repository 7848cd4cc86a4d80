"""Lines of pip: those of a ``requirements.txt``, and those under ``pip:`` elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from seafloor.cli.spec_files import read_text
from seafloor.domain.addresses import without_secrets
from seafloor.domain.errors import InvalidValue
from seafloor.domain.quantities import shown_count

_COMMENT: Final = re.compile(r"(?:^|\s)#.*")
_OPTIONS: Final = re.compile(r"\s+(?=--[a-z])")
_VARIABLE: Final = re.compile(r"\$\{[A-Z0-9_]+\}")


@dataclass
class Requirements:
    """What lines of pip ask for.

    Args:
        pip: The requirements.
        with_hashes: How many of them had sums (``--hash``), which are not kept.
    """

    pip: list[str] = field(default_factory=list[str])
    with_hashes: int = 0

    @property
    def notes(self) -> list[str]:
        """What was left out, and why that is right."""
        if not self.with_hashes:
            return []
        count = shown_count(self.with_hashes, "requirement")
        return [
            f"The sums of {count} (--hash) are left out: the lock has those of the server's index, "
            "and every file is compared with them."
        ]

    def add(self, path: Path, lines: Iterable[tuple[int, str]]) -> None:
        """Read lines, each with its number.

        Raises:
            InvalidValue: one is an option of pip, which a lock cannot keep.
        """
        for number, line in lines:
            requirement, *options = _OPTIONS.split(_COMMENT.sub("", line).strip())
            if not requirement:
                continue
            if requirement.startswith("-"):
                raise refused(path, number, " ".join([requirement, *options]), _fix(requirement))
            for option in options:
                if not option.startswith("--hash"):
                    why = "it is an option of one requirement, which a lock cannot keep"
                    raise refused(path, number, option, why)
            if variable := _VARIABLE.search(requirement):
                why = f"write what {variable[0]} stands for: nothing fills it in"
                raise refused(path, number, requirement, why)
            self.pip.append(requirement)
            self.with_hashes += bool(options)


def read_requirements(path: Path) -> Requirements:
    """Read a ``requirements.txt``.

    Raises:
        NotFound: there is no such file.
        InvalidValue: it is no text, or a line is an option of pip, which a lock cannot keep.
    """
    found = Requirements()
    found.add(path, _joined(read_text(path).removeprefix("\ufeff").splitlines()))
    return found


def _joined(lines: Iterable[str]) -> Iterable[tuple[int, str]]:
    """Join lines that end with a backslash, as pip does; each has the number of its first line."""
    first, begun = 0, ""
    for number, line in enumerate(lines, start=1):
        first = first if begun else number
        # What goes on ends with a comment, whatever that ends with.
        if line.endswith("\\") and not line.lstrip().startswith("#"):
            begun += f"{line[:-1]} "
            continue
        yield first, begun + line
        begun = ""
    if begun:
        yield first, begun


def _fix(option: str) -> str:
    if option.startswith(("-e", "--editable")):
        return (
            "a folder that can be edited is no fixed package. Put it into the code of the run, or "
            "build a wheel of it and name that"
        )
    if option.startswith(("-i", "--index", "--extra-index", "-f", "--find-links")):
        return "where packages come from is set on the server, in uv's configuration"
    if option.startswith(("-r", "--requirement")):
        return (
            "it is an option of pip, not a requirement: list the packages themselves, or give each "
            "file with an -r of its own"
        )
    return "it is an option of pip, not a requirement: list the packages themselves"


def refused(path: Path, line: int, what: str, why: str) -> InvalidValue:
    """Say that a line cannot be kept."""
    what = without_secrets(what)
    shown = what if len(what) <= 120 else what[:117] + "…"
    return InvalidValue(f'{path}:{line}: "{shown}" is refused: {why}.')
