"""Files of other tools that say what an environment holds, read as one of ours.

What a file asks for and Seafloor cannot keep is refused with its line, or, where leaving it out
gives the same packages, told in a note. Which kind a file is follows from what is in it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

import yaml

from seafloor.cli.spec_files import read_spec_file, read_text
from seafloor.domain.addresses import without_secrets
from seafloor.domain.errors import InvalidValue
from seafloor.domain.specs import EnvironmentSpec

_KNOWN: Final = (
    "requirements.txt, pyproject.toml, uv.lock, environment.yml, a kernel spec of Submarine, or a "
    "spec with `environment:` on top"
)
_EXACT_PYTHON: Final = re.compile(r"==\s*(3\.\d+(\.\d+)?)(\.\*)?")
_COMMENT: Final = re.compile(r"(?:^|\s)#.*")
_HASHES: Final = re.compile(r"\s--hash")

Table = Mapping[str, Any]


@dataclass(frozen=True)
class EnvironmentFile:
    """What a file says.

    Args:
        kind: Of file, for the user.
        body: What would stand under ``environment:``; a name only where the file has one.
        notes: What was left out, and why that is right.
    """

    kind: str
    body: dict[str, Any]
    notes: list[str] = field(default_factory=list[str])


def read_environment_file(path: Path) -> EnvironmentFile:
    """Read any file that says what an environment holds.

    Raises:
        NotFound: there is no such file.
        InvalidValue: it is none that is known, or asks for what cannot be kept; names the line.
    """
    if path.suffix in (".toml", ".lock"):
        return _read_toml(path)
    if path.suffix in (".yml", ".yaml", ".json"):
        return _read_yaml(path)
    pip = read_requirements(path)
    return EnvironmentFile("requirements", {"pip": pip})


def read_requirements(path: Path) -> list[str]:
    """Read a ``requirements.txt``.

    Raises:
        InvalidValue: a line is an option of pip, which a lock cannot keep.
    """
    text = read_text(path).removeprefix("\ufeff")
    return list(_requirements(path, _joined(text.splitlines())))


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


def _requirements(path: Path, lines: Iterable[tuple[int, str]]) -> Iterable[str]:
    for number, line in lines:
        requirement = _HASHES.split(_COMMENT.sub("", line))[0].strip()
        if not requirement:
            continue
        if requirement.startswith("-"):
            raise _refused(path, number, requirement, _option_fix(requirement))
        yield requirement


def _option_fix(option: str) -> str:
    if option.startswith(("-e", "--editable")):
        return (
            "a folder that can be edited is no fixed package. Put it into the code of the run, or "
            "build a wheel of it and name that"
        )
    if option.startswith(("-i", "--index", "--extra-index", "-f", "--find-links")):
        return "where packages come from is set on the server, in uv's configuration"
    return "it is an option of pip, not a requirement: list the packages themselves"


def _read_toml(path: Path) -> EnvironmentFile:
    try:
        data = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InvalidValue(f"{path}: this is not TOML: {error}.", field="-f") from error
    except RecursionError as error:
        raise _too_deep(path) from error
    if isinstance(data.get("package"), list) and "version" in data:
        try:
            return _from_uv_lock(path, data)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidValue(f"{path} is not as uv writes it: {error!r}.", field="-f") from error
    if isinstance(data.get("project"), dict):
        return _from_pyproject(path, data)
    if "poetry" in _table(path, data.get("tool"), "tool"):
        raise InvalidValue(
            f"{path}: its dependencies are written for Poetry only. Export them first "
            "(`poetry export -o requirements.txt`) and give that file.",
            field="-f",
        )
    raise _unknown(path)


def _from_pyproject(path: Path, data: Table) -> EnvironmentFile:
    project = _table(path, data["project"], "project")
    if "dependencies" in _texts(path, project.get("dynamic"), "project.dynamic"):
        raise InvalidValue(
            f"{path}: its dependencies are computed when it is built (`dynamic`). Lock them first "
            "(`uv lock`) and give uv.lock.",
            field="-f",
        )
    uv = _table(path, _table(path, data.get("tool"), "tool").get("uv"), "tool.uv")
    for name in _table(path, uv.get("sources"), "tool.uv.sources"):
        raise InvalidValue(
            f"{path}: [tool.uv.sources] takes {name} from elsewhere, which only uv itself follows. "
            "Lock first (`uv lock`) and give uv.lock.",
            field="-f",
        )
    pip = _texts(path, project.get("dependencies"), "project.dependencies")
    made = EnvironmentFile("pyproject.toml", {"pip": pip})
    python = _EXACT_PYTHON.fullmatch(str(project.get("requires-python", "")))
    if python:
        made.body["python"] = python[1]
    elif "requires-python" in project:
        made.notes.append(
            f"requires-python {project['requires-python']} names no one version: the server's own "
            "Python is taken unless you give --python."
        )
    for holder, name in ((project, "optional-dependencies"), (data, "dependency-groups")):
        groups = _table(path, holder.get(name), name)
        if groups:
            made.notes.append(f"{name} are left out: {', '.join(groups)}.")
    made.notes.append("The project itself is left out: it is the code of the run.")
    return made


def _from_uv_lock(path: Path, data: Table) -> EnvironmentFile:
    """Pin what the lock pins; what is needed on some systems only keeps that condition."""
    made = EnvironmentFile("uv.lock", {"pip": []})
    packages = cast("Sequence[Table]", data["package"])
    conditions = _conditions(packages)
    for package in packages:
        name, source = str(package["name"]), cast("Table", package.get("source", {}))
        if source.get("editable") == "." or source.get("virtual") == ".":
            made.notes.append(f"{name} itself is left out: it is the code of the run.")
            continue
        if "virtual" in source:
            continue
        requirement = _pinned(path, package, source)
        markers = conditions.get((name, str(package.get("version", ""))), {""})
        if "" not in markers:
            requirement += " ; " + " or ".join(f"({one})" for one in sorted(markers))
        made.body["pip"].append(requirement)
    python = _EXACT_PYTHON.fullmatch(str(data.get("requires-python", "")))
    if python:
        made.body["python"] = python[1]
    return made


def _conditions(packages: Sequence[Table]) -> dict[tuple[str, str], set[str]]:
    """Under which conditions each package is needed; an empty one: always."""
    versions: dict[str, list[str]] = {}
    for package in packages:
        versions.setdefault(str(package["name"]), []).append(str(package.get("version", "")))
    found: dict[tuple[str, str], set[str]] = {}
    for package in packages:
        groups = [
            package.get("dependencies", ()),
            *package.get("optional-dependencies", {}).values(),
            *package.get("dev-dependencies", {}).values(),
        ]
        for need in (need for group in groups for need in cast("Sequence[Table]", group)):
            wanted = [str(need["version"])] if "version" in need else versions[str(need["name"])]
            for version in wanted:
                key = (str(need["name"]), version)
                found.setdefault(key, set()).add(str(need.get("marker", "")))
    return found


def _pinned(path: Path, package: Table, source: Table) -> str:
    name = str(package["name"])
    if "registry" in source:
        return f"{name}=={package['version']}"
    if "git" in source:
        url, _, commit = str(source["git"]).partition("#")
        return f"{name} @ git+{url.partition('?')[0]}@{commit}"
    if "url" in source:
        archives = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        sums = [str(one["hash"]) for one in archives if "hash" in one]
        if sums:
            return f"{name} @ {source['url']}#{sums[0].replace(':', '=')}"
    where = next((f"{kind} {value}" for kind, value in source.items()), "nowhere")
    raise InvalidValue(
        f"{path}: {name} comes from {without_secrets(where)}, which no other machine has. Put it "
        "into the code of the run, or build a wheel of it and name that.",
        field="-f",
    )


def _read_yaml(path: Path) -> EnvironmentFile:
    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        data: object = yaml.safe_load(text)
    except yaml.YAMLError:
        read_spec_file(path)  # says where and why
        raise
    except RecursionError as error:
        raise _too_deep(path) from error
    except ValueError as error:  # as of a date that there is not
        raise InvalidValue(
            f"{path}: a value cannot be read ({error}): put it in quotes.", field="-f"
        ) from error
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise _unknown(path)
    table = cast("Table", data)
    if len(table) == 1 and "dependencies" not in table and "kernelSpec" not in table:
        read = read_spec_file(path)
        if not isinstance(read.spec, EnvironmentSpec):
            raise InvalidValue(
                f"{path} is an experiment: run it with `seafloor run -f {path}`.", field="-f"
            )
        return EnvironmentFile("spec", dict(read.body))
    if "kernelSpec" in table or "dockerImage" in table:
        return _from_submarine(path, table)
    if "dependencies" in table:
        return _from_conda(path, table, node)
    raise _unknown(path)


def _from_submarine(path: Path, table: Table) -> EnvironmentFile:
    """The words of Submarine's environments: ``dockerImage`` and ``kernelSpec``."""
    made = EnvironmentFile("Submarine", {})
    kernel = _table(path, table.get("kernelSpec"), "kernelSpec")
    known = {"name", "channels", "condaDependencies", "pipDependencies"}
    strange = [f"kernelSpec.{key}" for key in kernel if key not in known]
    strange += [
        key
        for key in table
        if key not in {"name", "dockerImage", "kernelSpec", "description", "image"}
    ]
    if strange:
        raise InvalidValue(
            f"{path}: an environment of Submarine has no field {strange[0]}.", field="-f"
        )
    made.body["pip"] = _texts(path, kernel.get("pipDependencies"), "kernelSpec.pipDependencies")
    packages = _texts(path, kernel.get("condaDependencies"), "kernelSpec.condaDependencies")
    if packages:
        channels = _texts(path, kernel.get("channels"), "kernelSpec.channels") or ["defaults"]
        made.body["conda"] = {"channels": channels, "packages": packages}
    for key, ours in (("name", "name"), ("dockerImage", "image"), ("description", "description")):
        if table.get(key):
            made.body[ours] = table[key]
    return made


