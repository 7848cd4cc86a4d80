"""What a spec would be in a cluster, what it costs, and how it differs from the last run."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from seafloor.cli.output import say, styled
from seafloor.cli.quantities import shown_age, shown_size
from seafloor.cli.render import RenderRequest, read_request, render_command
from seafloor.cli.session import Given
from seafloor.domain.cluster_specs import parse_cluster_spec
from seafloor.domain.code import CodeSource, GitCode, Receipt, SnapshotCode
from seafloor.domain.errors import CallerError, StoreUnavailable
from seafloor.domain.specs import ExperimentSpec
from seafloor.sdk.discovery import find_server
from seafloor.sdk.runs import RunQuery
from seafloor.wire.manifests import (
    ClusterPlan,
    Difference,
    Fetch,
    ImageUse,
    KnownClaim,
    LastRun,
    ManifestSummary,
    PodSummary,
    SecretUse,
)

if TYPE_CHECKING:
    from seafloor.sdk.client import Client
    from seafloor.wire.runs import RunView


_LOOKED_AT_MAX: Final = 20
"""Newest runs of an experiment among which one is looked for that a spec made."""


def plan_for_cluster(
    given: Given,
    file: Path,
    *,
    policy: Path,
    namespace: str | None,
    volume_claims: Sequence[str],
) -> ClusterPlan | int:
    """Plan for a cluster, without one; a server is asked for claims and the last run.

    Args:
        volume_claims: ``NAME=CLAIM`` texts.

    Returns:
        The exit code when the spec or the policy is refused, which was said.
    """
    request = read_request(given, (file,), volume_claims=volume_claims, keep=False)
    command = [
        *render_command((("--policy", policy), ("--namespace", namespace))),
        "--summary",
    ]
    done = subprocess.run(command, input=request.body(), stdout=subprocess.PIPE, check=False)
    if done.returncode:
        return done.returncode
    manifests = msgspec.json.decode(done.stdout, type=ManifestSummary)
    claims = request.volumes.claims
    past = _past(given, request)
    if past is None:
        return ClusterPlan(manifests=manifests, claims=claims)
    fetches = tuple(_sized(fetch, request.code, past) for fetch in manifests.fetches)
    run = past.run
    return ClusterPlan(
        manifests=msgspec.structs.replace(manifests, fetches=fetches),
        claims=claims,
        last_run=LastRun(run.id, run.name, run.state.value, run.created_ns),
        differences=tuple(_differences(run, request)),
    )


@dataclass(frozen=True)
class _Past:
    """The last run of the experiment, and what was localised for it."""

    run: RunView
    receipts: tuple[Receipt, ...]


def _past(given: Given, request: RenderRequest) -> _Past | None:
    if not isinstance(request.spec, ExperimentSpec) or find_server(given.settings) is None:
        return None
    try:
        return _newest(given.client, request.spec)
    except StoreUnavailable as error:
        say(f"The server was not asked for the last run: {error.message}")
        return None


def _newest(client: Client, spec: ExperimentSpec) -> _Past | None:
    """The newest run that a spec of the same experiment made."""
    experiments = client.experiments.list(project=spec.project).items
    ids = [experiment.id for experiment in experiments if experiment.name == spec.name]
    if not ids:
        return None
    query = RunQuery(project=spec.project, experiment_id=ids[0], fields="")
    for listed in client.runs.iterate(query, limit=_LOOKED_AT_MAX):
        run = client.runs.get(listed.id)  # a list leaves specs out
        if run.spec:
            attempts = client.runs.attempts(run.id).items
            receipts = (one for attempt in attempts for one in attempt.receipts.values())
            return _Past(run, tuple(receipts))
    return None


def _sized(fetch: Fetch, code: CodeSource | None, past: _Past) -> Fetch:
    """Say of a repository what it was the last time: it does not tell its size before."""
    if fetch.size_bytes is not None or not isinstance(code, GitCode):
        return fetch
    if code.commit not in fetch.source:
        return fetch
    for receipt in past.receipts:
        if receipt.commit is not None and receipt.url == code.url:
            same = "this commit" if receipt.commit == code.commit else receipt.commit[:12]
            basis = f"{same} in run {past.run.id[:12]}, checked out"
            return msgspec.structs.replace(fetch, size_bytes=receipt.size_bytes, basis=basis)
    return fetch


def _differences(run: RunView, request: RenderRequest) -> Iterator[Difference]:
    """Field by field, what the spec said then and says now; and which code that is."""
    (now,) = request.document.values()
    before, after = _flat(_canonical(run.spec)), _flat(_canonical(now))
    before |= _flat_code(run.code)
    after |= _flat_code(request.code)
    for field in dict.fromkeys((*before, *after)):
        if before.get(field) != after.get(field) and not _pinned(field, before, after):
            yield Difference(field, before.get(field), after.get(field))


def _pinned(field: str, before: Mapping[str, str], after: Mapping[str, str]) -> bool:
    """Whether only the version was added that a role's environment had when it was submitted."""
    name, version, _ = before.get(field, "").partition("@")
    return field.startswith("tasks.") and bool(version) and name == after.get(field)


