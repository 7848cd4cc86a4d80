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
from urllib.parse import parse_qs

import yaml

from seafloor.cli.requirement_files import Requirements, read_requirements, refused
from seafloor.cli.spec_files import read_spec_file, read_text, refuse_doubles
from seafloor.domain.addresses import without_secrets
from seafloor.domain.errors import InvalidValue
from seafloor.domain.specs import EnvironmentSpec

_KNOWN: Final = (
    "requirements.txt, pyproject.toml, uv.lock, environment.yml, a kernel spec of Submarine, or a "
    "spec with `environment:` on top"
)
_EXACT_PYTHON: Final = re.compile(r"==\s*(3\.\d+(\.\d+)?)(\.\*)?")

_PYPI: Final = "https://pypi.org/simple"
_OF_UV_CHOOSING: Final = frozenset(
    {"constraint-dependencies", "exclude-dependencies", "override-dependencies", "exclude-newer"}
)
"""Keys of [tool.uv] without which other versions would be chosen."""
_OF_UV_ELSEWHERE: Final = frozenset(
    {
        *("cache-keys", "default-groups", "dependency-groups", "managed", "package"),
        *("required-version", "sources", "workspace"),
    }
)
"""Keys of [tool.uv] that say nothing of what is installed, or are looked at by themselves."""
_OF_CONDA: Final = frozenset({"name", "channels", "dependencies", "variables", "prefix"})

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
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InvalidValue(
            f'"{path}" is a pipe or a device, and only the name of a file says of which kind it '
            "is: write it to a file. Requirements can come through a pipe, with -r."
        )
    if path.suffix in (".toml", ".lock"):
        return _read_toml(path)
    if path.suffix in (".yml", ".yaml", ".json"):
        return _read_yaml(path)
    found = read_requirements(path)
    return EnvironmentFile("requirements", {"pip": found.pip}, found.notes)


def _read_toml(path: Path) -> EnvironmentFile:
    try:
        data = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise InvalidValue(f"{path}: this is not TOML: {error}.") from error
    except RecursionError as error:
        raise _too_deep(path) from error
    if isinstance(data.get("package"), list) and "version" in data:
        try:
            return _from_uv_lock(path, data)
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidValue(f"{path} is not as uv writes it: {error!r}.") from error
    if isinstance(data.get("project"), dict):
        return _from_pyproject(path, data)
    if "poetry" in _table(path, data.get("tool"), "tool"):
        raise InvalidValue(
            f"{path}: its dependencies are written for Poetry only. Export them first "
            "(`poetry export -o requirements.txt`) and give that file."
        )
    raise _unknown(path)


def _from_pyproject(path: Path, data: Table) -> EnvironmentFile:
    project = _table(path, data["project"], "project")
    if "dependencies" in _texts(path, project.get("dynamic"), "project.dynamic"):
        raise InvalidValue(
            f"{path}: its dependencies are computed when it is built (`dynamic`). Lock them first "
            "(`uv lock`) and give uv.lock."
        )
    tool = _table(path, data.get("tool"), "tool")
    uv = _table(path, tool.get("uv"), "tool.uv")
    for name in _table(path, uv.get("sources"), "tool.uv.sources"):
        raise InvalidValue(
            f"{path}: [tool.uv.sources] takes {name} from elsewhere, which only uv itself follows. "
            "Lock first (`uv lock`) and give uv.lock."
        )
    choosing = sorted(_OF_UV_CHOOSING & uv.keys())
    if choosing:
        raise InvalidValue(
            f"{path}: [tool.uv] has {', '.join(choosing)}, which only uv itself follows. Lock "
            "first (`uv lock`) and give uv.lock."
        )
    pip = _texts(path, project.get("dependencies"), "project.dependencies")
    made = EnvironmentFile("pyproject.toml", {"pip": pip})
    _take_python(made, project)
    for holder, name in ((project, "optional-dependencies"), (data, "dependency-groups")):
        groups = _table(path, holder.get(name), name)
        if groups:
            made.notes.append(f"{name} are left out: {', '.join(groups)}.")
    left_out = [f"tool.uv.{key}" for key in sorted(uv.keys() - _OF_UV_ELSEWHERE)]
    if "poetry" in tool:
        left_out.append("tool.poetry")
    if left_out:
        made.notes.append(
            f"{', '.join(left_out)}: left out. Where packages come from, and how they are built, "
            "is set on the server."
        )
    made.notes.append("The project itself is left out: it is the code of the run.")
    return made