def _from_conda(path: Path, table: Table, node: yaml.MappingNode) -> EnvironmentFile:
    made = EnvironmentFile("environment.yml", {})
    pairs = cast("Sequence[tuple[yaml.Node, yaml.Node]]", node.value)
    listed = next((value for key, value in pairs if key.value == "dependencies"), node)
    if not isinstance(listed, yaml.SequenceNode):
        raise InvalidValue(
            f"{path}:{listed.start_mark.line + 1}: `dependencies` must be a list.", field="-f"
        )
    packages: list[str] = []
    pip: list[str] = []
    for item in cast("Sequence[yaml.Node]", listed.value):
        line = item.start_mark.line + 1
        if isinstance(item, yaml.ScalarNode):
            packages.append(str(item.value))
        elif isinstance(item, yaml.MappingNode) and [key.value for key, _ in item.value] == ["pip"]:
            pip += _requirements(path, _texts_of(path, item.value[0][1]))
        else:
            raise _refused(path, line, "a list", "only `pip:` may hold one")
    channels = _texts(path, table.get("channels"), "channels")
    if packages:
        made.body["conda"] = {
            "channels": [one for one in channels if one != "nodefaults"],
            "packages": packages,
        }
        if not channels:
            made.notes.append("It names no channels: conda-forge is taken.")
    made.body["pip"] = pip
    if table.get("name"):
        made.body["name"] = str(table["name"])
    if table.get("variables"):
        made.notes.append(
            "variables are left out: give them to the run (`env:`), "
            f"{', '.join(_table(path, table['variables'], 'variables'))}."
        )
    return made


