"""``seafloor render``."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from seafloor.cli.output import say
from seafloor.cli.session import Given, json_option, pass_given, server_options

if TYPE_CHECKING:
    from seafloor.cli.claims import VolumeClaims
    from seafloor.domain.cluster_specs import ClusterSpec
    from seafloor.domain.code import CodeSource

_FILE = click.Path(path_type=Path)

volume_claim_option = click.option(
    "--volume-claim",
    "volume_claims",
    metavar="NAME=CLAIM",
    multiple=True,
    help="Which claim a volume of the spec is, where no server is to say it.",
)


@click.command()
@click.option(
    "--file",
    "-f",
    "files",
    type=_FILE,
    metavar="SPEC",
    multiple=True,
    required=True,
    help="A spec (YAML), and further ones of environments.",
)
@click.option("--policy", type=_FILE, metavar="FILE", help="The administrator's policy (YAML).")
@click.option("--namespace", "-n", metavar="NAME", help="Default: the policy's first.")
@volume_claim_option
@click.option("--owner-uid", metavar="UID", help="Of the ConfigMap, when that is in the cluster.")
@server_options
@json_option
@pass_given
def render(
    given: Given,
    files: tuple[Path, ...],
    policy: Path | None,
    namespace: str | None,
    volume_claims: tuple[str, ...],
    owner_uid: str | None,
) -> int:
    """Print what a spec is in Kubernetes, as YAML, and do nothing.

    \b
    seafloor render -f train.yaml --policy policy.yaml -n ml > train-pods.yaml

    SPEC is an experiment, a notebook or a serving. No cluster is needed, and a server only for code
    with `sync_mode: local`, which is sent there, for images of environments that neither the
    policy nor a file names, and for the claims of volumes that it made. A git ref becomes a commit.
    The same spec, commit, images, claims and policy give the same bytes.
    """
    made = read_request(given, files, volume_claims=volume_claims, keep=True)
    options = (("--policy", policy), ("--namespace", namespace), ("--owner-uid", owner_uid))
    command = render_command(options)
    if given.json:
        command.append("--json")
    return subprocess.run(command, input=made.body(), check=False).returncode


@dataclass(frozen=True)
class RenderRequest:
    """What is sent to what makes the manifests.

    Args:
        document: The whole spec.
        spec: The same, typed.
        code: Immutable; None: there is none.
        images: Of environments that the policy may not know.
        volumes: Which claims its volumes are.
    """

    document: dict[str, Any]
    spec: ClusterSpec
    code: CodeSource | None
    images: dict[str, str]
    volumes: VolumeClaims

    def body(self) -> bytes:
        """As it is sent."""
        import msgspec

        volumes = self.volumes
        return msgspec.json.encode(
            {
                "spec": self.document,
                "code": self.code,
                "images": self.images,
                "claims": volumes.claims,
                "problems": volumes.problems,
                "warnings": volumes.warnings,
                "unasked": volumes.unasked,
            }
        )


def render_command(options: Iterable[tuple[str, object]]) -> list[str]:
    """The process that makes manifests; options without a value are left out."""
    command = [sys.executable, "-m", "seafloor.boot", "render"]
    for option, value in options:
        if value is not None:
            command += [option, str(value)]
    return command


def read_request(
    given: Given, files: Sequence[Path], *, volume_claims: Sequence[str], keep: bool
) -> RenderRequest:
    """Read specs, and make the code of the one that runs immutable.

    Args:
        volume_claims: ``NAME=CLAIM`` texts.
        keep: Whether a working folder is sent to the server, where pods will fetch it.

    Raises:
        SeafloorError: a file, the code, a volume, or that there is not one spec of what runs.
    """
    from seafloor.cli.claims import find_claims
    from seafloor.cli.spec_files import read_spec_document
    from seafloor.domain.cluster_specs import parse_cluster_spec
    from seafloor.domain.errors import InvalidValue
    from seafloor.domain.specs import EnvironmentSpec

    images: dict[str, str] = {}
    found: list[tuple[Path, dict[str, Any], ClusterSpec]] = []
    for file in files:
        document, spec = read_spec_document(file, parse_cluster_spec)
        if isinstance(spec, EnvironmentSpec):
            images[spec.name] = spec.image or ""
        else:
            found.append((file, document, spec))
    if len(found) != 1:
        raise InvalidValue(
            f"Give one spec of an experiment, a notebook or a serving, not {len(found)}.",
            field="-f",
        )
    file, document, spec = found[0]
    images = {**_server_images(given, spec, images), **images}
    volumes = find_claims(given, spec, volume_claims)
    code = _resolve(given, spec, file.absolute().parent, keep=keep)
    return RenderRequest(document, spec, code, images, volumes)


def _server_images(given: Given, spec: ClusterSpec, known: Container[str]) -> dict[str, str]:
    """Ask the server, if there is one, for images of environments that no file describes."""
    from seafloor.domain.errors import NotFound, StoreUnavailable
    from seafloor.domain.specs import ExperimentSpec
    from seafloor.sdk.discovery import find_server

    named = [spec.environment]
    if isinstance(spec, ExperimentSpec):
        named += [task.environment for task in spec.tasks.values()]
    wanted = {one for one in named if one is not None and one.partition("@")[0] not in known}
    if not wanted or find_server(given.settings) is None:
        return {}
    images: dict[str, str] = {}
    for reference in sorted(wanted):
        try:
            found = given.client.environments.get(reference, project=spec.project).environment
        except NotFound:
            continue  # the policy may have it
        except StoreUnavailable as error:
            say(f"The server was not asked for images: {error.message}")
            break
        if found.is_image_only and found.image is not None:
            images[reference] = found.image
    return images


def _resolve(given: Given, spec: ClusterSpec, base: Path, *, keep: bool) -> CodeSource | None:
    """Make the code immutable, as far as pods need it."""
    import msgspec

    from seafloor.cli.submissions import absolute_url
    from seafloor.code.archive import ArchiveRequest, check_request
    from seafloor.domain.code import ImageCode, SyncMode

    code = spec.code
    if code is None:
        return None
    if code.sync_mode is SyncMode.IMAGE:
        return ImageCode(code.path)
    if code.sync_mode is SyncMode.LOCAL:
        return _snapshot(given, base / Path(code.path or ".").expanduser(), keep=keep)
    url = absolute_url(code.url or "", base)
    if code.sync_mode is SyncMode.GIT:
        from seafloor.code.git import resolve_git

        # By what this machine knows of the repository; the pod will use the secrets.
        resolved = resolve_git(url, code.ref, sparse=code.sparse)
        return msgspec.structs.replace(resolved, secret=code.secret, secrets=code.secrets)
    archive = check_request(
        ArchiveRequest(
            url=url,
            mode=code.sync_mode,
            sha256=code.sha256,
            name=code.name,
            strip_components=code.strip_components,
        )
    )
    return msgspec.structs.replace(archive, secret=code.secret)


def _snapshot(given: Given, folder: Path, *, keep: bool) -> CodeSource:
    """Take a snapshot of a folder; the server may keep it, where pods will fetch it."""
    import tempfile

    from seafloor.code.snapshot import take_snapshot
    from seafloor.domain.errors import InvalidValue
    from seafloor.sdk.discovery import find_server

    if keep and find_server(given.settings) is None:
        raise InvalidValue(
            "Pods cannot come to a folder of this machine: start a server for it to be kept by "
            "(`seafloor up`, or --url), or use `sync_mode: git`.",
            field="code.sync_mode",
        )
    with tempfile.TemporaryDirectory(prefix="seafloor-") as scratch:
        archive = Path(scratch, "snapshot.tar.zst")
        snapshot = take_snapshot(folder.resolve(), archive, warn=say)
        if keep:
            given.client.snapshots.ensure(snapshot.sha256, archive)
    return snapshot