def _take_python(made: EnvironmentFile, holder: Table) -> None:
    """Take the Python of ``requires-python``, or say that it names none."""
    wanted = holder.get("requires-python")
    python = _EXACT_PYTHON.fullmatch(str(wanted))
    if python:
        made.body["python"] = python[1]
    elif wanted is not None:
        made.notes.append(
            f"requires-python {wanted} names no one version: the server's own Python is taken "
            "unless you give --python."
        )


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
            made.notes.append(f"{name} is left out: it is no package, but a member of the project.")
            continue
        requirement = _pinned(path, package, source)
        markers = conditions.get((name, str(package.get("version", ""))), {""})
        if any("extra ==" in marker for marker in markers):
            raise InvalidValue(
                f"{path}: {name} depends on which extra or group is chosen, and an environment has "
                "all of them. Export those that you mean (`uv export -o requirements.txt`) and "
                "give that file."
            )
        if "" not in markers:
            requirement += " ; " + " or ".join(f"({one})" for one in sorted(markers))
        made.body["pip"].append(requirement)
    _take_python(made, data)
    indexes = {str(package.get("source", {}).get("registry", _PYPI)) for package in packages}
    for index in sorted(indexes - {_PYPI}):
        made.notes.append(
            f"The index {without_secrets(index)} is left out: the server looks for these packages "
            "where its own configuration says, under the same names and versions."
        )
    if any("hash" in file for package in packages for file in package.get("wheels", ())):
        made.notes.append(
            "The sums of files are left out: the lock has those of the server's index, and every "
            "file is compared with them."
        )
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
    if str(source.get("registry", "")).startswith(("https://", "http://")):
        return f"{name}=={package['version']}"
    if "git" in source:
        url, _, commit = str(source["git"]).partition("#")
        url, _, query = url.partition("?")
        folder = parse_qs(query).get("subdirectory", [""])[0]
        return f"{name} @ git+{url}@{commit}" + (f"#subdirectory={folder}" if folder else "")
    if "url" in source:
        archives = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        sums = [str(one["hash"]) for one in archives if "hash" in one]
        if sums:
            folder = f"&subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
            return f"{name} @ {source['url']}#{sums[0].replace(':', '=')}{folder}"
    where = next((f"{kind} {value}" for kind, value in source.items()), "nowhere")
    raise InvalidValue(
        f"{path}: {name} comes from {without_secrets(where)}, which no other machine has. Put it "
        "into the code of the run, or build a wheel of it and name that."
    )


def _read_yaml(path: Path) -> EnvironmentFile:
    text = read_text(path)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        refuse_doubles(node)
        data: object = yaml.safe_load(text)
    except yaml.YAMLError:
        read_spec_file(path)  # says where and why
        raise
    except RecursionError as error:
        raise _too_deep(path) from error
    except ValueError as error:  # as of a date that there is not
        raise InvalidValue(
            f"{path}: a value cannot be read ({error}): put it in quotes."
        ) from error
    if not isinstance(data, dict) or not isinstance(node, yaml.MappingNode):
        raise _unknown(path)
    table = cast("Table", data)
    if len(table) == 1 and "dependencies" not in table and "kernelSpec" not in table:
        read = read_spec_file(path)
        if not isinstance(read.spec, EnvironmentSpec):
            raise InvalidValue(f"{path} is an experiment: run it with `seafloor run -f {path}`.")
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
        raise InvalidValue(f"{path}: an environment of Submarine has no field {strange[0]}.")
    made.body["pip"] = _texts(path, kernel.get("pipDependencies"), "kernelSpec.pipDependencies")
    packages = _texts(path, kernel.get("condaDependencies"), "kernelSpec.condaDependencies")
    if packages:
        channels = _texts(path, kernel.get("channels"), "kernelSpec.channels") or ["defaults"]
        made.body["conda"] = {"channels": channels, "packages": packages}
    left_out = [f"kernelSpec.{key}" for key in ("name",) if kernel.get(key)]
    left_out += [key for key in ("image",) if table.get(key)]
    if kernel.get("channels") and not packages:
        left_out.append("kernelSpec.channels")
    if left_out:
        made.notes.append(
            f"{', '.join(left_out)}: left out, as an environment here has one name, the image of "
            "dockerImage, and channels for packages of conda."
        )
    for key, ours in (("name", "name"), ("dockerImage", "image"), ("description", "description")):
        if table.get(key):
            made.body[ours] = table[key]
    return made


