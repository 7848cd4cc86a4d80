"""Writes the URLs of stores into a ``seafloor.toml``, and leaves all else in it as it is."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

from seafloor.domain.errors import Conflict, InvalidValue

_SECTION = re.compile(r"\s*\[\s*([^\[\]]*?)\s*\]\s*(#.*)?\Z")


def write_stores(file: Path, urls: Mapping[str, str]) -> None:
    """Set keys of ``[stores]``, so that only the owner can read the file.

    It is replaced whole or not at all.

    Args:
        file: Made when it is missing.
        urls: ``metadata`` and ``objects``, or one of them.

    Raises:
        Conflict: it is written in a way that cannot be edited here; it is as it was.
        InvalidValue: it cannot be read or written.
    """
    if not urls:
        return
    try:
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        after = _with_stores(before, urls)
        if _read(after) != _wanted(before, urls):
            lines = ", ".join(urls)
            raise Conflict(
                f"{file} could not be edited: write the URLs into its section [stores] by hand "
                f"({lines}), then give the same command again without them."
            )
        _replace(file, after)
    except OSError as error:
        raise InvalidValue(f"{file} cannot be written: {error.strerror}.") from error


def _wanted(before: str, urls: Mapping[str, str]) -> object:
    values = tomllib.loads(before)
    return {**values, "stores": {**values.get("stores", {}), **urls}}


def _read(text: str) -> object:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _with_stores(before: str, urls: Mapping[str, str]) -> str:
    """Put the keys at the beginning of the section, in place of what it says of them."""
    fresh = [f"{key} = {json.dumps(url)}" for key, url in urls.items()]
    lines: list[str] = []
    section = ""
    for line in before.splitlines():
        found = _SECTION.match(line)
        if found is not None:
            section = found[1]
        key = line.partition("=")[0].strip()
        if section == "stores" and key in urls:
            continue
        lines.append(line)
        if found is not None and section == "stores":
            lines += fresh
            fresh = []
    if fresh:
        lines += ["", "[stores]", *fresh] if lines else ["[stores]", *fresh]
    return "\n".join(lines) + "\n"


def _replace(file: Path, text: str) -> None:
    part = file.with_name(file.name + ".part")
    with part.open("w", encoding="utf-8") as stream:
        os.fchmod(stream.fileno(), 0o600)  # a URL may hold a password
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(file)
