"""``seafloor env freeze``: what a Python has installed, as an environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from seafloor.cli.env import tell_locked
from seafloor.cli.output import Column, print_json, print_table, say
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.addresses import without_secrets
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.wire.environments import EnvironmentView

_TIMEOUT_S: Final = 60.0
# What every environment has by itself; pip leaves them out of its own `freeze` as well.
_TOOLS: Final = frozenset({"pip", "setuptools", "wheel", "distribute"})
# In the address of a channel; the server reads private ones with a named secret.
_TOKEN: Final = re.compile(r"/t/[^/]+(?=/)")
# Runs in the other Python, so it must be old Python's words, and needs nothing installed there.
_ASKING: Final = """
import glob, json, os, platform, sys
import importlib.metadata as metadata

def read(path, reading, tables=()):
    try:
        made = json.loads(reading() or "null")
        if made is not None and not (
            isinstance(made, dict) and all(isinstance(made.get(key, {}), dict) for key in tables)
        ):
            raise ValueError("it holds something else")
        return made
    except (OSError, ValueError) as error:
        print(json.dumps({"broken": str(path), "why": str(error)}))
        sys.exit(0)

found, seen = [], set()
for one in metadata.distributions():
    name = one.metadata["Name"]
    if name and name.lower() not in seen:
        seen.add(name.lower())
        found.append({
            "name": name,
            "version": one.version,
            "installer": (one.read_text("INSTALLER") or "").strip(),
            "direct": read(
                one.locate_file(getattr(getattr(one, "_path", None), "name", name))
                / "direct_url.json",
                lambda: one.read_text("direct_url.json"),
                ("vcs_info", "dir_info", "archive_info"),
            ),
        })
conda = []
for path in glob.glob(os.path.join(sys.prefix, "conda-meta", "*.json")):
    record = read(path, lambda: open(path, encoding="utf-8").read()) or {}
    conda.append({key: record.get(key) or "" for key in ("name", "version", "build", "channel")})