def _from_conda(path: Path, table: Table, node: yaml.MappingNode) -> EnvironmentFile:
    made = EnvironmentFile("environment.yml", {})
    pairs = cast("Sequence[tuple[yaml.Node, yaml.Node]]", node.value)
    listed = next((value for key, value in pairs if key.value == "dependencies"), node)
    if not isinstance(listed, yaml.SequenceNode):
        raise InvalidValue(f"{path}:{listed.start_mark.line + 1}: `dependencies` must be a list.")
    packages: list[str] = []
    pip = Requirements()
    for item in cast("Sequence[yaml.Node]", listed.value):
        line = item.start_mark.line + 1
        if isinstance(item, yaml.ScalarNode):
            packages.append(str(item.value))
        elif isinstance(item, yaml.MappingNode) and [key.value for key, _ in item.value] == ["pip"]:
            pip.add(path, _texts_of(path, item.value[0][1]))
        else:
            raise refused(path, line, "a list", "only `pip:` may hold one")
    channels = _texts(path, table.get("channels"), "channels")
    if packages:
        made.body["conda"] = {
            "channels": [one for one in channels if one != "nodefaults"],
            "packages": packages,
        }
    made.body["pip"] = pip.pip
    made.notes.extend(pip.notes)
    if table.get("name"):
        made.body["name"] = str(table["name"])
    made.notes.extend(_left_out_of_conda(path, table, made.body.get("conda"), channels))
    return made


def _left_out_of_conda(
    path: Path, table: Table, conda: Table | None, channels: Sequence[str]
) -> Iterable[str]:
    if conda is None and channels:
        yield "channels are left out: it has no packages of conda."
    elif conda is not None and not conda["channels"]:
        yield "It names no channels: conda-forge is taken."
    elif "nodefaults" in channels:
        yield "nodefaults is left out: only the channels that are named are asked anyway."
    if table.get("variables"):
        names = ", ".join(_table(path, table["variables"], "variables"))
        yield f"variables are left out: give them to the run (`env:`), {names}."
    others = [str(key) for key in table if key not in _OF_CONDA or key == "prefix"]
    if others:
        yield f"{', '.join(others)}: left out, since they say nothing of what it holds."


def _texts_of(path: Path, node: yaml.Node) -> Iterable[tuple[int, str]]:
    """The items of what stands under ``pip:``, with their lines."""
    if isinstance(node, yaml.ScalarNode) and not node.value:
        return
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.SequenceNode):
        raise InvalidValue(
            f"{path}:{line}: `pip` must be a list: write each package on a line of its own, after "
            '"- ".'
        )
    for item in cast("Sequence[yaml.Node]", node.value):
        if not isinstance(item, yaml.ScalarNode):
            raise refused(
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
        raise InvalidValue(f"{path}: `{what}` must be a list of texts.")
    return cast("list[str]", listed)


def _table(path: Path, value: object, what: str) -> Table:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidValue(f"{path}: `{what}` must be a mapping.")
    return cast("Table", value)


def _too_deep(path: Path) -> InvalidValue:
    return InvalidValue(
        f"{path} is nested too deeply: no file that says what an environment holds needs more than "
        "a few levels."
    )


def _unknown(path: Path) -> InvalidValue:
    return InvalidValue(f"{path} is no file that says what an environment holds: {_KNOWN}.")
