"""A resolved code source becomes a folder under the code folder, whole or not at all."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from seafloor.code.archive import OpenRemote, cache_key, fetch_archive
from seafloor.code.cache_bounds import DEFAULT, CacheBounds
from seafloor.code.digest_cache import DigestCache, Wanted
from seafloor.code.extract import SNAPSHOT_RULES, Extracted, ExtractRules, extract
from seafloor.code.files import disk_errors, remove_leftover
from seafloor.code.git_access import git_access
from seafloor.code.git_checkout import GitCheckouts
from seafloor.code.git_url import RECEIPT_FOLDER, check_folder
from seafloor.code.live_lock import Wait, locked_alive
from seafloor.code.receipts import (
    FORMAT_VERSION,
    encode_receipt,
    old_receipt_path,
    read_document,
    read_receipt,
    receipt_path,
    remove_receipt,
    settle_names,
    snapshot_key,
    write_receipt,
)
from seafloor.code.tree_cache import TreeCache
from seafloor.domain.code import (
    LFS_LISTED_MAX,
    ArchiveCode,
    GitCode,
    LocalizedCode,
    Receipt,
    SnapshotCode,
)
from seafloor.domain.errors import Conflict, InvalidValue, LimitExceeded, StoreCorrupt
from seafloor.domain.ids import Sha256
from seafloor.domain.secrets import Secret, no_secrets

CURRENT: Final = "current"
"""Name of the symlink to the localised folder."""

LOCK_FILE: Final = ".localize.lock"
OWN_LINK: Final = ".localize.folder"
"""A symlink whose text is the name of the folder that was localised, or is to be: what has that
name is ours to replace. A link, since it is never half written, whatever is killed or cut off."""

TREES: Final = "trees"
"""Where in the cache shared trees are."""

_VERSION: Final = version("seafloor")
_ASIDE: Final = re.compile(r"\.localize-(partial|replaced)-[0-9a-f]{8}\Z")


@dataclass(frozen=True)
class Means:
    """What localising works with.

    Args:
        cache_dir: Kept between workloads and shared by all processes of the machine. It may be
            deleted at any time; that costs a fetch.
        fetch_snapshot: Writes the archive of a digest to a path. What it writes is checked here.
            A SeafloorError of it passes through.
        open_remote: Opens the address of an archive.
        progress: Told, in the user's words, what takes time and what he should know.
        secret_of: Gives a secret by its name, or NotFound.
        shared_by: None: the folder is one of its own. Otherwise it may be a link to a tree that
            others look at as well and nobody may write in; the tree is kept for as long as the
            folder named here is there.
        bounds: How much of the cache is kept.
    """

    cache_dir: Path
    fetch_snapshot: Callable[[Sha256, Path], None]
    open_remote: OpenRemote
    progress: Callable[[str], None] = lambda _message: None
    secret_of: Callable[[str], Secret] = no_secrets
    shared_by: Path | None = None
    bounds: CacheBounds = DEFAULT


def localize(source: LocalizedCode, *, code_dir: Path, means: Means) -> Receipt:
    """Make ``<code_dir>/<folder>/`` of a code source, and write its receipt.

    The folder is built under another name, compared with its source, and renamed; the receipt is
    written last. So a folder with a receipt is whole, and a process that is killed at any moment
    leaves nothing that the next call does not clear away. Calling it again with the same source
    returns the receipt that is there; with another source, it replaces what is there: a code
    folder holds one source. ``<code_dir>/current`` leads to its folder.

    Knows nothing of what the code is for: runs, notebooks and servings call it alike.

    Args:
        source: A commit, an archive or a snapshot.
        code_dir: What a task sees as ``/code``; made if missing. Processes may share it: they
            take turns. Other things in it are left alone.

    Returns:
        The receipt, as it stands in ``<code_dir>/.receipt.json``.

    Raises:
        Conflict: something that was not localised here has the name of the folder, or that of the
            link to it. What was localised here is as it was.
        SourceError: the code cannot be had, or is not what it was at submission.
        NotFound: there is no such secret.
        InvalidValue, LimitExceeded: the source is not one that may be localised.
        StoreCorrupt: the stored snapshot is not what its digest names.
        StoreFull: no space is left.
        After each of the others there is no folder with a receipt, and nothing half.

    Cost: with everything cached, a handful of git commands and one read and write of every file.
    """
    check_folder(source.folder)
    place = _Place(code_dir.absolute(), source)
    with disk_errors(f"Localising {source.folder}"):
        lock = place.code_dir / LOCK_FILE
        wait = Wait(f"another start of {source.folder}", means.progress)
        with locked_alive(lock, wait):
            there = read_receipt(place.code_dir, source)
            if there is not None and (means.shared_by is not None or not place.is_shared):
                return place.settle(there)
            return place.fill(means)


def is_code_dir(folder: Path) -> bool:
    """Whether a folder is one that something was localised in."""
    if (folder / OWN_LINK).is_symlink() or (folder / RECEIPT_FOLDER).is_dir():
        return True
    return read_document(receipt_path(folder)) is not None


def is_leftover(name: str) -> bool:
    """Whether a name in a code folder is of nothing that anybody could miss."""
    return name == LOCK_FILE or bool(_ASIDE.match(name))


def copy_beside(code_dir: Path, view: Path) -> None:
    """Put into another folder what stands beside the localised one: receipt and link."""
    shutil.copyfile(receipt_path(code_dir), receipt_path(view))
    link = code_dir / CURRENT
    document = read_document(receipt_path(view))
    if document is not None and document.folder != CURRENT and not (view / CURRENT).is_symlink():
        (view / CURRENT).symlink_to(link.readlink())


@dataclass(frozen=True)
class _Place:
    """Where a source is localised; whoever uses it holds its lock."""

    code_dir: Path
    source: LocalizedCode

    @property
    def _folder(self) -> Path:
        return self.code_dir / self.source.folder

    @property
    def is_shared(self) -> bool:
        """Whether the folder is a link to a tree of the cache."""
        return self._folder.is_symlink()

    def fill(self, means: Means) -> Receipt:
        begun_s = time.monotonic()
        self._clear_leftovers()
        self._check_own()
        partial = self._aside("partial")
        try:
            if means.shared_by is None:
                receipt = _make(self.source, partial, means)
            else:
                receipt = _share(self.source, partial, means, means.shared_by)
            receipt = msgspec.structs.replace(
                receipt,
                format_version=FORMAT_VERSION,
                duration_s=round(time.monotonic() - begun_s, 6),
                localizer=_VERSION,
            )
            content = encode_receipt(self.source, receipt)
            self._publish(partial)
        finally:
            _remove(partial)
        write_receipt(self.code_dir, content)
        return receipt

    def settle(self, receipt: Receipt) -> Receipt:
        """Bring what an earlier version localised into the form of this one."""
        if receipt.format_version != FORMAT_VERSION:
            receipt = msgspec.structs.replace(receipt, format_version=FORMAT_VERSION)
            self._check_own()
            self._link(OWN_LINK, self.source.folder)
            self._point()
            write_receipt(self.code_dir, encode_receipt(self.source, receipt))
            remove_leftover(self.code_dir / RECEIPT_FOLDER)
        return receipt

    def _publish(self, partial: Path) -> None:
        own = self._check_own()  # somebody may have put something there meanwhile
        if own:
            self._link(OWN_LINK, own)  # one of before has none
        # A receipt must never stand beside a folder that it does not speak of.
        remove_receipt(self.code_dir, self.source.folder)
        for path in (self.code_dir / name for name in (own, CURRENT) if own):
            if path.is_symlink() or path.exists():
                replaced = self._aside("replaced")
                path.rename(replaced)
                _remove(replaced)
        # The old one is gone and nothing has the name of the new one: only now is that name ours.
        self._link(OWN_LINK, self.source.folder)
        partial.rename(self._folder)
        self._point()
        settle_names(self.code_dir)

    def _own(self) -> str:
        """Name of the folder that was localised here before; empty: nothing proves that one was."""
        link = self.code_dir / OWN_LINK
        if link.is_symlink():
            name = str(link.readlink())
        else:
            document = read_document(receipt_path(self.code_dir))
            name = "" if document is None else document.folder
        if not name and old_receipt_path(self.code_dir, self.source.folder).is_file():
            name = self.source.folder
        try:
            return check_folder(name) if name else ""
        except InvalidValue:  # nobody localises under such a name
            return ""

    def _check_own(self) -> str:
        """Refuse to replace what was not localised here.

        Returns:
            What may be replaced: as ``_own``.

        Raises:
            Conflict: something else is in the way.
        """
        own, current = self._own(), self.code_dir / CURRENT
        leads_to_own = own and current.is_symlink() and str(current.readlink()) == own
        for name in sorted({self.source.folder, CURRENT} - {own}):
            path = self.code_dir / name
            if (path.is_symlink() or path.exists()) and not (name == CURRENT and leads_to_own):
                raise Conflict(
                    f'"{path}" is there already, and was not localised: choose another --to or '
                    "--name."
                )
        return own

    def _point(self) -> None:
        """Let ``current`` lead to the folder; a source of that name is there itself."""
        if self.source.folder != CURRENT:
            self._link(CURRENT, self.source.folder)

    def _link(self, name: str, target: str) -> None:
        """Make or replace a link at once."""
        link = self._aside("partial")
        link.symlink_to(target)
        link.rename(self.code_dir / name)

    def _clear_leftovers(self) -> None:
        for path in self.code_dir.iterdir():
            if _ASIDE.match(path.name):
                _remove(path)

    def _aside(self, kind: str) -> Path:
        return self.code_dir / f".localize-{kind}-{secrets.token_hex(4)}"


def _share(source: LocalizedCode, link: Path, means: Means, user: Path) -> Receipt:
    """Make a link to a tree of the cache; the receipt is as ``_make`` gives it."""
    trees = TreeCache(means.cache_dir / TREES, means.progress, means.bounds.tree_bytes)
    tree = trees.get(_tree_key(source), lambda folder: _make(source, folder, means), user=user)
    link.symlink_to(tree.path)
    cached = not tree.made or tree.receipt.cached
    ref = source.ref if isinstance(source, GitCode) else None
    return msgspec.structs.replace(tree.receipt, ref=ref, cached=cached)


def _tree_key(source: LocalizedCode) -> str:
    """The same for sources that become the same files, whatever the user called them."""
    match source:
        case GitCode():
            told: object = msgspec.structs.replace(source, folder="", ref=None)
        case SnapshotCode():
            told = source.sha256
        case ArchiveCode():
            told = msgspec.structs.replace(source, folder="")
    return sha256(msgspec.json.encode((told, _VERSION))).hexdigest()


def _make(source: LocalizedCode, folder: Path, means: Means) -> Receipt:
    """Build the folder; the receipt lacks how long it took, and with what."""
    match source:
        case GitCode():
            return _make_git(source, folder, means)
        case SnapshotCode():
            return _make_snapshot(source, folder, means)
        case ArchiveCode():
            return _make_archive(source, folder, means)


def _make_git(source: GitCode, folder: Path, means: Means) -> Receipt:
    secret = None if source.secret is None else means.secret_of(source.secret)
    others = {prefix: means.secret_of(name) for prefix, name in source.secrets.items()}
    with git_access(source.url, secret, others) as access:
        checkouts = GitCheckouts(means.cache_dir, means.progress, access, means.bounds)
        built = checkouts.check_out(source, folder)
    return Receipt(
        kind="git",
        url=source.url,
        ref=source.ref,
        commit=source.commit,
        tree=built.tree,
        submodules=built.submodules,
        lfs_files=len(built.lfs),
        lfs=dict(islice(built.lfs.items(), LFS_LISTED_MAX)),
        files=built.files,
        size_bytes=built.size_bytes,
        cached=not built.fetched,
        duration_s=0.0,
    )


def _make_snapshot(source: SnapshotCode, folder: Path, means: Means) -> Receipt:
    def fetch(path: Path) -> Sha256:
        means.fetch_snapshot(source.sha256, path)
        return source.sha256

    place = means.cache_dir / "snapshots"
    cache = DigestCache(place, ".tar.zst", means.progress, means.bounds.snapshot_bytes)
    title = f"the snapshot {source.sha256[:12]}"
    wanted = Wanted(source.sha256, source.sha256, fetch, title, source.size_bytes)
    made = _unpack(cache, wanted, folder, SNAPSHOT_RULES)
    return Receipt(
        kind="snapshot",
        url=snapshot_key(source.sha256),
        sha256=source.sha256,
        files=made.extracted.files,
        size_bytes=made.extracted.size_bytes,
        cached=not made.fetched,
        duration_s=0.0,
    )


def _make_archive(source: ArchiveCode, folder: Path, means: Means) -> Receipt:
    def fetch(path: Path) -> Sha256:
        secret = None if source.secret is None else means.secret_of(source.secret)
        return fetch_archive(source, means.open_remote(source.url, secret), path)

    # What a secret opened is not there for those who do not name it.
    place = "archives" if source.secret is None else f"archives-{source.secret}"
    kept = means.bounds.archive_bytes
    cache = DigestCache(means.cache_dir / place, "", means.progress, kept)
    wanted = Wanted(cache_key(source), source.sha256, fetch, source.url, source.size_bytes)
    made = _unpack(cache, wanted, folder, archive_rules(source))
    if not made.extracted.files:
        why = (
            f" after strip_components: {source.strip_components}" if source.strip_components else ""
        )
        raise InvalidValue(f"{source.url} holds no file{why}.", field="code.url")
    return Receipt(
        kind="archive",
        url=source.url,
        sha256=made.sha256,
        etag=source.etag,
        files=made.extracted.files,
        size_bytes=made.extracted.size_bytes,
        cached=not made.fetched,
        duration_s=0.0,
    )


def archive_rules(source: ArchiveCode) -> ExtractRules:
    """What a user's archive may become."""
    return ExtractRules(
        what=f"The archive {source.url}",
        advice=" Try again.",
        field="code.url",
        size_bytes_max=256 << 30,
        files_max=2_000_000,
        ratio_max=250,
        strip_components=source.strip_components,
        links_anywhere=False,
    )


@dataclass(frozen=True)
class _Unpacked:
    extracted: Extracted
    sha256: Sha256
    fetched: bool


def _unpack(cache: DigestCache, wanted: Wanted, folder: Path, rules: ExtractRules) -> _Unpacked:
    """Unpack an archive of the cache; one that was damaged there is fetched anew, once."""
    cached = cache.get(wanted)
    try:
        with cached.file as file:
            extracted = extract(file, folder, sha256=cached.sha256, rules=rules)
    except (InvalidValue, LimitExceeded):
        cache.forget(cached.sha256)  # nobody will want it, unless it was damaged on the way
        raise
    except StoreCorrupt:
        cache.forget(cached.sha256)
        if cached.fetched:
            raise
        cache.progress("the cached archive is damaged: fetching it anew")
        remove_leftover(folder)
        cached = cache.get(wanted)
        with cached.file as file:
            extracted = extract(file, folder, sha256=cached.sha256, rules=rules)
    return _Unpacked(extracted, cached.sha256, cached.fetched)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        remove_leftover(path)
    else:
        path.unlink(missing_ok=True)