print(json.dumps({"python": platform.python_version(), "found": found, "conda": conda}))
"""


@dataclass(frozen=True)
class Frozen:
    """One package of a Python.

    Args:
        name, version: As installed.
        requirement: What gives it again; empty when nothing does.
        kind: ``pip`` or ``conda``.
        note: Why nothing does, or what may hinder it.
    """

    name: str
    version: str
    requirement: str
    kind: str = "pip"
    note: str = ""


@click.command()
@click.argument("name")
@click.option(
    "--python",
    "python",
    type=click.Path(dir_okay=False),
    metavar="PATH",
    help="Which Python; without it the one of the active environment, else `python` on PATH.",
)
@click.option("--dry-run", is_flag=True, help="Only say what would be in it.")
@click.option("--strict", is_flag=True, help="Create nothing if a package cannot be had again.")
@click.option("--project", metavar="NAME", help="Its project.")
@server_options
@json_option
@pass_given
def freeze(
    given: Given, name: str, python: str | None, *, dry_run: bool, strict: bool, project: str | None
) -> None:
    """Make an environment of what a Python has installed.

    A package that no other machine can get (a folder that is edited, a file that was removed since)
    is named and left out: such a package is usually the code of the run.
    """
    program = _program(python)
    version, packages, channels = ask_python(program)
    lost = [one for one in packages if not one.requirement]
    if not given.json:
        say(f"{program} is Python {version} with {shown_count(len(packages), 'package')}.")
        if dry_run or lost or any(one.note for one in packages):
            _tell(packages, everything=dry_run)
    if strict and lost:
        raise click.ClickException(
            f"{len(lost)} of {shown_count(len(packages), 'package')} cannot be had again: "
            f"{', '.join(one.name for one in lost)}. Nothing was created."
        )
    spec = _spec(name, version, packages, channels, project)
    if dry_run:
        if given.json:
            print_json({"spec": spec, "left_out": [one.name for one in lost]})
        return
    view = given.client.environments.create(spec)
    _told(given, view, lost)


def ask_python(program: Path) -> tuple[str, list[Frozen], list[str]]:
    """Ask a Python for its version, its packages, and the channels of conda they came from.

    Raises:
        click.ClickException: it cannot be started, says something else, or has a file that says
            where a package is from and cannot be read.
    """
    try:
        done = subprocess.run(
            [program, "-c", _ASKING],
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        answer: dict[str, Any] = json.loads(done.stdout)
    except (OSError, subprocess.TimeoutExpired, ValueError) as error:
        raise click.ClickException(
            f"{program} does not answer as a Python of 3.8 or later does: {error}"
        ) from error
    if "broken" in answer:
        raise click.ClickException(
            f"{answer['broken']} cannot be read ({answer['why']}): install that package anew, or "
            "remove it."
        )
    conda = {str(one["name"]) for one in answer["conda"]}
    packages = [_from_conda(one) for one in answer["conda"]]
    packages += [
        _from_pip(one)
        for one in answer["found"]
        if one["name"].lower() not in _TOOLS
        and not (conda and one["installer"] == "conda")
        and not (one["installer"] != "pip" and one["name"].lower() in conda)
    ]
    channels = list(dict.fromkeys(_channel(one) for one in answer["conda"]))
    return (
        str(answer["python"]),
        sorted(packages, key=lambda one: one.name.lower()),
        [one for one in channels if one],
    )


def _program(python: str | None) -> Path:
    if python is not None:
        return Path(python).absolute()
    active = os.environ.get("VIRTUAL_ENV") or os.environ.get("CONDA_PREFIX")  # noqa: TID251 - the user's own shell is asked about
    found = Path(active) / "bin" / "python" if active else shutil.which("python")
    if found is None:
        raise click.UsageError("There is no `python` on PATH: give one with --python.")
    return Path(found)


def _from_conda(record: Mapping[str, str]) -> Frozen:
    exact = f"{record['name']}={record['version']}={record['build']}"
    return Frozen(record["name"], record["version"], exact, kind="conda")


def _from_pip(one: Mapping[str, Any]) -> Frozen:
    name, version = str(one["name"]), str(one["version"])
    direct: Mapping[str, Any] = one["direct"] or {}
    told = str(direct.get("url", ""))
    url = _without_user(told)
    if not direct:
        note = ""
        if "+" in version:
            note = "a local version: only the index it was built for has it"
        return Frozen(name, version, f"{name}=={version}", note=note)
    note = "" if url == told else "the user in its address is left out: a named secret gives it"
    shown = without_secrets(url)
    if shown != url and not url.startswith("ssh:"):
        return Frozen(name, version, "", note=f"its address holds what may be a secret: {shown}")
    if "vcs_info" in direct:
        vcs, commit = direct["vcs_info"].get("vcs"), direct["vcs_info"].get("commit_id")
        if vcs == "git" and commit and not url.startswith("file:"):
            below = direct.get("subdirectory")
            part = f"#subdirectory={below}" if below else ""
            return Frozen(name, version, f"{name} @ git+{url}@{commit}{part}", note=note)
        return Frozen(name, version, "", note=f"from a repository of this machine or of {vcs}")
    if "dir_info" in direct:
        edited = direct["dir_info"].get("editable")
        what = "edited in" if edited else "installed from the folder"
        return Frozen(name, version, "", note=f"{what} {url.removeprefix('file://')}")
    archive: Mapping[str, Any] = direct.get("archive_info", {})
    hashes: Mapping[str, str] = archive.get("hashes") or {}
    sha256 = hashes.get("sha256") or str(archive.get("hash", "")).removeprefix("sha256=")
    if url.startswith("https://") and len(sha256) == 64:
        below = direct.get("subdirectory")
        part = f"&subdirectory={below}" if below else ""
        return Frozen(name, version, f"{name} @ {url}#sha256={sha256}{part}", note=note)
    return Frozen(name, version, "", note=f"from a file without a known sha256: {url}")


def _without_user(url: str) -> str:
    """Take off an address what no server takes: a password, and over http the user."""
    scheme, separator, rest = url.partition("://")
    authority, slash, path = rest.partition("/")
    user, _, host = authority.rpartition("@")
    kept = f"{user.partition(':')[0]}@" if scheme == "ssh" and user else ""
    return f"{scheme}{separator}{kept}{host}{slash}{path}"


def _channel(record: Mapping[str, str]) -> str:
    """The address of a channel without the folder of the platform, and without a token."""
    address = _TOKEN.sub("", _without_user(record["channel"].rstrip("/")))
    last = address.rpartition("/")[2]
    return address.rpartition("/")[0] if last == "noarch" or "-64" in last else address


def _spec(
    name: str,
    version: str,
    packages: Sequence[Frozen],
    channels: Sequence[str],
    project: str | None,
) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "name": name,
        "pip": [one.requirement for one in packages if one.kind == "pip" and one.requirement],
    }
    conda = [one.requirement for one in packages if one.kind == "conda"]
    if conda:
        spec["conda"] = {"channels": list(channels), "packages": conda}
    else:
        spec["python"] = version
    if project is not None:
        spec["project"] = project
    return spec


def _tell(packages: Sequence[Frozen], *, everything: bool) -> None:
    columns = [Column("package"), Column("version"), Column("again"), Column("note", wrap=True)]
    rows = [
        (one.name, one.version, "yes" if one.requirement else "no", one.note)
        for one in packages
        if everything or one.note
    ]
    print_table(columns, rows)


def _told(given: Given, view: EnvironmentView, lost: Sequence[Frozen]) -> None:
    if given.json:
        print_json(view)
        return
    tell_locked(view)
    if lost:
        names = ", ".join(one.name for one in lost)
        say(f"Left out, since no other machine can get it: {names}. Bring it as code of the run.")
