"""``seafloor artifacts``: list, get, put."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

import click

from seafloor.cli.groups import LazyGroup
from seafloor.cli.output import Column, plain, print_json, print_table, say
from seafloor.cli.quantities import shown_size
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.domain.artifacts import ArtifactFile
    from seafloor.sdk.client import Client
    from seafloor.sdk.downloads import Progress
    from seafloor.sdk.transfers import Transferred

_NAMED_MAX: Final = 20
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
                    f"{entry.path}/  ({shown_count(entry.files, 'file')})"
                    if entry.is_folder
                    else entry.path,
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
def get(given: Given, run: str, path: str, target: Path) -> int:
    """Fetch a file or a folder, or without PATH all files.

    Every file is checked by its digest, and stands there only when it is whole. What is there
    already is not fetched again; of several files those that fail are named, and the others come.
    """
    from seafloor.cli.references import find_run
    from seafloor.sdk.transfers import transfer

    client = given.client
    found = find_run(client, run)
    path = path.strip("/")
    files = _files_at(client, found.id, path)
    parent = PurePosixPath(path).parent if path else PurePosixPath()

    def fetch(file: ArtifactFile, progress: Progress) -> dict[str, object]:
        there = target / PurePosixPath(file.path).relative_to(parent)
        size_bytes = client.artifacts.get(found.id, file.path, there, known=file, progress=progress)
        return {"path": file.path, "file": str(there), "size_bytes": size_bytes}

    with progress_bar("fetching", sum(file.size_bytes for file in files)) as moved:
        fetched = transfer(files, fetch, progress=moved)
    if given.json:
        print_json({"items": fetched.done})
    else:
        for item in fetched.done:
            click.echo(item["file"])
    return _end([(file.path, why) for file, why in fetched.failed], fetched)


@click.command()
@click.argument("run", metavar="RUN")
@click.argument("source", metavar="FILE", type=click.Path(path_type=Path))
@click.argument("path", metavar="[PATH]", default="")
@server_options
@json_option
@pass_given
def put(given: Given, run: str, source: Path, path: str) -> int:
    """Keep a file or a folder with a run, as PATH or under its own name.

    Of a folder, what is there already is not sent again; files that fail are named, and the others
    are kept.
    """
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
        pairs = [(file, f"{top}/{file.relative_to(source).as_posix()}") for file in files]
        there = {file.path: file for file in client.artifacts.iterate(found.id, top)}
    else:
        pairs, there = [(source, top)], {}

    def send(pair: tuple[Path, str], progress: Progress) -> ArtifactFile:
        file, name = pair
        kept_path(file, name)
        return client.artifacts.put(found.id, name, file, known=there.get(name), progress=progress)

    with progress_bar("sending", sum(_size_bytes(file) for file, _ in pairs)) as moved:
        kept = transfer(pairs, send, progress=moved)
    if given.json:
        print_json({"items": kept.done})
    else:
        for file in kept.done:
            click.echo(f"{file.path}  {shown_size(file.size_bytes)}")
    return _end([(name, why) for (_, name), why in kept.failed], kept)


def _say_left_out(path: Path) -> None:
    say(f'Left out, as it is no file that can be kept: "{path}".')


def _end(failed: list[tuple[str, BaseException]], moved: Transferred[Any, Any]) -> int:
    """Name the files that failed; what is there was printed.

    Returns:
        The exit code, which is that of the first failure.

    Raises:
        BaseException: why the only file failed, or what no file can be blamed for.
    """
    from seafloor.domain.errors import SeafloorError
    from seafloor.wire.exit_codes import OK, code_of_error

    codes: list[int] = []
    of = len(moved.done) + len(failed) + moved.left
    for _, why in failed:
        if of == 1 or not isinstance(why, SeafloorError):
            raise why
        codes.append(code_of_error(why))
    for path, why in failed[:_NAMED_MAX]:
        say(f'"{plain(path)}" failed: {plain(" ".join(str(why).split()))}')
    if len(failed) > _NAMED_MAX:
        say(f"{len(failed) - _NAMED_MAX} more failed.")
    if failed:
        left = f", not tried: {moved.left:,}" if moved.left else ""
        say(
            f"error: {len(failed):,} of {of:,} files failed{left}, there: {len(moved.done):,}. The "
            "same command goes on with those that are not."
        )
    return codes[0] if codes else OK


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
        if not path:
            raise NotFound("The run has no files.")
        raise NotFound(
            f'The run has no file or folder "{path}": `seafloor artifacts list` shows what it has.',
            field="PATH",
        )
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
