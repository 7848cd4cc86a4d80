"""Code at submission: what clients resolved is checked, what they cannot resolve is resolved."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from seafloor.code.archive import ArchiveRequest, OpenRemote, check_request, resolve_archive
from seafloor.code.git import resolve_git
from seafloor.domain.code import (
    ARCHIVE_MODES,
    ArchiveCode,
    CodeSource,
    GitCode,
    ImageCode,
    SnapshotCode,
    SyncMode,
)
from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import parse_git_commit, parse_sha256
from seafloor.domain.names import check_path, check_slug
from seafloor.domain.specs import CodeSpec, ExperimentSpec, check_secrets
from seafloor.stores.secrets.protocol import Secrets

IMAGE_WARNING: Final = (
    "The code is not localised but taken as it lies where the run starts: nobody can prove which "
    "it was, or run it again. Better: sync_mode git (a commit) or local (a snapshot), which give "
    "every run the same folder under /code and a receipt."
)
MOUNT_WARNING: Final = (
    "The command names /code, which cannot be provided here (the machine does not allow it, or has "
    "a /code of its own): use $SEAFLOOR_CODE_DIR, or paths from the working folder."
)
_CODE_FOLDER: Final = re.compile(r"(?<![\w./~-])/code(?![\w.-])")


class CodeSources:
    """Finds out, at submission, what an archive or a private repository is.

    The server does it and not the client: the machine that localises must be able to read the
    place later, with the credentials that the server has, so it is this that is tried.

    Args:
        open_remote: Opens an address.
        secrets: What reaches repositories and web servers for which one is named.
        code_is_mounted: Says whether commands see their code at ``/code``. Blocking.
    """

    def __init__(
        self, open_remote: OpenRemote, secrets: Secrets, code_is_mounted: Callable[[], bool]
    ) -> None:
        self._open_remote = open_remote
        self._secrets = secrets
        self._code_is_mounted = code_is_mounted

    async def resolve(self, spec: ExperimentSpec, sent: CodeSource | None) -> CodeSource | None:
        """Make the code of a spec immutable, where that is the server's to do.

        Args:
            spec: Checked.
            sent: What the client resolved; it is taken as it is, so that a run can be repeated
                with what was there before.

        Raises:
            InvalidValue, LimitExceeded: the address is none, the secret is not for it, or the
                archive cannot be told from a later one.
            NotFound: there is no such secret.
            SourceError: it cannot be had.
        """
        code = spec.code
        if sent is not None or code is None:
            return sent
        if code.sync_mode is SyncMode.IMAGE:
            return ImageCode(code.path)
        if code.sync_mode is SyncMode.GIT and (code.secret is not None or code.secrets):
            return await asyncio.to_thread(self._resolve_git, code)
        if code.sync_mode not in ARCHIVE_MODES:
            return None
        request = ArchiveRequest(
            url=code.url or "",
            mode=code.sync_mode,
            sha256=code.sha256,
            name=code.name,
            strip_components=code.strip_components,
        )
        return await asyncio.to_thread(self._resolve_archive, request, code.secret)

    def _resolve_git(self, code: CodeSpec) -> GitCode:
        secret = None if code.secret is None else self._secrets.get(code.secret)
        secrets = {prefix: self._secrets.get(name) for prefix, name in code.secrets.items()}
        return resolve_git(
            code.url or "", code.ref, secret=secret, secrets=secrets, sparse=code.sparse
        )

    def _resolve_archive(self, request: ArchiveRequest, name: str | None) -> ArchiveCode:
        secret = None if name is None else self._secrets.get(name)
        return resolve_archive(request, self._open_remote, secret)

    async def warnings(self, spec: ExperimentSpec, code: CodeSource | None) -> tuple[str, ...]:
        """What somebody who submits this should know, one sentence or two each."""
        if isinstance(code, ImageCode):
            return (IMAGE_WARNING,)
        if code is None or not names_code_folder(spec):
            return ()
        mounted = await asyncio.to_thread(self._code_is_mounted)
        return () if mounted else (MOUNT_WARNING,)


_KINDS_OF: Mapping[SyncMode, type] = {
    SyncMode.GIT: GitCode,
    SyncMode.LOCAL: SnapshotCode,
    SyncMode.IMAGE: ImageCode,
}
"""What each ``sync_mode`` becomes; all others an archive."""


def names_code_folder(spec: ExperimentSpec) -> bool:
    """Whether a command, or a variable, names the absolute path ``/code``.

    >>> from seafloor.domain.specs import ExperimentSpec, TaskSpec
    >>> names_code_folder(ExperimentSpec(name="x", command="python /code/digits/train.py"))
    True
    >>> names_code_folder(ExperimentSpec(name="x", command="python ./code/train.py /codes"))
    False
    >>> tasks = {"worker": TaskSpec(command=["python", "/code/train.py"])}
    >>> names_code_folder(ExperimentSpec(name="x", tasks=tasks))
    True
    """
    words = list(spec.env.values())
    for command in (spec.command, *(task.command for task in spec.tasks.values())):
        words += command if isinstance(command, list) else [command or ""]
    return any(map(_CODE_FOLDER.search, words))


def check_code(spec: ExperimentSpec, code: CodeSource | None) -> None:
    """Check that the resolved code is what the spec asks for.

    Raises:
        InvalidValue: it is not; or a field of it is not one.
    """
    if spec.code is None:
        if code is not None:
            raise InvalidValue("`code` was sent, but the spec has none.", field="code")
        return
    if code is None:
        raise InvalidValue(
            "The spec has code, but it was not resolved to a commit or snapshot: "
            "use `seafloor run` or the client, which do so.",
            field="code",
        )
    if not isinstance(code, _KINDS_OF.get(spec.code.sync_mode, ArchiveCode)):
        raise InvalidValue(
            f"sync_mode {spec.code.sync_mode} does not go with code of this kind.", field="code"
        )
    match code:
        case GitCode():
            _check_git(code)
        case SnapshotCode():
            _check_snapshot(code)
        case ArchiveCode():
            _check_archive(code, spec.code.sync_mode)
        case ImageCode():
            if code.path is not None and (not code.path.startswith("/") or "\0" in code.path):
                raise InvalidValue("A folder in an image is an absolute path.", field="code.path")


def _check_git(code: GitCode) -> None:
    _check_folder(code.folder)
    parse_git_commit(code.commit, field="code.commit")
    if code.secret is not None:
        check_slug(code.secret, field="code.secret")
    check_secrets(code.secrets)
    for path in code.sparse:
        check_path(path, field="code.sparse")
    if code.url.startswith("-") or "\0" in code.url or "\n" in code.url:
        raise InvalidValue("This is not the address of a repository.", field="code.url")


def _check_snapshot(code: SnapshotCode) -> None:
    _check_folder(code.folder)
    parse_sha256(code.sha256, field="code.sha256")
    if code.subfolder:
        check_path(code.subfolder, field="code.subfolder")


def _check_folder(folder: str) -> None:
    if "/" in check_path(folder, field="code.folder"):
        raise InvalidValue("The folder is one name, without a slash.", field="code.folder")


def _check_archive(code: ArchiveCode, mode: SyncMode) -> None:
    """Check an archive that a client resolved: it must be one that could be submitted."""
    request = ArchiveRequest(code.url, mode, code.sha256, code.folder, code.strip_components)
    if check_request(request).url != code.url:
        raise InvalidValue("This is not the address of an archive.", field="code.url")
    if code.secret is not None:
        if mode is not SyncMode.HTTP:
            raise InvalidValue("Named secrets are for web servers.", field="code.secret")
        check_slug(code.secret, field="code.secret")
    if code.sha256 is None and (not code.etag):
        raise InvalidValue(
            "An archive is told by its sha256, or by its etag and size.", field="code.etag"
        )


def submitted(
    code: CodeSource | None, environment: str | None, warnings: Sequence[str] = ()
) -> str:
    """Say what a workload was submitted with, for its first event."""
    parts: list[str] = []
    if isinstance(code, GitCode):
        named = f" ({code.ref})" if code.ref else ""
        parts.append(f"commit {code.commit[:12]}{named} of {code.url}")
    elif isinstance(code, SnapshotCode):
        parts.append(f"a snapshot of the folder {code.folder} ({code.sha256[:12]})")
    elif isinstance(code, ArchiveCode):
        which = f"sha256 {code.sha256[:12]}" if code.sha256 is not None else f"etag {code.etag}"
        parts.append(f"the archive {code.url} ({which})")
    elif isinstance(code, ImageCode):
        parts.append(f"the code that is there already{f' in {code.path}' if code.path else ''}")
    parts.append(f"environment {environment}" if environment else "the Python it is given")
    return " ".join((f"Submitted with {' and '.join(parts)}.", *warnings))
