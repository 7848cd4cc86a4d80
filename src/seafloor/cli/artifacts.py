"""``seafloor artifacts``: list, get, put."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import click

from seafloor.cli.groups import LazyGroup
from seafloor.cli.output import Column, print_json, print_table, say
from seafloor.cli.quantities import shown_size
from seafloor.cli.session import Given, json_option, pass_given, server_options

if TYPE_CHECKING:
    from seafloor.domain.artifacts import ArtifactFile
    from seafloor.sdk.client import Client
    from seafloor.sdk.downloads import Progress

_HOMES = {
    "list": ("seafloor.cli.artifacts:list_files", "List the files of a run."),
    "get": ("seafloor.cli.artifacts:get", "Fetch a file or a folder."),
    "put": ("seafloor.cli.artifacts:put", "Keep a file or a folder with a run."),
}


@click.group(cls=LazyGroup, homes=_HOMES)
def artifacts() -> None:
    """List, fetch and keep files of a run."""


@click.command("list")
@click.argument("run", metavar="RUN")
@click.argument("folder", metavar="[FOLDER]", default="")
@click.option("--recursive", "-r", is_flag=True, help="All files below, with their digests.")
@server_options
@json_option
@pass_given
def list_files(given: Given, run: str, folder: str, *, recursive: bool) -> None:
    """List the files of a run, folder by folder."""
    from seafloor.cli.references import find_run

    client = given.client
    found = find_run(client, run)
    folder = folder.strip("/")
    columns = [Column("size", "right"), Column("path", wrap=True)]
    if recursive:
        files = list(client.artifacts.iterate(found.id, folder))
        if given.json:
            print_json({"folder": folder, "items": files})
            return
        rows = [[shown_size(file.size_bytes), file.sha256[:12], file.path] for file in files]
        print_table([columns[0], Column("sha256"), columns[1]], rows)
        return
    entries = list(client.artifacts.entries(found.id, folder))
    if given.json:
        print_json({"folder": folder, "items": entries})
    elif not entries:
        say("No files.")
    else:
        print_table(
            columns,
            [
                [
                    shown_size(entry.size_bytes),
                    f"{entry.path}/  ({entry.files} files)" if entry.is_folder else entry.path,
                ]
                for entry in entries
            ],
        )


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("path", metavar="[PATH]", default="")
@click.option(
    "--to",
    "target",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="Where to; the folder you are in without it.",
)
@server_options
@json_option
@pass_given
def get(given: Given, run: str, path: str, target: Path) -> None:
    """Fetch a file or a folder, or without PATH all files.

    Every file is checked by its digest, and stands there only when it is whole.
    """
    from seafloor.cli.references import find_run
    from seafloor.sdk.transfers import transfer

    client = given.client
    found = find_run(client, run)
    path = path.strip("/")
    files = _files_at(client, found.id, path)
    parent = PurePosixPath(path).parent if path else PurePosixPath()

    def fetch(path: str, progress: Progress) -> dict[str, object]:
        there = target / PurePosixPath(path).relative_to(parent)
        size_bytes = client.artifacts.get(found.id, path, there, progress=progress)
        return {"path": path, "file": str(there), "size_bytes": size_bytes}

    with progress_bar("fetching", sum(file.size_bytes for file in files)) as moved:
        fetched = transfer([file.path for file in files], fetch, progress=moved)
    if given.json:
        print_json({"items": fetched.done})
    else:
        for item in fetched.done:
            click.echo(item["file"])
    if fetched.error is not None:
        _say_failed(fetched.failed or "", done=len(fetched.done), of=len(files))
        raise fetched.error


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("path", metavar="[PATH]", default="")
@server_options
@json_option
@pass_given
def put(given: Given, run: str, source: Path, path: str) -> None:
    """Keep a file or a folder with a run, as PATH or under its own name."""
    from seafloor.cli.references import find_run
    from seafloor.domain.errors import NotFound
    from seafloor.domain.names import check_path
    from seafloor.sdk.logged_files import kept_path
    from seafloor.sdk.transfers import transfer
    from seafloor.sdk.walking import kept_files

    if not source.exists():
        raise NotFound(f'There is no file or folder "{source}".', field="FILE")
    top = check_path(path.rstrip("/") or source.resolve().name, field="PATH")
    client = given.client
    found = find_run(client, run)
    if source.is_dir():
        files = list(kept_files(source, odd=_say_left_out, field="FILE"))
        if not files:
            say(f'"{source}" has no files.')
        pairs = [
            (file, kept_path(file, f"{top}/{file.relative_to(source).as_posix()}"))
            for file in files
        ]
    else:
        pairs = [(source, top)]

    def send(pair: tuple[Path, str], progress: Progress) -> ArtifactFile:
        file, name = pair
        return client.artifacts.put(found.id, name, file, progress=progress)

    with progress_bar("sending", sum(_size_bytes(file) for file, _ in pairs)) as moved:
        kept = transfer(pairs, send, progress=moved)
    if given.json:
        print_json({"items": kept.done})
    else:
        for file in kept.done:
            click.echo(f"{file.path}  {shown_size(file.size_bytes)}")
    if kept.error is not None:
        _say_failed(kept.failed[1] if kept.failed else "", done=len(kept.done), of=len(pairs))
        raise kept.error


def _say_left_out(path: Path) -> None:
    say(f'Left out, as it is no file that can be kept: "{path}".')


def _say_failed(path: str, *, done: int, of: int) -> None:
    """Say which file the error is of; what is there was printed."""
    if of > 1:
        say(f'"{path}" failed. {done} of {of} files are there; no other was begun.')


def _size_bytes(file: Path) -> int:
    """For the bar; who sends it says what is wrong with it."""
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _files_at(client: Client, run_id: str, path: str) -> list[ArtifactFile]:
    """The file at a path, or all files of the folder there.

    Raises:
        NotFound: there is neither.
    """
    from seafloor.domain.errors import NotFound

    files = list(client.artifacts.iterate(run_id, path))
    if not files and path:
        parent = "" if "/" not in path else path.rpartition("/")[0]
        files = [file for file in client.artifacts.iterate(run_id, parent) if file.path == path]
    if not files:
        what = f'no file or folder "{path}"' if path else "no files"
        raise NotFound(f"The run has {what}: `seafloor artifacts list` shows them.", field="PATH")
    return files


@contextmanager
def progress_bar(title: str, total_bytes: int) -> Generator[Callable[[int], None]]:
    """Show a bar on standard error while bytes are moved; nothing where there is no terminal."""
    if not sys.stderr.isatty():
        yield lambda _size_bytes: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = (TextColumn(title), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total_bytes)
        yield lambda size_bytes: bar.advance(task, size_bytes)
