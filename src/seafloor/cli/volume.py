"""``seafloor volume``: folders that outlive runs, with snapshots."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from seafloor.cli.groups import LazyGroup
from seafloor.cli.output import Column, print_json, print_table, say
from seafloor.cli.quantities import shown_age, shown_size, shown_time
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.domain.volumes import VolumeClaim, VolumeHolder, VolumeSnapshot
    from seafloor.wire.volumes import VolumeUnderWay, VolumeUsage, VolumeView

_HOMES = {
    "create": ("seafloor.cli.volume:create", "Make a volume, empty."),
    "list": ("seafloor.cli.volume:list_volumes", "List volumes, and who has them."),
    "show": ("seafloor.cli.volume:show", "Show a volume: its size, snapshots, and who has it."),
    "snapshot": ("seafloor.cli.volume:snapshot", "Keep the content of a volume."),
    "restore": ("seafloor.cli.volume:restore", "Give a volume the content of a snapshot."),
    "resize": ("seafloor.cli.volume:resize", "Give a volume another size."),
    "rm": ("seafloor.cli.volume:remove", "Remove a volume and all that is in it."),
}

_project_option = click.option("--project", metavar="NAME", help="Its project.")
_yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask.")


@click.group(cls=LazyGroup, homes=_HOMES)
def volume() -> None:
    """Make, list, show, snapshot, restore, resize, remove volumes."""


@click.command()
@click.argument("name")
@click.option(
    "--access",
    type=click.Choice(["RWO", "RWX"], case_sensitive=False),
    default="RWO",
    show_default=True,
    help="RWO: one writer at a time; RWX: many. Any number may read.",
)
@click.option(
    "--size",
    metavar="SIZE",
    help="Such as 20Gi. A cluster needs it and keeps to it; a folder of this machine does not.",
)
@click.option("--class", "storage_class", metavar="CLASS", help="Storage class on Kubernetes.")
@_project_option
@server_options
@json_option
@pass_given
def create(
    given: Given,
    name: str,
    *,
    access: str,
    size: str | None,
    storage_class: str | None,
    project: str | None,
) -> None:
    """Make a volume, empty; a spec attaches it with `volumes: [{volume: NAME, path: /data}]`."""
    from seafloor.domain.volumes import AccessMode
    from seafloor.wire.volumes import VolumeCreate

    made = given.client.volumes.create(
        VolumeCreate(
            name=name,
            project=project or "default",
            access_mode=AccessMode(access.upper()),
            size=size,
            storage_class=storage_class,
        )
    )
    if given.json:
        print_json(made)
        return
    click.echo(f"{made.name}  {made.access_mode}, {_where(made)}")


@click.command("list")
@_project_option
@server_options
@json_option
@pass_given
def list_volumes(given: Given, project: str | None) -> None:
    """List volumes, and who has them attached."""
    found = list(given.client.volumes.iterate(project=project))
    if given.json:
        print_json({"items": found})
        return
    if not found:
        say("No volumes: make one with `seafloor volume create NAME`.")
        return
    columns = [
        Column("volume"),
        Column("project"),
        Column("access"),
        Column("size", "right"),
        Column("state"),
        Column("attached by"),
        Column("created"),
    ]
    print_table(columns, [_row(view) for view in found])


@click.command()
@click.argument("name")
@_project_option
@click.option("--no-count", is_flag=True, help="Do not look at its files to say what it holds.")
@server_options
@json_option
@pass_given
def show(given: Given, name: str, *, project: str | None, no_count: bool) -> None:
    """Show a volume: what it holds, its snapshots, and who has it attached."""
    volumes = given.client.volumes
    view = volumes.get(name, project=project)
    snapshots = volumes.snapshots(name, project=project).items
    usage = None if no_count or view.path is None else volumes.usage(name, project=project)
    if given.json:
        print_json({"volume": view, "usage": usage, "snapshots": snapshots})
        return
    click.echo(f"{view.name}  {view.access_mode}, {_state(view)}")
    for line in _site(view, usage):
        click.echo(line)
    for holder in view.holders:
        click.echo(f"attached by {_holder(holder)}")
    if view.problem:
        click.echo(f"the last snapshot or restore failed: {view.problem}")
    if snapshots:
        click.echo("")
        _print_snapshots(snapshots)


@click.command()
@click.argument("name")
@_project_option
@server_options
@json_option
@pass_given
def snapshot(given: Given, name: str, project: str | None) -> None:
    """Keep the content of a volume as it is now; refused while a run writes to it."""
    with _progress("snapshot") as told:
        made = given.client.volumes.snapshot(name, project=project, told=told)
    if given.json:
        print_json(made)
        return
    if made.sha256 is None:
        click.echo(f"snapshot {made.number} of {name}  kept by the cluster")
        return
    left_out = ""
    if made.left_out:
        left_out = f"; left out, as sockets, fifos or devices: {made.left_out:,}"
    click.echo(
        f"snapshot {made.number} of {name}  {shown_count(made.files, 'file')}, "
        f"{shown_size(made.content_bytes)} in {shown_size(made.size_bytes)}{left_out}"
    )


@click.command()
@click.argument("name")
@click.argument("number", type=click.IntRange(min=1), metavar="SNAPSHOT")
@_project_option
@_yes_option
@server_options
@json_option
@pass_given
def restore(given: Given, name: str, number: int, *, project: str | None, yes: bool) -> None:
    """Give a volume the content of a snapshot; what it holds now is gone then."""
    if not yes and not given.json:
        click.confirm(
            f"Replace what {name} holds now with snapshot {number}?", abort=True, err=True
        )
    with _progress("restore") as told:
        view = given.client.volumes.restore(name, number, project=project, told=told)
    if given.json:
        print_json(view)
        return
    click.echo(f"{name} is as in snapshot {number}")


@click.command()
@click.argument("name")
@click.argument("size")
@_project_option
@server_options
@json_option
@pass_given
def resize(given: Given, name: str, size: str, *, project: str | None) -> None:
    """Give a volume another size, such as 50Gi; runs that have it go on.

    On a cluster it can only become larger, if its storage class allows that, and the cluster does
    it by and by: `seafloor volume show` says how far that is. On a machine it is a note.
    """
    view = given.client.volumes.resize(name, size, project=project)
    if given.json:
        print_json(view)
        return
    claim = view.claim
    click.echo(f"{name}  {_limit(view) if claim is None else claim.words}")


@click.command("rm")
@click.argument("name")
@click.option("--with-snapshots", is_flag=True, help="Remove its snapshots too.")
@_project_option
@_yes_option
@server_options
@json_option
@pass_given
def remove(
    given: Given, name: str, *, with_snapshots: bool, project: str | None, yes: bool
) -> None:
    """Remove a volume for good, and all that is in it; refused while it is attached."""
    if not yes and not given.json:
        what = "everything in it and its snapshots" if with_snapshots else "everything in it"
        click.confirm(f"Remove {name} with {what}, for good?", abort=True, err=True)
    removed = given.client.volumes.delete(name, project=project, with_snapshots=with_snapshots)
    if given.json:
        print_json(removed)
        return
    click.echo(f"{name} removed")


def _row(view: VolumeView) -> list[str]:
    return [
        view.name,
        view.project,
        view.access_mode,
        "" if view.size_bytes is None else shown_size(view.size_bytes),
        _state(view),
        ", ".join(_holder(holder) for holder in view.holders),
        shown_age(view.created_ns),
    ]


def _state(view: VolumeView) -> str:
    under_way = view.under_way
    if under_way is None and view.away:
        return "not here"
    if under_way is None and view.claim is not None and view.claim.state != "bound":
        return view.claim.words.rstrip(".")
    if under_way is None:
        growth = _growth(view.claim)
        return f"{'attached' if view.holders else 'free'}{growth}"
    doing = "restoring" if under_way.kind == "restore" else "making"
    return f"{doing} snapshot {under_way.snapshot}"


def _growth(claim: VolumeClaim | None) -> str:
    if claim is None or claim.resize is None:
        return ""
    size = "" if claim.requested_bytes is None else f" to {shown_size(claim.requested_bytes)}"
    if claim.resize == "failed":
        return f", could not grow{size}"
    return f", grows{size}" if claim.resize == "under_way" else f", grows{size} when attached"


def _where(view: VolumeView) -> str:
    claim = view.claim
    return f"in {view.path}" if claim is None else f"claim {claim.namespace}/{claim.name}"


def _site(view: VolumeView, usage: VolumeUsage | None) -> Iterator[str]:
    """Where it is, how large, and on what."""
    claim = view.claim
    if view.away:
        yield f"not to be had here: {view.away}"
        return
    if claim is None:
        yield f"folder {view.path}"
        yield f"holds {_held(usage)}; {_limit(view)}"
        if view.storage_class:
            yield f"storage class {view.storage_class} (on Kubernetes)"
        return
    yield f"claim {claim.namespace}/{claim.name}: {claim.words}"
    wanted = claim.requested_bytes or view.size_bytes
    asked = "" if wanted is None else f"{shown_size(wanted)} asked for"
    if claim.size_bytes is not None:
        asked = f"{shown_size(claim.size_bytes)}, {asked}"
    yield f"size {asked}"
    yield f"storage class {claim.storage_class or view.storage_class or 'of the cluster'}"


def _holder(holder: VolumeHolder) -> str:
    rights = " (reads)" if holder.read_only else ""
    return f"{holder.name} {holder.workload_id[-8:]}{rights}"


def _held(usage: VolumeUsage | None) -> str:
    if usage is None:
        return "what was not counted"
    return (
        f"{shown_count(usage.files, 'file')}, {shown_size(usage.content_bytes)} "
        f"({shown_size(usage.disk_bytes)} on the disk)"
    )


def _limit(view: VolumeView) -> str:
    if view.size_bytes is None:
        return "no limit but the disk"
    return f"meant to hold {shown_size(view.size_bytes)}, which nothing enforces on this machine"


def _print_snapshots(snapshots: tuple[VolumeSnapshot, ...]) -> None:
    columns = [
        Column("snapshot", "right"),
        Column("files", "right"),
        Column("content", "right"),
        Column("kept in", "right"),
        Column("made"),
    ]
    rows = [
        [
            str(one.number),
            f"{one.files:,}" if one.sha256 else "",
            shown_size(one.content_bytes) if one.sha256 else "",
            shown_size(one.size_bytes) if one.sha256 else "the cluster",
            shown_time(one.created_ns),
        ]
        for one in snapshots
    ]
    print_table(columns, rows)


@contextmanager
def _progress(title: str) -> Generator[Callable[[VolumeUnderWay], None]]:
    """Show a bar on standard error; nothing where there is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = (TextColumn(title), BarColumn(), DownloadColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def told(under_way: VolumeUnderWay) -> None:
            total = under_way.total_bytes or None
            bar.update(task, completed=under_way.done_bytes, total=total)

        yield told
