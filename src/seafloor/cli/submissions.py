"""What ``seafloor run`` and ``seafloor plan`` submit: a spec, and its code made immutable."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seafloor.domain.code import CodeSource, SnapshotCode, SyncMode
from seafloor.domain.errors import InvalidValue
from seafloor.domain.names import check_key
from seafloor.domain.specs import ExperimentSpec, parse_experiment, parse_secrets_for
from seafloor.sdk.client import Client
from seafloor.wire.server import PlanCreate


@dataclass(frozen=True)
class SubmissionOptions:
    """What was asked for on the command line.

    Args:
        command: Its words; empty: the spec's.
        file: A spec; None: none.
        name: Of the run.
        experiment: Of the experiment; None: the spec's, or the folder's name.
        environment: ``<name>`` or ``<name>@<version>``.
        git, ref, secret: A repository instead of the working folder, and what reaches it.
        secrets: ``PREFIX=NAME``, each: what reaches what of it is elsewhere.
        timeout: Such as ``30m``.
        retries: Further attempts.
        env: ``NAME=VALUE``, each.
        folder: The working folder.
    """

    command: tuple[str, ...] = ()
    file: Path | None = None
    name: str | None = None
    experiment: str | None = None
    environment: str | None = None
    git: str | None = None
    ref: str | None = None
    secret: str | None = None
    secrets: tuple[str, ...] = ()
    timeout: str | None = None
    retries: int | None = None
    env: tuple[str, ...] = ()
    folder: Path = Path()


@dataclass(frozen=True)
class Submission:
    """A spec that is checked, and where its code is.

    Args:
        body: What is sent: what stands under ``experiment:``.
        spec: The same, typed.
        base: What relative paths are relative to.
    """

    body: dict[str, Any]
    spec: ExperimentSpec
    base: Path


def make_submission(options: SubmissionOptions) -> Submission:
    """Make a spec of what was asked for.

    Raises:
        InvalidValue: the options, the spec file or the command.
        NotFound: there is no such spec file.
    """
    base = options.folder.absolute()
    if options.file is not None:
        from seafloor.cli.spec_files import read_spec_file  # a command alone needs no YAML

        base = options.file.absolute().parent
        read = read_spec_file(options.file)
        if not isinstance(read.spec, ExperimentSpec):
            raise InvalidValue(
                f"{options.file} is an environment, which is not run: "
                f"use `seafloor env create -f {options.file}`.",
                field="-f",
            )
        body = dict(read.body)
    elif options.command:
        body = {"name": base.name or "root", "code": {"sync_mode": "local", "path": "."}}
    else:
        raise InvalidValue(
            "What is to be run? Give a command, as in `seafloor run -- python train.py`, "
            "or a spec with -f."
        )
    _apply(options, body)
    spec = parse_experiment(body)
    _make_absolute(body, spec, base)
    return Submission(body, parse_experiment(body), base)


def parse_pairs(texts: Sequence[str], *, field: str) -> dict[str, str]:
    """Read ``NAME=VALUE`` texts.

    Raises:
        InvalidValue: one has no ``=`` or no name, or is no text; or a name has two values.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(text).decode("utf-8", "backslashreplace")
            raise InvalidValue(f'"{shown}" is not UTF-8 text.', field=field) from error
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise InvalidValue(f'"{text}" is not of the form NAME=VALUE.', field=field)
        if pairs.setdefault(name, value) != value:
            raise InvalidValue(
                f'"{name}" is given twice, with two values: which is meant?', field=field
            )
    return pairs


def parse_params(texts: Sequence[str]) -> dict[str, str]:
    """Read the params of a run.

    Raises:
        InvalidValue, LimitExceeded: one is not of the form NAME=VALUE, or its name is no key.
    """
    params = parse_pairs(texts, field="--param")
    for name in params:
        check_key(name, field="--param")
    return params


def _apply(options: SubmissionOptions, body: dict[str, Any]) -> None:
    if options.environment is not None and "=" in options.environment:
        name = options.environment.partition("=")[0]
        raise InvalidValue(
            f"--env names an environment to run in; a variable of the command is -e {name}=VALUE.",
            field="--env",
        )
    given = {
        "command": list(options.command) or None,
        "name": options.experiment,
        "run_name": options.name,
        "environment": options.environment,
        "timeout": options.timeout,
        "retries": options.retries,
    }
    body.update({name: value for name, value in given.items() if value is not None})
    if options.env:
        body["env"] = {**body.get("env", {}), **parse_pairs(options.env, field="-e")}
    _apply_code(options, body)


