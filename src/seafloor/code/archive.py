"""Archives somewhere else: what is accepted, what they are now, and fetching just that."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from seafloor.code.free_space import Room
from seafloor.code.git_url import URL_CHARS_MAX, check_folder, without_secret
from seafloor.domain.addresses import holds_secret, without_secrets
from seafloor.domain.code import ArchiveCode, SyncMode
from seafloor.domain.errors import InvalidValue, LimitExceeded, SourceError, nearest
from seafloor.domain.ids import Sha256, parse_sha256
from seafloor.domain.secrets import Secret

SCHEMES: Final = {
    SyncMode.S3: ("s3",),
    SyncMode.GS: ("gs",),
    SyncMode.ABFS: ("abfs", "abfss", "az"),
    SyncMode.HDFS: ("hdfs", "viewfs"),
    SyncMode.HTTP: ("https", "http"),
    SyncMode.FILE: ("file",),
}
"""Which addresses go with which ``sync_mode``."""

STRIP_MAX: Final = 32
_SUFFIXES: Final = (
    *(f".tar.{end}" for end in ("gz", "bz2", "xz", "zst", "zstd")),
    *(".tgz", ".tbz2", ".tbz", ".txz", ".tzst", ".tar", ".zip"),
)


@dataclass(frozen=True)
class RemoteFacts:
    """What a place says of an archive without sending it.

    Args:
        size_bytes: None when it does not say.
        etag: Changes whenever the content does; None when it has nothing of the kind.
    """

    size_bytes: int | None
    etag: str | None


class RemoteFile(Protocol):
    """One file in another place; used by one thread."""

    def facts(self) -> RemoteFacts:
        """Ask for what is known of it.

        Raises:
            SourceError: it is not there, or the place does not answer or refuses; the message
                holds the address.
        """
        ...

    def copy(self, facts: RemoteFacts, write: Callable[[bytes], object]) -> None:
        """Read it from beginning to end, in constant memory; a broken connection is taken up again.

        Args:
            facts: What it was when it was looked at.
            write: Gets its bytes in order.

        Raises:
            SourceError: as above, or it changed meanwhile, or ended early.
        """
        ...


OpenRemote = Callable[[str, Secret | None], RemoteFile]
"""Opens an address, with a secret or as the machine is set up; nothing is asked of the place yet.
InvalidValue: what the place needs to know is not in the environment, or the secret is not for it.
"""


@dataclass(frozen=True)
class ArchiveRequest:
    """What a user asks for.

    Args:
        url: As he wrote it; for ``file`` an absolute path, too.
        mode: His ``sync_mode``; None: by the address.
        sha256: Of the archive.
        name: Of the folder; None: the archive's without its ending.
        strip_components: As tar's option.
    """

    url: str
    mode: SyncMode | None = None
    sha256: str | None = None
    name: str | None = None
    strip_components: int = 0


def is_archive_url(url: str) -> bool:
    """Whether an address is one of those that archives have."""
    scheme = url.partition("://")[0].lower()
    return "://" in url and any(scheme in schemes for schemes in SCHEMES.values())


def check_request(request: ArchiveRequest) -> ArchiveCode:
    """Check what can be checked without asking anyone; the code lacks size and etag.

    Raises:
        InvalidValue: the address is none, does not go with the mode, or holds what could be a
            secret; the sha256, the name or the number is none.
        LimitExceeded: the address is too long.
    """
    parts = _parse(request.url.strip(), request.mode)
    if not 0 <= request.strip_components <= STRIP_MAX:
        raise InvalidValue(
            f"strip_components is 0..{STRIP_MAX}, not {request.strip_components}.",
            field="code.strip_components",
        )
    sha256 = request.sha256
    return ArchiveCode(
        url=urlunsplit(parts),
        folder=_folder(parts) if request.name is None else check_folder(request.name),
        sha256=None if sha256 is None else parse_sha256(sha256.lower(), field="code.sha256"),
        strip_components=request.strip_components,
    )


def resolve_archive(
    request: ArchiveRequest, open_remote: OpenRemote, secret: Secret | None = None
) -> ArchiveCode:
    """Find out what an archive is now; it is not read.

    Raises:
        InvalidValue, LimitExceeded: see ``check_request``; or nothing would tell whether the
            archive has changed, so that a sha256 must be given; or the secret is not for it.
        SourceError: it cannot be had.

    Cost: one request.
    """
    code = check_request(request)
    facts = open_remote(code.url, secret).facts()
    if facts.etag is None and code.sha256 is None:
        raise InvalidValue(
            f"{code.url} has neither an ETag nor a time of change, so that nobody could tell "
            "whether it is still the same: give its sha256.",
            field="code.sha256",
        )
    return ArchiveCode(
        url=code.url,
        folder=code.folder,
        size_bytes=facts.size_bytes,
        etag=facts.etag,
        sha256=code.sha256,
        strip_components=code.strip_components,
        secret=None if secret is None else secret.name,
    )


def fetch_archive(source: ArchiveCode, remote: RemoteFile, path: Path) -> Sha256:
    """Copy an archive to a new file.

    Returns:
        Its digest.

    Raises:
        SourceError: it cannot be had, or is not the one that was submitted; both values are named.
        StoreFull: its place does not say how large it is, and it is larger than the disk can hold.
        After each of them the file may exist and is not whole.
    """
    facts = remote.facts()
    if source.sha256 is None:
        _check_unchanged(source, facts)
    digest, size_bytes = hashlib.sha256(), 0
    room = Room(path.parent, f"The archive {source.url}")
    with path.open("xb") as file:

        def write(block: bytes) -> None:
            nonlocal size_bytes
            if facts.size_bytes is None:  # else the disk was asked once, before
                room.take(len(block))
            digest.update(block)
            file.write(block)
            size_bytes += len(block)

        remote.copy(facts, write)
    if facts.size_bytes is not None and size_bytes != facts.size_bytes:
        raise SourceError(
            f"{source.url} has {facts.size_bytes} bytes, but {size_bytes} came.", field="code.url"
        )
    found = Sha256(digest.hexdigest())
    if source.sha256 is not None and found != source.sha256:
        raise SourceError(
            f"{source.url} is not the archive that was asked for: its sha256 is {found}, not "
            f"{source.sha256}. Correct code.sha256, or put the right archive there.",
            field="code.sha256",
        )
    return found


def cache_key(source: ArchiveCode) -> str:
    """What an archive is known by in the cache before its digest is."""
    if source.sha256 is not None:
        return source.sha256
    text = "\n".join((source.url, source.etag or "", str(source.size_bytes)))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _check_unchanged(source: ArchiveCode, facts: RemoteFacts) -> None:
    now, then = (facts.etag, facts.size_bytes), (source.etag, source.size_bytes)
    if now != then:
        raise SourceError(
            f"{source.url} has changed since the run was submitted: it was {_shown(*then)} and is "
            f"{_shown(*now)}. Submit again for what is there now.",
            field="code.url",
        )


def _shown(etag: str | None, size_bytes: int | None) -> str:
    size = "of unknown size" if size_bytes is None else f"{size_bytes} bytes"
    return f"{etag}, {size}"


def _parse(text: str, mode: SyncMode | None) -> SplitResult:
    if len(text) > URL_CHARS_MAX:
        raise LimitExceeded(
            f"The address of an archive has at most {URL_CHARS_MAX} characters.", field="code.url"
        )
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in text):
        raise InvalidValue("An address must not hold control characters.", field="code.url")
    if text.startswith("/") and mode in {None, SyncMode.FILE}:
        text = Path(text).as_uri()
    try:
        parts = urlsplit(text)
        password, host = parts.password, parts.hostname
    except ValueError as error:
        raise InvalidValue("The address of the archive is not a URL.", field="code.url") from error
    everything = tuple(scheme for of_mode in SCHEMES.values() for scheme in of_mode)
    schemes = everything if mode is None else SCHEMES[mode]
    if parts.scheme not in schemes:
        known = " or ".join(f"{scheme}://" for scheme in schemes)
        shown = without_secrets(text)
        raise InvalidValue(
            f'The address of the archive begins with {known}, not with "{shown[:40]}".'
            f"{nearest(parts.scheme, schemes)}",
            field="code.url",
        )
    if password is not None or holds_secret(parts.query):
        raise InvalidValue(
            "The address of the archive holds what looks like a password or a signature, which "
            "would be stored and shown. Take it out: buckets are read with the credentials of the "
            "server's environment, web servers with a named secret or those of its ~/.netrc.",
            field="code.url",
        )
    if parts.fragment or (parts.query and parts.scheme not in SCHEMES[SyncMode.HTTP]):
        raise InvalidValue("The address of an archive ends with its path.", field="code.url")
    if (parts.scheme == "file") is bool(host) or not parts.path.strip("/"):
        raise InvalidValue(
            f"{parts.scheme}:// names no archive: "
            + (
                "file:///<path>." if parts.scheme == "file" else f"{parts.scheme}://<where>/<path>."
            ),
            field="code.url",
        )
    if parts.scheme not in SCHEMES[SyncMode.HTTP]:
        return parts  # what stands before the @ of abfs:// is a container
    return without_secret(parts)._replace(query=parts.query)


def _folder(parts: SplitResult) -> str:
    name = unquote(parts.path).rstrip("/").rpartition("/")[2]
    lower = name.lower()
    suffix = next((suffix for suffix in _SUFFIXES if lower.endswith(suffix)), "")
    try:
        return check_folder(name[: len(name) - len(suffix)], field="code.name")
    except InvalidValue as error:
        raise InvalidValue(
            f'"{name}" gives no name for the folder under /code: give one in `name`.',
            field="code.name",
        ) from error
