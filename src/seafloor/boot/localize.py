"""``localize``: one code source into one folder, here and now."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from seafloor.boot.archives import remote_opener
from seafloor.boot.settings import load
from seafloor.code.archive import ArchiveRequest, is_archive_url, resolve_archive
from seafloor.code.git import resolve_git
from seafloor.code.git_access import HOSTS
from seafloor.code.git_url import check_folder
from seafloor.code.localize import CURRENT, Means, is_code_dir, localize
from seafloor.domain.addresses import without_secrets
from seafloor.domain.code import LocalizedCode, Receipt, SnapshotCode
from seafloor.domain.errors import Conflict, InvalidValue
from seafloor.domain.ids import Sha256, parse_sha256
from seafloor.domain.quantities import shown_count
from seafloor.domain.secrets import Secret
from seafloor.domain.url_prefix import parse_url_prefix
from seafloor.sdk.client import Client
from seafloor.sdk.discovery import require_server
from seafloor.sdk.settings import read_settings
from seafloor.stores.secrets.folder import SECRETS_FOLDER, FolderSecrets

SNAPSHOT: Final = "snapshot:"
GIT: Final = "git+"

DOCUMENT: Final = "-"
"""A source that stands on standard input as a run has it: immutable, a document in JSON."""

_DIGEST: Final = re.compile(r"[0-9a-f]{64}\Z")
_FORMS: Final = (
    "git+https://<host>/<path>[@<ref>], git+ssh://…, git+file://…, an archive "
    "(s3://, gs://, abfs://, az://, hdfs://, https://, http://, file://) or snapshot:<sha256>"
)


@dataclass(frozen=True)
class LocalizeCommand:
    """What was asked for.

    Args:
        source: As it was written, or ``DOCUMENT``.
        to: The code folder.
        cache: Kept between calls.
        sha256: Of an archive.
        etag: What an archive must be told by; with a sha256 it says nothing.
        name: Of the folder in ``to``; None: by the source.
        strip_components: Of an archive.
        secret: Name of the one that reaches a repository, or an archive on a web server.
        secrets: Names of further ones, by the beginning of the addresses that they are for.
        json: Whether the receipt is printed as a document.
    """

    source: str
    to: Path
    cache: Path
    sha256: str | None = None
    etag: str | None = None
    name: str | None = None
    strip_components: int = 0
    secret: str | None = None
    secrets: Mapping[str, str] = field(default_factory=dict[str, str])
    json: bool = False


def run(command: LocalizeCommand, variables: Mapping[str, str]) -> None:
    """Localise, and print the receipt; what takes time is told on standard error.

    Raises:
        SeafloorError: as ``code.localize``; Conflict when something else has the folder's name.
    """
    say = _silent if command.json else _say
    secret_of = _secrets().get
    if command.source == DOCUMENT:
        # Somebody else said what its secrets are for: one goes to the hosts that it names itself.
        source = msgspec.json.decode(sys.stdin.buffer.read(), type=LocalizedCode)
    else:
        source = resolve(command, variables)
        secret_of = _named(command).__getitem__
    code_dir = command.to.expanduser().absolute()
    check_free(code_dir, source.folder)
    opener = remote_opener(variables)
    cache_dir = command.cache.expanduser().absolute()
    # Those of the server on this machine, whose cache this is as a rule.
    bounds = load(data_dir=None, flags={}, variables=variables).code.bounds
    means = Means(cache_dir, _fetch_snapshot, opener, say, secret_of, bounds=bounds)
    receipt = localize(source, code_dir=code_dir, means=means)
    if command.json:
        # JSON is UTF-8, which a path need not be.
        path = os.fsencode(code_dir / source.folder).decode("utf-8", "backslashreplace")
        document = {"path": path, "receipt": receipt, "source": source}
        sys.stdout.write(msgspec.json.format(msgspec.json.encode(document)).decode() + "\n")
    else:
        sys.stdout.buffer.write(os.fsencode(f"{code_dir / source.folder}: {_shown(receipt)}\n"))


def resolve(command: LocalizeCommand, variables: Mapping[str, str]) -> LocalizedCode:
    """Make what was written immutable.

    Raises:
        InvalidValue: it is no source, or an option does not go with it.
        SourceError: it cannot be had.
    """
    text = command.source.strip()
    if command.secrets and not text.startswith(GIT):
        raise InvalidValue("--secret-for is for repositories.")
    secrets = _named(command)
    if is_archive_url(text):
        found = resolve_archive(
            ArchiveRequest(
                url=text,
                sha256=command.sha256,
                name=command.name,
                strip_components=command.strip_components,
            ),
            remote_opener(variables),
            None if command.secret is None else secrets[command.secret],
        )
        # What it is now is what it was: localising looks once more, and refuses what is not so.
        return found if not command.etag else msgspec.structs.replace(found, etag=command.etag)
    if command.secret is not None and not text.startswith(GIT):
        raise InvalidValue("--secret is for repositories and archives.")
    if command.strip_components or command.sha256 is not None or command.etag is not None:
        raise InvalidValue("--sha256, --etag and --strip-components are for archives.")
    if text.startswith(GIT):
        url, ref = _split_ref(text.removeprefix(GIT))
        source: LocalizedCode = resolve_git(
            url,
            ref,
            secret=None if command.secret is None else secrets[command.secret],
            secrets={prefix: secrets[name] for prefix, name in command.secrets.items()},
        )
    elif text.startswith(SNAPSHOT) or _DIGEST.match(text):
        digest = parse_sha256(text.removeprefix(SNAPSHOT), field="SOURCE")
        source = SnapshotCode(sha256=digest, size_bytes=0, folder="code")
    else:
        shown = without_secrets(text)[:80]
        raise InvalidValue(f'"{shown}" is no source of code. Give {_FORMS}.', field="SOURCE")
    if command.name is None:
        return source
    return msgspec.structs.replace(source, folder=check_folder(command.name, field="--name"))


def check_free(code_dir: Path, folder: str) -> None:
    """Refuse to replace what somebody else put there: only what was localised before is ours.

    Raises:
        Conflict: something of that name is there.
    """
    if is_code_dir(code_dir):
        return
    for name in (folder, CURRENT):
        path = code_dir / name
        if path.is_symlink() or path.exists():
            raise Conflict(
                f'"{path}" is there already, and was not localised: choose another --to or --name.'
            )


def _split_ref(text: str) -> tuple[str, str | None]:
    """Take the ref off the end: what follows an ``@`` after the host."""
    scheme, separator, rest = text.rpartition("://")
    host, slash, path = rest.partition("/")
    path, at, ref = path.partition("@")
    if at and not ref:
        raise InvalidValue("There is no ref after the @.", field="SOURCE")
    return f"{scheme}{separator}{host}{slash}{path}", ref or None


def _named(command: LocalizeCommand) -> dict[str, Secret]:
    """The secrets of a command, each with its hosts.

    Who calls this may read them himself, and says what they are for: one that names no hosts, as
    those made for Kubernetes, is for the host that it is given for. A server wants them named.
    """
    kept = _secrets()
    given = [*command.secrets.items()]
    if command.secret is not None:
        given.append((_split_ref(command.source.strip().removeprefix(GIT))[0], command.secret))
    hosts: dict[str, set[str]] = {}
    for text, name in given:
        known = hosts.setdefault(name, set())
        with suppress(InvalidValue):  # a path, or a bucket: said by what would use the secret
            known.add(parse_url_prefix(text).host)
    found = {name: kept.get(name) for name in hosts}
    return {
        name: secret
        if HOSTS in secret
        else Secret(name, {**secret, HOSTS: " ".join(hosts[name]).encode()})
        for name, secret in found.items()
    }


def _secrets() -> FolderSecrets:
    return FolderSecrets(read_settings().data / SECRETS_FOLDER)


def _fetch_snapshot(sha256: Sha256, path: Path) -> None:
    settings = read_settings()
    client = Client(require_server(settings), settings.token or "")
    client.snapshots.get(sha256, path)


def _shown(receipt: Receipt) -> str:
    what = f"commit {receipt.commit}" if receipt.commit else f"sha256 {receipt.sha256}"
    cached = ", from the cache" if receipt.cached else ""
    return (
        f"{shown_count(receipt.files, 'file')}, {shown_count(receipt.size_bytes, 'byte')}, {what}, "
        f"{receipt.duration_s:.2f} s{cached}"
    )


def _say(message: str) -> None:
    sys.stderr.write(f"{message}\n")


def _silent(_message: str) -> None:
    """Say nothing."""