def _texts_of(path: Path, node: yaml.Node) -> Iterable[tuple[int, str]]:
    """The items of what stands under ``pip:``, with their lines."""
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.SequenceNode):
        raise InvalidValue(
            f"{path}:{line}: `pip` must be a list: write each package on a line of its own, after "
            '"- ".',
            field="-f",
        )
    for item in cast("Sequence[yaml.Node]", node.value):
        if not isinstance(item, yaml.ScalarNode):
            raise _refused(
                path,
                item.start_mark.line + 1,
                "a list or mapping",
                'a package under `pip:` is a text, as in "- six"',
            )
        yield item.start_mark.line + 1, str(item.value)


def _texts(path: Path, value: object, what: str) -> list[str]:
    if value is None:
        return []
    listed = cast("list[object]", value) if isinstance(value, list) else [None]
    if not all(isinstance(one, str) for one in listed):
        raise InvalidValue(f"{path}: `{what}` must be a list of texts.", field="-f")
    return cast("list[str]", listed)


def _table(path: Path, value: object, what: str) -> Table:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidValue(f"{path}: `{what}` must be a mapping.", field="-f")
    return cast("Table", value)


def _refused(path: Path, line: int, what: str, why: str) -> InvalidValue:
    what = without_secrets(what)
    shown = what if len(what) <= 120 else what[:117] + "…"
    return InvalidValue(f'{path}:{line}: "{shown}" is refused: {why}.', field="-f")


def _too_deep(path: Path) -> InvalidValue:
    return InvalidValue(
        f"{path} is nested too deeply: no file that says what an environment holds needs more than "
        "a few levels.",
        field="-f",
    )


def _unknown(path: Path) -> InvalidValue:
    return InvalidValue(
        f"{path} is no file that says what an environment holds: {_KNOWN}.", field="-f"
    )