def _apply_code(options: SubmissionOptions, body: dict[str, Any]) -> None:
    code: dict[str, Any] = body.get("code") or {}
    is_git = code.get("sync_mode") == "git"
    if options.git is not None:
        asked = {
            "sync_mode": "git",
            "url": absolute_url(options.git, options.folder),
            "ref": options.ref or (code.get("ref") if is_git else None),
            "secret": options.secret,
            "secrets": parse_secrets_for(options.secrets) or None,
        }
        body["code"] = {name: value for name, value in asked.items() if value is not None}
    elif options.secret is not None or options.secrets:
        raise InvalidValue(
            "--secret and --secret-for go with --git; in a spec they are `code.secret` and "
            "`code.secrets`."
        )
    elif options.ref is not None:
        if not is_git:
            raise InvalidValue("--ref goes with --git, or with a spec whose code is git's.")
        body["code"] = {**code, "ref": options.ref}


def _make_absolute(body: dict[str, Any], spec: ExperimentSpec, base: Path) -> None:
    """What a spec says of places is meant from where the spec is."""
    code = spec.code
    if code is None:
        return
    if code.sync_mode is SyncMode.LOCAL:
        path = (base / Path(code.path or ".").expanduser()).resolve()
        body["code"] = {**body["code"], "path": str(path)}
    elif code.url is not None:
        body["code"] = {**body["code"], "url": absolute_url(code.url, base)}


def absolute_url(url: str, base: Path) -> str:
    """Make a path of this machine absolute; leave every other address as it is."""
    first = url.partition("/")[0]
    if "://" in url or ":" in first or "@" in first:
        return url
    return str((base / Path(url).expanduser()).resolve())


def resolve_code(
    submission: Submission, *, warn: Callable[[str], None], client: Callable[[], Client] | None
) -> CodeSource | None:
    """Make the code immutable: a ref becomes a commit, a folder a snapshot.

    What an archive is now is found out by the server, and the commit of a repository for which it
    has the secret: None stands for these, and for code of an image.

    Args:
        submission: What is submitted.
        warn: Told of what is left out of a snapshot.
        client: Gives the server that a snapshot is sent to, when it is ready; None: it is not
            sent.

    Raises:
        SourceError: the code cannot be had.
        InvalidValue, LimitExceeded: the address or the folder.
        NotSupported: a way that this version does not know.
    """
    code = submission.spec.code
    if code is None:
        return None
    if code.sync_mode is SyncMode.GIT and code.secret is None and not code.secrets:
        from seafloor.code.git import resolve_git

        return resolve_git(code.url or "", code.ref, sparse=code.sparse)
    if code.sync_mode is not SyncMode.LOCAL:
        return None  # the server, which will fetch it, looks whether it can
    from seafloor.code.snapshot import take_snapshot
    from seafloor.code.snapshot_memory import SnapshotMemory
    from seafloor.sdk.settings import read_settings

    folder = Path(code.path or ".")
    with tempfile.TemporaryDirectory(prefix="seafloor-") as scratch:
        archive = Path(scratch, "snapshot.tar.zst")
        snapshot = take_snapshot(
            folder,
            archive,
            warn=warn,
            memory=SnapshotMemory(read_settings().home / "snapshots"),
            is_kept=lambda sha256, size_bytes: (
                client is None or client().snapshots.exists(sha256, size_bytes=size_bytes)
            ),
        )
        if client is not None and archive.exists():
            _send_snapshot(client(), submission, snapshot, archive)
    return snapshot


def _send_snapshot(
    client: Client, submission: Submission, snapshot: SnapshotCode, archive: Path
) -> None:
    """Send a snapshot that the server does not have.

    Raises:
        SeafloorError: the server would refuse the run; then nothing is sent, so that what is
            refused leaves nothing there.
    """
    if not client.snapshots.exists(snapshot.sha256, size_bytes=snapshot.size_bytes):
        client.plan(PlanCreate(submission.body, snapshot))
        client.snapshots.put(snapshot.sha256, archive)
