"""``seafloor reproduce``: what of a run could be had again exactly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from seafloor.cli.output import Column, print_json, print_table
from seafloor.cli.session import Given, json_option, pass_given, server_options
from seafloor.domain.quantities import shown_count

if TYPE_CHECKING:
    from seafloor.domain.code import ArchiveCode, GitCode
    from seafloor.sdk.client import Client
    from seafloor.wire.runs import RunView
    from seafloor.wire.server import PlanCreate

_SHOWN_MAX = 3
_NOT_ASKED = "A machine that had it may still have it in its cache: nobody asked those."


class Finding(msgspec.Struct, frozen=True):
    """What is known of one part of a run.

    Args:
        part: ``code``, ``environment``, ``command`` or ``data``.
        exact: ``unproven``: nothing that is kept can say.
        why: One sentence, with what to do about it.
    """

    part: str
    exact: Literal["yes", "no", "unproven"]
    why: str


@click.command()
@click.argument("run", metavar="RUN")
@server_options
@json_option
@pass_given
def reproduce(given: Given, *, run: str) -> int:
    """Say which of code, environment, command and data of a run can be had again exactly.

    Looks whether the commit, the snapshot and the lock are still there; starts nothing.
    Exits with 1 when one of them cannot.
    """
    from seafloor.cli.references import find_run

    found = find_run(given.client, run)
    findings = [
        _code(given, found),
        *_environments(given.client, found),
        _command(found),
        _data(given.client, found),
    ]
    if given.json:
        print_json({"run": found.id, "parts": findings})
    else:
        columns = [Column("part"), Column("exact"), Column("why", wrap=True)]
        print_table(columns, [(each.part, each.exact, each.why) for each in findings])
    return int(any(each.exact == "no" for each in findings))


def _code(given: Given, run: RunView) -> Finding:
    from seafloor.domain.code import ArchiveCode, GitCode, ImageCode

    code = run.code
    if code is None:
        if run.origin == "launched":
            return Finding("code", "yes", "It has none but its command.")
        return Finding("code", "no", "An outside program made it, and kept no code here.")
    if isinstance(code, GitCode):
        return _git(given, run, code)
    if isinstance(code, ImageCode):
        return Finding("code", "no", "It was where the command ran, and nothing says what it was.")
    if isinstance(code, ArchiveCode):
        return _archive(given.client, run, code)
    shown = f"snapshot {code.sha256[:12]}"
    if given.client.snapshots.exists(code.sha256, size_bytes=code.size_bytes):
        return Finding("code", "yes", f"The server keeps {shown}, named by its content.")
    why = f"The server does not have {shown} any more. {_NOT_ASKED}"
    return Finding("code", "no", why)


def _git(given: Given, run: RunView, code: GitCode) -> Finding:
    from seafloor.code.git import resolve_git
    from seafloor.code.git_cache import GitCache
    from seafloor.domain.errors import InvalidValue, LimitExceeded, NotFound, SourceError

    shown = f"commit {code.commit[:12]}"
    try:
        if code.secret is None and not code.secrets:
            resolve_git(code.url, code.commit)
        else:  # the server has it
            given.client.plan(_code_alone(run, {**run.spec["code"], "ref": code.commit}))
    except (InvalidValue, LimitExceeded, NotFound, SourceError) as error:
        if GitCache(given.settings.data / "cache", code.url, lambda _message: None).has(
            code.commit
        ):
            why = (
                f"This machine still has {shown} in its cache, which may give it up at any time: "
                f"keep it with `seafloor code checkout`. The repository: {error.message}"
            )
            return Finding("code", "yes", why)
        why = f"C{shown[1:]}: {error.message} {_NOT_ASKED}"
        return Finding("code", "no" if isinstance(error, SourceError) else "unproven", why)
    return Finding("code", "yes", f"{code.url} still has {shown}.")


def _code_alone(run: RunView, code: dict[str, Any]) -> PlanCreate:
    """Ask for the code and for nothing else of a run: what became of its environment or volumes is
    no matter of its code.
    """
    from seafloor.wire.server import PlanCreate

    spec = {"name": run.experiment.name, "project": run.project, "code": code, "command": "true"}
    return PlanCreate(spec)


def _archive(client: Client, run: RunView, code: ArchiveCode) -> Finding:
    from seafloor.domain.code import ArchiveCode
    from seafloor.domain.errors import InvalidValue, LimitExceeded, NotFound, SourceError

    try:
        now = client.plan(_code_alone(run, run.spec["code"])).code
    except SourceError as error:
        return Finding("code", "no", f"{error.message} {_NOT_ASKED}")
    except (InvalidValue, LimitExceeded, NotFound) as error:
        return Finding("code", "unproven", error.message)
    if isinstance(now, ArchiveCode) and (now.etag, now.size_bytes) == (code.etag, code.size_bytes):
        return Finding("code", "yes", f"{code.url} is unchanged.")
    if code.sha256 is not None:
        why = f"{code.url} was written anew; its sha256 is compared when a run starts."
        return Finding("code", "unproven", why)
    return Finding("code", "no", f"{code.url} has changed since, and no sha256 was given.")


def _environments(client: Client, run: RunView) -> list[Finding]:
    """Of the run, or of its roles where they have their own."""
    tasks: dict[str, dict[str, Any]] = run.spec.get("tasks") or {}
    named = dict.fromkeys(task.get("environment") or run.environment for task in tasks.values())
    return [_environment(client, one, project=run.project) for one in named or [run.environment]]


def _environment(client: Client, reference: str | None, *, project: str) -> Finding:
    from seafloor.domain.environments import parse_lock
    from seafloor.domain.errors import NotFound

    if reference is None:
        why = "It ran in the Python it was given, which no record describes: name an environment."
        return Finding("environment", "no", why)
    try:
        found = client.environments.get(reference, project=project).environment
    except NotFound:
        return Finding("environment", "no", f"{reference} is not kept by the server.")
    packages = parse_lock(found.lock)
    loose = [one.line for one in packages if not one.is_exact]
    if loose:
        some = ", ".join(loose[:_SHOWN_MAX]) + (", …" if len(loose) > _SHOWN_MAX else "")
        return Finding("environment", "no", f"{reference} has what may change: {some}")
    exact = shown_count(len(packages), "package")
    why = f"{reference}: Python {found.python}, {exact} in exact versions."
    return Finding("environment", "yes", why)


def _command(run: RunView) -> Finding:
    if run.origin != "launched":
        why = "It was started by a program of its own: nothing here says how."
        return Finding("command", "no", why)
    return Finding("command", "yes", "The spec is kept as it was submitted.")


def _data(client: Client, run: RunView) -> Finding:
    datasets = client.models.inputs(run.id).datasets
    if not datasets:
        why = "It logged no dataset (mlflow.log_input): nothing says what it read."
        return Finding("data", "unproven", why)
    shown = ", ".join(f"{each.name} ({each.digest})" for each in datasets[:_SHOWN_MAX])
    more = ", …" if len(datasets) > _SHOWN_MAX else ""
    why = f"It read {shown}{more}; whether that is still there only its source can say."
    return Finding("data", "unproven", why)