def _canonical(spec: Mapping[str, Any]) -> Any:
    """With all defaults, so that a field that says a default is no difference."""
    try:
        parsed = parse_cluster_spec({"experiment": dict(spec)})
    except CallerError:  # of another version
        return dict(spec)
    made = msgspec.to_builtins(parsed)
    # What it says of the code is how it is found; what was found is compared.
    return {field: value for field, value in made.items() if field not in ("code", "project")}


def _flat_code(code: CodeSource | None) -> dict[str, str]:
    if isinstance(code, SnapshotCode):
        return {"code.kind": "snapshot", "code.sha256": code.sha256}
    return _flat(msgspec.to_builtins(code), "code.") if code is not None else {}


def _flat(value: object, at: str = "") -> dict[str, str]:
    """Paths to texts; what is empty is left out."""
    if isinstance(value, dict):
        found: dict[str, str] = {}
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            found |= _flat(inner, f"{at}{key}." if isinstance(inner, dict) else f"{at}{key}")  # pyright: ignore[reportUnknownArgumentType]
        return found
    if value is None or value in ("", [], ()):
        return {}
    return {at: value if isinstance(value, str) else msgspec.json.encode(value).decode()}


def print_plan(plan: ClusterPlan) -> None:
    """Show it to people."""
    made = plan.manifests
    for warning in made.warnings:
        say(f"warning: {warning}")
    click.echo(f"namespace {made.namespace}")
    _section("objects", made.objects)
    _section("pods", map(_pods, made.pods))
    _section("images", map(_image, made.images))
    _section("fetched before the command starts", map(_fetch, made.fetches))
    _section("secrets, by name", map(_secret, made.secrets))
    _section("volumes", (_attached(one, plan.claims) for one in made.volumes))
    if plan.last_run is not None:
        run = plan.last_run
        title = f"difference to run {run.id} ({run.name}, {run.state}, {shown_age(run.created_ns)})"
        _section(title, map(_change, plan.differences), none="nothing")


def _section(title: str, lines: Iterable[str], *, none: str | None = None) -> None:
    found = list(lines) or ([none] if none is not None else [])
    if found:
        click.echo(f"\n{title}")
    for line in found:
        click.echo(f"  {line}")


def _pods(pods: PodSummary) -> str:
    asked = ", ".join(f"{name} {amount}" for name, amount in pods.requests.items())
    nodes = ", ".join(f"{name}={value}" for name, value in pods.node_selector.items())
    return f"{pods.count} {pods.task}: {asked}" + (f"; on nodes {nodes}" if nodes else "")


def _image(image: ImageUse) -> str:
    tag = "" if image.by_digest else styled("  by tag: it may be another tomorrow", "yellow")
    return f"{image.image}  ({', '.join(image.containers)}){tag}"


def _fetch(fetch: Fetch) -> str:
    pods = "by one pod" if fetch.pods == 1 else f"by each of {fetch.pods} pods, which share nothing"
    size = "its size is known once it is fetched"
    if fetch.size_bytes is not None:
        size = shown_size(fetch.size_bytes)
        if fetch.pods > 1:
            size += f", {shown_size(fetch.size_bytes * fetch.pods)} in all"
        if fetch.basis:
            size = f"about {size} ({fetch.basis})"
    return f"{fetch.source}  {pods}: {size}"


def _secret(secret: SecretUse) -> str:
    keys = f" ({', '.join(secret.keys)})" if secret.keys else ""
    return f"{secret.name}{keys} for {', '.join(secret.uses)}"


def _attached(line: str, claims: Mapping[str, KnownClaim]) -> str:
    """A claim and, where it is known, which volume it is."""
    for name, known in claims.items():
        if known.claim == line.partition(" ")[0]:
            mode = "" if known.access_mode is None else f", {known.access_mode}"
            return f"{line}  the volume {name}{mode}"
    return line


def _change(change: Difference) -> str:
    absent = styled("(not there)", "bright_black")
    before = absent if change.before is None else change.before
    after = absent if change.after is None else change.after
    return f"{change.field}: {before} → {after}"
