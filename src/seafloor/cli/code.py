"""``seafloor code``: what a run was made of, in a folder or beside that of another."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from seafloor.cli.groups import LazyGroup
from seafloor.cli.output import print_json, say
from seafloor.cli.session import Given, json_option, pass_given, server_options

if TYPE_CHECKING:
    from seafloor.code.cache_bounds import CacheBounds
    from seafloor.domain.code import ArchiveCode, LocalizedCode
    from seafloor.domain.ids import Sha256
    from seafloor.wire.runs import RunView

_HOMES = {
    "diff": ("seafloor.cli.code:diff", "Compare the code of two runs."),
    "checkout": ("seafloor.cli.code:checkout", "Put the code of a run into a folder."),
}


@click.group(cls=LazyGroup, homes=_HOMES)
def code() -> None:
    """Get and compare the code of runs."""


@click.command()
@click.argument("run", metavar="RUN")
@click.option(
    "--to",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="A new or empty folder; without it one named after the run, here.",
)
@server_options
@json_option
@pass_given
def checkout(given: Given, *, run: str, to: Path | None) -> None:
    """Put the code of a run into a folder, exactly as the run had it, with a receipt.

    \b
    seafloor code checkout @last
    seafloor code checkout 3f2a --to /tmp/again
    """
    from seafloor.cli.references import find_run
    from seafloor.domain.errors import Conflict

    found = find_run(given.client, run)
    source = _source_of(found)
    folder = (to if to is not None else Path(_folder_name(found))).absolute()
    if folder.exists() and not (folder.is_dir() and _is_empty(folder)):
        raise Conflict(f'"{folder}" is there already and not empty: choose another --to.')
    path = _put(given, found, source, folder)
    if given.json:
        print_json({"run": found.id, "path": str(path), "code": source})
    else:
        click.echo(str(path))
        say(f"the code of {found.name}: {_shown(source)}")


@click.command()
@click.argument("one", metavar="RUN")
@click.argument("other", metavar="RUN")
@click.option("--stat", is_flag=True, help="Name the files and how much of each changed.")
@server_options
@json_option
@pass_given
def diff(given: Given, *, one: str, other: str, stat: bool) -> None:
    """Compare the code of two runs, whichever kinds it is of, as git shows differences.

    Both are fetched, if need be, and compared file by file; nothing stays but the cache.
    """
    from seafloor.cli.references import find_run
    from seafloor.code.free_space import Growth
    from seafloor.code.git_command import GitOptions, run_git
    from seafloor.domain.errors import SourceError

    runs = [find_run(given.client, text) for text in (one, other)]
    sources = [_source_of(run) for run in runs]
    is_same, changes = True, list[dict[str, object]]()
    if not _is_same(*sources):
        with tempfile.TemporaryDirectory(prefix="seafloor-diff-") as name:
            scratch = Path(name)
            for run, source, side in zip(runs, sources, ("a", "b"), strict=True):
                path = _put(given, run, source, scratch / f"{side}-code")
                path.rename(scratch / side)
                for git_dir in sorted((scratch / side).rglob(".git")):
                    _remove(git_dir)  # of how it came here, which is no difference
            form = ["--numstat", "-z"] if given.json else ["--stat"] if stat else ["--patch"]
            colour = "always" if sys.stdout.isatty() else "never"
            # In a file, since nobody knows how much it is: a dataset may be among the code.
            with (scratch / "differences").open("w+b") as file:
                ended = run_git(
                    [
                        *("diff", "--no-index", "--no-ext-diff", "--no-textconv", "--no-renames"),
                        # Whatever the user has set for his own repositories.
                        *("--no-prefix", "--no-relative", "-O/dev/null", f"--color={colour}"),
                        *(*form, "--", "a", "b"),
                    ],
                    cwd=scratch,
                    options=GitOptions(
                        stdout=file, watch=Growth(scratch, "What differs between the two").look
                    ),
                )
                if ended.code not in {0, 1}:
                    reason = ended.stderr.strip().partition("\n")[0]
                    reason = reason or f"it ended with {ended.code}"
                    raise SourceError(
                        f"git could not compare the two: {reason}", detail=ended.stderr
                    )
                file.seek(0)
                is_same = not file.read(1)
                file.seek(0)
                if given.json:
                    changes = _changes(file.read())
                elif not is_same:
                    shutil.copyfileobj(file, sys.stdout.buffer)
    if given.json:
        print_json({"runs": [run.id for run in runs], "files": changes})
    elif is_same:
        say(f"{runs[0].name} and {runs[1].name} have the same code: {_shown(sources[0])}")


def _source_of(run: RunView) -> LocalizedCode:
    """The code of a run that somebody else can have too.

    Raises:
        NotFound: it had none that is kept.
    """
    from seafloor.domain.code import ImageCode
    from seafloor.domain.errors import NotFound

    if run.code is None or isinstance(run.code, ImageCode):
        raise NotFound(
            f'The run "{run.name}" has no code that is kept: '
            + ("it had none." if run.code is None else "it was where the command ran."),
            field="RUN",
        )
    return run.code


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing, or what a checkout that failed or was killed leaves."""
    from seafloor.code.localize import is_leftover

    return all(is_leftover(path.name) for path in folder.iterdir())


