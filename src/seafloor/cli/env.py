"""``seafloor env``: create, list, show, remove environments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seafloor.cli.groups import LazyGroup
from seafloor.cli.output import Column, print_json, print_table, say
from seafloor.cli.quantities import shown_age, shown_size
from seafloor.cli.session import Given, json_option, pass_given, server_options

if TYPE_CHECKING:
    from seafloor.wire.environments import EnvironmentView

_HOMES = {
    "create": ("seafloor.cli.env:create", "Lock an environment; runs share what is built of it."),
    "list": ("seafloor.cli.env:list_environments", "List environments."),
    "show": ("seafloor.cli.env:show", "Show an environment with its lock."),
    "rm": ("seafloor.cli.env:remove", "Remove a version, or all versions."),
}

_project_option = click.option("--project", metavar="NAME", help="Its project.")


@click.group(cls=LazyGroup, homes=_HOMES)
def env() -> None:
    """Create, list, show, remove environments."""


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--file", "-f", type=click.Path(path_type=Path), metavar="SPEC", help="A spec (YAML)."
)
@click.option("--pip", multiple=True, metavar="REQ", help="A requirement, such as numpy>=2.")
@click.option(
    "--requirements",
    "-r",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="A file of requirements, one a line.",
)
@click.option("--python", metavar="X.Y", help="Which Python; the server's own without it.")
@_project_option
@server_options
@json_option
@pass_given
def create(given: Given, **what: Any) -> None:
    """Lock an environment. The same packages give the version that is there."""
    spec = _make_spec(**what)
    view = given.client.environments.create(spec)
    if given.json:
        print_json(view)
        return
    packages = len(view.environment.lock.splitlines())
    click.echo(f"{view.reference}  python {view.environment.python}, {packages} packages locked")


@click.command("list")
@_project_option
@server_options
@json_option
@pass_given
def list_environments(given: Given, project: str | None) -> None:
    """List environments, every version."""
    found = given.client.environments.list(project=project)
    if given.json:
        print_json(found)
        return
    if not found.items:
        say("No environments: make one with `seafloor env create NAME --pip PACKAGE`.")
        return
    columns = [
        Column("environment"),
        Column("python"),
        Column("packages", "right"),
        Column("built"),
        Column("created"),
    ]
    print_table(columns, [_row(view) for view in found.items])


@click.command()
@click.argument("reference", metavar="NAME[@VERSION]")
@_project_option
@server_options
@json_option
@pass_given
def show(given: Given, reference: str, project: str | None) -> None:
    """Show an environment with its lock."""
    view = given.client.environments.get(reference, project=project)
    if given.json:
        print_json(view)
        return
    environment = view.environment
    built = f"built, {shown_size(view.size_bytes or 0)}" if view.built else "not built here yet"
    click.echo(f"{view.reference}  python {environment.python}, {built}")
    click.echo(f"digest {environment.digest}")
    asked = [*environment.conda_packages, *environment.pip]
    click.echo(f"asked for: {', '.join(asked) or 'no packages'}")
    if environment.conda_packages:
        click.echo(f"channels: {', '.join(environment.conda_channels) or 'conda-forge'}")
    click.echo(f"\n{environment.lock.rstrip()}")


@click.command("rm")
@click.argument("reference", metavar="NAME[@VERSION]")
@_project_option
@server_options
@json_option
@pass_given
def remove(given: Given, reference: str, project: str | None) -> None:
    """Remove a version, or all versions of a name; what no other needs leaves the disk."""
    removed = given.client.environments.delete(reference, project=project)
    if given.json:
        print_json(removed)
        return
    click.echo(f"{removed.versions} versions removed, {shown_size(removed.freed_bytes)} freed")


def _row(view: EnvironmentView) -> list[str]:
    environment = view.environment
    return [
        view.reference,
        environment.python,
        str(len(environment.lock.splitlines())),
        shown_size(view.size_bytes or 0) if view.built else "",
        shown_age(environment.created_ns),
    ]


def _make_spec(
    *,
    name: str | None,
    file: Path | None,
    pip: tuple[str, ...],
    requirements: tuple[Path, ...],
    python: str | None,
    project: str | None,
) -> dict[str, Any]:
    from seafloor.cli.spec_files import read_spec_file
    from seafloor.domain.specs import EnvironmentSpec, parse_environment

    body: dict[str, Any] = {}
    if file is not None:
        read = read_spec_file(file)
        if not isinstance(read.spec, EnvironmentSpec):
            raise click.UsageError(
                f"{file} is an experiment: run it with `seafloor run -f {file}`."
            )
        body = dict(read.body)
    listed = [*pip, *(line for path in requirements for line in _requirements(path))]
    if listed:
        body["pip"] = [*body.get("pip", []), *listed]
    given = {"name": name, "python": python, "project": project}
    body.update({field: value for field, value in given.items() if value is not None})
    if "name" not in body:
        raise click.UsageError("Give the environment a NAME, or a spec with -f.")
    parse_environment(body)
    return body


def _requirements(path: Path) -> list[str]:
    """Read a file of requirements.

    Raises:
        InvalidValue: a line is an option of pip, which a lock cannot keep.
    """
    from seafloor.domain.errors import InvalidValue

    listed: list[str] = []
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    for number, line in enumerate(text.splitlines(), start=1):
        requirement = line.split(" #")[0].split(" --hash")[0].strip()
        if not requirement or requirement.startswith("#"):
            continue
        if requirement.startswith("-"):
            raise InvalidValue(
                f'{path}:{number}: "{requirement}" is an option of pip, not a requirement: '
                "list the packages themselves.",
                field="--requirements",
            )
        listed.append(requirement)
    return listed
