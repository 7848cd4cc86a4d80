"""``seafloor env``: create, list, show, compare, remove environments."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seafloor.cli.groups import LazyGroup
from seafloor.cli.output import Column, print_json, print_table, say
from seafloor.cli.quantities import shown_age, shown_size
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.wire.environments import EnvironmentView

_HOMES = {
    "create": ("seafloor.cli.env:create", "Lock an environment; runs share what is built of it."),
    "list": ("seafloor.cli.env:list_environments", "List environments."),
    "show": ("seafloor.cli.env:show", "Show an environment with its lock."),
    "diff": ("seafloor.cli.env:diff", "Compare the packages of two environments, or of two runs."),
    "freeze": ("seafloor.cli.freezing:freeze", "Make one of what a Python has installed."),
    "rm": ("seafloor.cli.env:remove", "Remove a version, or all versions."),
}

_project_option = click.option("--project", metavar="NAME", help="Its project.")


@click.group(cls=LazyGroup, homes=_HOMES)
def env() -> None:
    """Create, list, show, compare, freeze, remove environments."""


@click.command()
@click.argument("name", metavar="[NAME]", required=False)
@click.option(
    "--file",
    "-f",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A spec, requirements.txt, pyproject.toml, uv.lock, environment.yml, or a kernel spec of "
    "Submarine.",
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
@click.option("--image", metavar="IMAGE", help="A docker image; its tag's digest is recorded.")
@click.option("--description", metavar="TEXT", help="What it is for.")
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
    tell_locked(view)


def tell_locked(view: EnvironmentView) -> None:
    """Say in one line which version a name has now, and what is in it."""
    packages = shown_count(len(view.environment.lock.splitlines()), "package")
    click.echo(f"{view.reference}  python {view.environment.python}, {packages} locked")


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
    if environment.description:
        click.echo(environment.description)
    if environment.image:
        click.echo(f"image {environment.image}")
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
    versions = shown_count(removed.versions, "version")
    click.echo(f"{versions} removed, {shown_size(removed.freed_bytes)} freed")


@click.command()
@click.argument("one", metavar="A")
@click.argument("other", metavar="B")
@_project_option
@server_options
@json_option
@pass_given
def diff(given: Given, one: str, other: str, project: str | None) -> None:
    """Compare the packages of A and B: each NAME[@VERSION], or a run."""
    from seafloor.domain.environments import compare_environments

    views = [_environment_of(given, reference, project=project) for reference in (one, other)]
    found = compare_environments(views[0].environment, views[1].environment)
    names = [view.reference for view in views]
    if given.json:
        print_json({"environments": names, "differences": found})
        return
    if not found:
        say(f"{names[0]} and {names[1]} have the same packages.")
        return
    columns = [Column("what"), Column("name"), *(Column(name) for name in names)]
    print_table(columns, [(d.kind, d.name, d.before or "", d.after or "") for d in found])


def _environment_of(given: Given, reference: str, *, project: str | None) -> EnvironmentView:
    """An environment by its name, or that of a run."""
    from seafloor.cli.references import find_run
    from seafloor.domain.errors import InvalidValue, NotFound

    try:
        return given.client.environments.get(reference, project=project)
    except (InvalidValue, NotFound) as error:
        try:
            run = find_run(given.client, reference)
        except (InvalidValue, NotFound):
            raise error from None
    if run.environment is None:
        raise NotFound(
            f'The run "{run.name}" had no environment: it ran in the Python it was given.',
            field="environment",
        )
    return given.client.environments.get(run.environment, project=run.project)


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
    image: str | None,
    description: str | None,
) -> dict[str, Any]:
    from seafloor.cli.environment_files import read_environment_file
    from seafloor.cli.requirement_files import read_requirements
    from seafloor.domain.specs import parse_environment

    body: dict[str, Any] = {}
    if file is not None:
        read = read_environment_file(file)
        body = read.body
        for note in read.notes:
            say(note)
    listed = list(pip)
    for path in requirements:
        lines = read_requirements(path)
        listed += lines.pip
        for note in lines.notes:
            say(note)
    if listed:
        body["pip"] = [*body.get("pip", []), *listed]
    given = {"name": name, "python": python, "project": project}
    given |= {"image": image, "description": description}
    body.update({field: value for field, value in given.items() if value is not None})
    if "name" not in body:
        raise click.UsageError("Give the environment a NAME, or a file with one with -f.")
    parse_environment(body)
    return body