def _put(given: Given, run: RunView, source: LocalizedCode, to: Path) -> Path:
    """Localise the code of a run; say where its folder is."""
    from seafloor.code.file_archive import open_file
    from seafloor.code.localize import Means, localize
    from seafloor.domain.code import ArchiveCode, GitCode

    cache = given.settings.data / "cache"
    if isinstance(source, ArchiveCode):
        source = msgspec.structs.replace(source, sha256=_digest_of(given, run, source))
        _put_by_server_packages(given, source, to, cache)
    elif isinstance(source, GitCode) and (source.secret is not None or source.secrets):
        _put_by_server_packages(given, source, to, cache)
    else:

        def fetch(sha256: str, path: Path) -> None:
            given.client.snapshots.get(sha256, path)

        tell = _tell_nobody if given.json else say
        means = Means(cache, fetch, open_file, tell, bounds=_bounds(given))
        localize(source, code_dir=to, means=means)
    return to / source.folder


def _bounds(given: Given) -> CacheBounds:
    """How much the cache of the data folder may keep: as the server on that folder has it set."""
    from seafloor.code.cache_bounds import DEFAULT, bounds_of
    from seafloor.domain.errors import Forbidden

    try:
        server = given.client.server()
    except Forbidden:  # the token is one of a run: its server tells it nothing of itself
        return DEFAULT
    if server.data_dir != str(given.settings.data):
        return DEFAULT  # it is another cache
    return bounds_of({name: told["value"] for name, told in server.settings.items()})


def _digest_of(given: Given, run: RunView, source: ArchiveCode) -> Sha256:
    """What the run got has a digest even when the user gave none.

    Raises:
        SourceError: it got nothing.
    """
    from seafloor.domain.errors import SourceError

    attempts = given.client.runs.attempts(run.id).items
    receipts = [each.receipts.get(source.folder) for each in attempts]
    digests = [source.sha256, *(each.sha256 for each in receipts if each is not None)]
    digest = next((each for each in digests if each is not None), None)
    if digest is None:
        raise SourceError(
            f'Nothing proves which archive the run "{run.name}" had: it was never fetched for it.'
        )
    return digest


def _put_by_server_packages(given: Given, source: LocalizedCode, to: Path, cache: Path) -> None:
    """Ask the program that knows object stores, and the secrets of this machine."""
    from seafloor.domain.errors import SourceError

    command = [sys.executable, "-m", "seafloor.boot", "localize", "--json"]
    ended = subprocess.run(
        [*command, "--to", str(to), "--cache", str(cache), "--", "-"],
        input=msgspec.json.encode(source).decode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "SEAFLOOR_DATA": str(given.settings.data)},  # noqa: TID251 - handed on
    )
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or ["The code cannot be had."]
        raise SourceError(lines[-1].removeprefix("error: "))


def _is_same(one: LocalizedCode, other: LocalizedCode) -> bool:
    """Whether two sources are of the same content, told without fetching them."""
    from seafloor.domain.code import GitCode, SnapshotCode

    match one, other:
        case GitCode(), GitCode():
            return (one.commit, one.sparse) == (other.commit, other.sparse)
        case SnapshotCode(), SnapshotCode():
            return one.sha256 == other.sha256
        case _:
            return False


def _changes(said: bytes) -> list[dict[str, object]]:
    """Read ``--numstat -z``: added, removed and path; of a file that is no text no numbers.

    Without an index both names of a file stand there, and that of nothing is ``/dev/null``.
    """
    found: list[dict[str, object]] = []
    fields = said.decode("utf-8", "backslashreplace").split("\0")
    while len(fields) > 1:
        added, removed, path = fields.pop(0).split("\t", 2)
        if not path:
            before, after = fields.pop(0), fields.pop(0)
            path = before if after == "/dev/null" else after
        counts = [int(text) if text.isdigit() else None for text in (added, removed)]
        found.append({"path": path.partition("/")[2], "added": counts[0], "removed": counts[1]})
    return found


def _shown(source: LocalizedCode) -> str:
    from seafloor.domain.code import GitCode, SnapshotCode

    match source:
        case GitCode():
            return f"commit {source.commit[:12]} of {source.url}"
        case SnapshotCode():
            return f"snapshot {source.sha256[:12]}"
        case _:
            return f"archive {source.url}"


def _folder_name(run: RunView) -> str:
    """A run's name as one part of a path."""
    name = "".join(char if char.isalnum() or char in "._-" else "-" for char in run.name)
    return name.lstrip(".-") or run.id


def _remove(path: Path) -> None:
    from seafloor.code.removal import remove_tree

    if path.is_dir() and not path.is_symlink():
        remove_tree(path)
    else:
        path.unlink()


def _tell_nobody(_message: str) -> None:
    """Take what is told while a document is printed."""
