"""What users may write under ``pip:``, and the refusals of everything else.

A lock must mean the same packages for ever. So an archive is named together with its sha256 (of a
file on this server Seafloor computes it), a git address is pinned to its commit by the lock, and
a folder, which has neither, is refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)

from seafloor.domain.addresses import holds_secret, without_secrets
from seafloor.domain.errors import InvalidValue, LimitExceeded

REQUIREMENTS_MAX: Final = 1_000
REQUIREMENT_CHARS_MAX: Final = 2_000
_ARCHIVES: Final = (".whl", ".tar.gz", ".zip")
_GIT: Final = ("git+https", "git+http", "git+ssh", "git+file")
_VARIABLE: Final = re.compile(r"\$\{[^}]*\}?")
_PINNED: Final = re.compile(r"(?:.*&)?sha256=[0-9a-f]{64}(?:&.*)?\Z")


def parse_requirements(pip: Sequence[str]) -> tuple[str, ...]:
    """Check requirements; reads the files that they name, so it may block.

    Returns:
        The lines to give to uv: sorted, each once, paths turned into addresses with a sha256.

    Raises:
        InvalidValue: one is not acceptable; names it and its place, ``pip[2]``.
        LimitExceeded: they are too many.
    """
    if len(pip) > REQUIREMENTS_MAX:
        raise LimitExceeded(
            f"An environment has at most {REQUIREMENTS_MAX} requirements, not {len(pip)}.",
            field="pip",
        )
    return tuple(sorted({_parse(text, field=f"pip[{i}]") for i, text in enumerate(pip)}))


def _parse(text: str, *, field: str) -> str:
    line = text.strip()
    if not line or line.startswith("#"):
        raise InvalidValue('A requirement is empty: write "six" or "six==1.17.0".', field=field)
    if len(line) > REQUIREMENT_CHARS_MAX or not line.isprintable():
        raise _refused(line, "it has a line break or is too long; one requirement each", field)
    if line.startswith("-"):
        raise _refused(
            line,
            "options are not accepted here. List the packages themselves; which index they "
            "come from is set by the administrator of this server",
            field,
        )
    if variable := _VARIABLE.search(line):
        # uv would fill it in, with what this server has under that name, and send it anywhere.
        raise _refused(line, f"write what {variable[0]} stands for: nothing fills it in", field)
    if _is_path(line):
        return _of_path(line, field=field)
    try:
        requirement = Requirement(line)
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise _refused(line, f'{reason}. Write it like "six" or "six>=1.16,<2"', field) from error
    if requirement.url is not None:
        requirement.url = _checked_address(requirement.url, line, field=field)
    return str(requirement)


def _is_path(line: str) -> bool:
    beginning = line.split(" @ ", 1)[0]
    return beginning.startswith(("/", "./", "../", "~")) or (
        "@" not in line and beginning.endswith(_ARCHIVES)
    )


def _of_path(line: str, *, field: str) -> str:
    path = Path(line)
    if not path.is_absolute():
        raise _refused(
            line, "a path must be absolute, for the server works in a folder of its own", field
        )
    try:
        name = (
            parse_wheel_filename(path.name)[0]
            if path.suffix == ".whl"
            else parse_sdist_filename(path.name)[0]
        )
    except (InvalidWheelFilename, InvalidSdistFilename) as error:
        raise _refused(
            line, "it is not named like a wheel (.whl) or a source archive (.tar.gz)", field
        ) from error
    return f"{name} @ {path.as_uri()}#sha256={_file_sha256(path, line, field=field)}"


def _checked_address(url: str, line: str, *, field: str) -> str:
    try:
        parts = urlsplit(url)
        password = parts.password
    except ValueError as error:
        raise _refused(line, "its address cannot be read", field) from error
    if password or (parts.username and not parts.scheme.endswith("ssh")):
        # The line itself holds the password: it is not repeated.
        raise InvalidValue(
            "A requirement has a user or password in its address, where everybody would read it "
            "for ever. Leave it out; the administrator can give it to uv, e.g. in ~/.netrc.",
            field=field,
        )
    if holds_secret(parts.query):
        raise InvalidValue(
            "A requirement has what looks like a token or a signature in its address, which would "
            "be stored and shown. Leave it out; the administrator can give it to the server as a "
            "named secret (`environments.secrets`).",
            field=field,
        )
    if parts.scheme in _GIT:
        return url
    if parts.scheme == "file" and not parts.netloc:
        return _checked_file(parts, line, field=field)
    if parts.scheme not in ("https", "http"):
        known = ", ".join(("https", "file", *_GIT))
        raise _refused(line, f"its address must begin with one of: {known}", field)
    if not _PINNED.match(parts.fragment):
        raise _refused(
            line, "what is behind an address can change: end it with #sha256=<64 digits>", field
        )
    return url


def _checked_file(parts: SplitResult, line: str, *, field: str) -> str:
    path = Path(unquote(parts.path))
    if not path.is_absolute():
        raise _refused(line, "a path must be absolute", field)
    sha256 = _file_sha256(path, line, field=field)
    if _PINNED.match(parts.fragment) and f"sha256={sha256}" not in parts.fragment:
        raise _refused(line, f"the file's sha256 is {sha256}", field)
    return f"{path.as_uri()}#sha256={sha256}"


def _file_sha256(path: Path, line: str, *, field: str) -> str:
    if path.is_dir():
        raise _refused(
            line,
            "a folder can change under an environment that is built. Build a wheel of it "
            "(`uv build`) and name that, or put it into the code of the run",
            field,
        )
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise _refused(
            line, f"there is no such file on the server that can be read ({error.strerror})", field
        ) from error


def _refused(line: str, reason: str, field: str) -> InvalidValue:
    line = without_secrets(line)
    shown = line if len(line) <= 120 else line[:117] + "…"
    return InvalidValue(
        f"Requirement {shown!r} is refused: {without_secrets(reason)}.", field=field
    )
