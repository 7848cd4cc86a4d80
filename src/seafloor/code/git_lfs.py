"""Large files that git keeps elsewhere: fetched and compared, or refused; no pointer is left."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

from seafloor.code.free_space import check_space
from seafloor.code.git_access import GitReach
from seafloor.code.git_command import GitOptions, run_git
from seafloor.code.git_lfs_errors import LfsErrors
from seafloor.code.git_lfs_watch import Arrival, StoreTalk
from seafloor.code.git_room import large_files_in_use, trim_large_files
from seafloor.code.git_tree import TreeEntry, attribute_of
from seafloor.code.private_folder import private_folder
from seafloor.domain.errors import SourceError
from seafloor.domain.quantities import shown_count

LFS_OFF: Final = ("filter.lfs.smudge=", "filter.lfs.process=", "filter.lfs.required=false")
"""Check out pointers as they are; what they point to is fetched afterwards, all at once."""

_LFS_ON: Final = (
    "filter.lfs.clean=git-lfs clean -- %f",
    "filter.lfs.smudge=git-lfs smudge -- %f",
    "filter.lfs.process=git-lfs filter-process",
    "filter.lfs.required=true",
)
"""What `git lfs install` sets: without, git-lfs fetches and puts nothing in place."""

FETCH_TIMEOUT_S: Final = 3600.0
SLOWEST_BYTES_S: Final = 1e4
"""What is to be fetched may take so much longer than ``FETCH_TIMEOUT_S`` as it takes at this: no
line by which anybody would wait for large files is slower."""

_TRACE: Final = "seafloor-git-lfs-"
_NOT_PLAIN: Final = re.compile(r"[\\*?\[\]!#, ]")
"""What means something in the patterns of git-lfs; ``?`` there is any one character."""

_POINTER: Final = re.compile(rb"^oid sha256:([0-9a-f]{64})\nsize ([0-9]{1,18})$", re.MULTILINE)


@dataclass(frozen=True)
class LargeFiles:
    """What stands where pointers were.

    Args:
        grown_bytes: How much more it is.
        oids: Path in the folder to the sha256 of the content.
    """

    grown_bytes: int = 0
    oids: dict[str, str] = field(default_factory=dict[str, str])


class _Pointer(NamedTuple):
    """What stands in a pointer.

    Args:
        text: All of it.
        oid: The sha256 of the content.
        size_bytes: Of the content.
    """

    text: bytes
    oid: str
    size_bytes: int


@dataclass(frozen=True)
class _Job:
    """What is the same for each try; see ``fetch_large_files``."""

    url: str
    storage: Path
    reach: GitReach
    sparse: tuple[str, ...]


def fetch_large_files(
    folder: Path,
    pointers: Sequence[TreeEntry],
    *,
    url: str,
    storage: Path,
    bytes_max: int,
    progress: Callable[[str], None],
    reach: GitReach,
    sparse: Sequence[str] = (),
) -> LargeFiles:
    """Put the content of large files where their pointers are.

    Args:
        folder: A checked-out working tree with ``origin``.
        pointers: Files that look like pointers; those without ``filter=lfs`` are left alone.
        url: Of the repository, for messages.
        storage: Where git-lfs keeps what it has, shared between folders.
        bytes_max: What it may take.
        progress: Told what takes time.
        reach: How its store is reached.
        sparse: Folders and files outside of which nothing is checked out; none: all is.

    Raises:
        SourceError: git-lfs is not installed, the content is missing or not what the pointer says,
            or its store refuses it, cannot be reached or stops sending.
        StoreFull: a disk cannot hold it. Nothing of it was fetched.
    """
    filters = attribute_of(folder, "filter", pointers)
    large = [entry for entry, name in zip(pointers, filters, strict=True) if name == "lfs"]
    if not large:
        return LargeFiles()
    if not run_git(["lfs", "version"]).ok:
        raise SourceError(
            f"{url} keeps {shown_count(len(large), 'file')} in git LFS (for example "
            f'"{os.fsdecode(large[0].path)}"), and git-lfs is not installed where code is '
            "prepared: install git-lfs there. Tasks are never started with pointers in place of "
            "files.",
            field="code.url",
        )
    progress(f"fetching {shown_count(len(large), 'large file')} of {url}")
    wanted = {entry: _read_pointer(entry.under(folder), url) for entry in large}
    oids = {each.oid for each in wanted.values()}
    were_there = False
    try:
        with large_files_in_use(storage, progress):
            touched = [_touch(_stored(storage, oid)) for oid in oids]
            were_there = all(touched)
            job = _Job(url, storage, reach, tuple(sparse))
            grown_bytes = _have_in_place(folder, wanted, job, progress)
    finally:
        if not were_there:
            trim_large_files(storage, bytes_max)
    # A name that is not UTF-8 would be in no JSON.
    named = {
        entry.path.decode("utf-8", "backslashreplace"): each.oid for entry, each in wanted.items()
    }
    return LargeFiles(grown_bytes, named)


def _have_in_place(
    folder: Path,
    wanted: Mapping[TreeEntry, _Pointer],
    job: _Job,
    progress: Callable[[str], None],
) -> int:
    """Put the contents in place; what of them is damaged in the storage is fetched anew, once.

    Returns:
        How much more they are than their pointers.
    """
    sizes = {each.oid: each.size_bytes for each in wanted.values()}
    missing_bytes = _check_space(folder, job, sizes)
    try:
        return _put_in_place(folder, wanted, job, missing_bytes)
    except SourceError:
        # Git-lfs believes its storage, and says of what is damaged there that nobody has it.
        if not _drop_damaged(job.storage, set(sizes)):
            raise
        progress(f"a large file of {job.url} was damaged in the cache: fetching it anew")
        for entry, pointer in wanted.items():  # it leaves alone what is no pointer
            entry.under(folder).write_bytes(pointer.text)
        return _put_in_place(folder, wanted, job, sum(sizes.values()))


def _check_space(folder: Path, job: _Job, sizes: dict[str, int]) -> int:
    """Look at each disk alone: some put files into place without a second copy.

    Args:
        sizes: Of each content, by its sha256.

    Returns:
        How much has to be fetched.
    """
    missing = (oid for oid in sizes if not _stored(job.storage, oid).exists())
    job.storage.mkdir(parents=True, exist_ok=True)
    what = f"The large files of {job.url} need"
    missing_bytes = sum(sizes[oid] for oid in missing)
    check_space(job.storage, missing_bytes, what)
    check_space(folder.parent, sum(sizes.values()), what)
    return missing_bytes


def _pull(
    folder: Path, wanted: Mapping[TreeEntry, _Pointer], job: _Job, missing_bytes: int
) -> None:
    """Let git-lfs put the contents of what is wanted, and of nothing else, where pointers are."""
    sizes: dict[str, int] = {}
    for pointer in wanted.values():
        sizes[pointer.oid] = max(pointer.size_bytes, sizes.get(pointer.oid, 0))
    errors = LfsErrors(job.url, job.reach)
    # Set in the folder and not for the command: the command's settings reach an origin on this
    # machine as well, which has a store of its own.
    run_git(["config", "lfs.storage", job.storage], cwd=folder)
    with private_folder(_TRACE) as private:
        talk = StoreTalk(private / "trace")
        arrival = Arrival(
            job.storage,
            sizes=sizes,
            stored=lambda oid: _stored(job.storage, oid),
            placed=tuple(entry.under(folder) for entry in wanted),
            url=job.url,
            talk=talk,
            given_up=errors.given_up,
        )
        said = run_git(
            ["lfs", "pull", "origin"],
            cwd=folder,
            options=GitOptions(
                config=(*_LFS_ON, *_chosen(job.sparse), *job.reach.config),
                timeout_s=FETCH_TIMEOUT_S + missing_bytes / SLOWEST_BYTES_S,
                ssh_command=job.reach.ssh_command,
                env=(*job.reach.env, ("GIT_TRACE", str(talk.path))),
                hidden=job.reach.hidden,
                watch=arrival.look,
            ),
        )
        talk.look()
    run_git(["config", "--unset", "lfs.storage"], cwd=folder)
    if not said.ok:
        raise errors.failed(said, talk)


def _chosen(sparse: Sequence[str]) -> tuple[str, str]:
    """Settings that name what is fetched: git-lfs itself goes by the commit, and by settings.

    What a repository or a user leaves out of git-lfs's own fetches is a file of the commit all the
    same.
    """
    include = ",".join("/" + _NOT_PLAIN.sub("?", path) for path in sparse)
    return f"lfs.fetchinclude={include}", "lfs.fetchexclude="


def _put_in_place(
    folder: Path, wanted: Mapping[TreeEntry, _Pointer], job: _Job, missing_bytes: int
) -> int:
    """Put the contents where their pointers are, and compare them.

    Returns:
        How much more they are.
    """
    _pull(folder, wanted, job, missing_bytes)
    for entry, pointer in wanted.items():
        path = entry.under(folder)
        if _sha256_of(path) != pointer.oid:
            raise SourceError(
                f'The content of "{path.name}" is not in the git LFS store of {job.url}. Push it '
                "with: git lfs push --all origin",
                field="code.url",
            )
    return sum(pointer.size_bytes - len(pointer.text) for pointer in wanted.values())


def _drop_damaged(storage: Path, oids: Collection[str]) -> bool:
    """Remove from the storage what is not what its name says; tells whether there was any."""
    found = False
    for oid in oids:
        path = _stored(storage, oid)
        if path.is_file() and _sha256_of(path) != oid:
            path.unlink(missing_ok=True)
            found = True
    return found


def _stored(storage: Path, oid: str) -> Path:
    return storage / "objects" / oid[:2] / oid[2:4] / oid


def _touch(path: Path) -> bool:
    """Say that a file of the storage is used now; tells whether it is there."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_pointer(path: Path, url: str) -> _Pointer:
    text = path.read_bytes()
    found = _POINTER.search(text)
    if found is None:
        raise SourceError(
            f'"{path.name}" of {url} begins as a pointer of git LFS but is none: it was '
            "probably merged by hand. Check it out and commit it again with git-lfs installed.",
            field="code.url",
        )
    return _Pointer(text, found[1].decode(), int(found[2]))
