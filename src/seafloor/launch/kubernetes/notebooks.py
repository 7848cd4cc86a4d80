"""Notebooks: a StatefulSet of one, its Service, and a home that outlives it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Final

from seafloor.domain.cluster_specs import NotebookSpec
from seafloor.domain.code import CodeSource, ImageCode
from seafloor.domain.quantities import parse_memory
from seafloor.domain.volumes import CODE_PATH
from seafloor.launch.kubernetes import rules
from seafloor.launch.kubernetes.identity import Identity
from seafloor.launch.kubernetes.manifest import Manifest, without_empty
from seafloor.launch.kubernetes.parts import Parts
from seafloor.launch.kubernetes.pod import PodTask, pod_spec
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.request import PodRequest
from seafloor.launch.kubernetes.resources import memory_quantity
from seafloor.launch.kubernetes.services import container_port, probes, service

HOME_PATH: Final = "/home/seafloor"
_ONE_PORT: Final = "--ServerApp.port_retries=0"


def notebook_manifests(
    request: PodRequest, policy: Policy, identity: Identity, spec: NotebookSpec
) -> Iterator[Manifest]:
    """The objects of a notebook.

    Raises:
        Forbidden, InvalidValue: see ``pod_spec``.
    """
    home = f"{identity.base}-home"
    yield _home(policy, identity, spec, home)
    yield service(identity, policy)
    task = PodTask(
        command=spec.command or _jupyter(spec, request.code),
        resources=spec.resources,
        environment=spec.environment,
        env={"HOME": HOME_PATH},
        extra=Parts(
            volumes=({"name": "home", "persistentVolumeClaim": {"claimName": home}},),
            mounts=({"name": "home", "mountPath": HOME_PATH},),
            working_dir=HOME_PATH,
        ),
        container={"ports": [container_port(spec.port)], **probes(None)},
    )
    yield {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": identity.metadata(policy),
        "spec": {
            "replicas": 1,
            "serviceName": identity.base,
            "selector": {"matchLabels": identity.selector()},
            "template": {
                "metadata": {
                    "labels": identity.labels(policy, task="main", role="main"),
                    "annotations": identity.annotations(policy),
                },
                "spec": pod_spec(request, policy, task),
            },
        },
    }


def _jupyter(spec: NotebookSpec, code: CodeSource | None) -> str:
    """JupyterLab in the home, where what is written stays; the code is a link beside it."""
    at = code.path if isinstance(code, ImageCode) else CODE_PATH if code is not None else None
    link = f'[ -e "$HOME/code" ] || ln -s {shlex.quote(at)} "$HOME/code"; ' if at else ""
    return f"{link}exec jupyter lab --no-browser --ip=0.0.0.0 --port={spec.port} {_ONE_PORT}"


def _home(policy: Policy, identity: Identity, spec: NotebookSpec, name: str) -> Manifest:
    """The home. Nobody owns it: what people wrote is deleted by people."""
    most = policy.storage.home_maximum
    if most is not None and spec.home_bytes > parse_memory(most, field="storage.home_maximum"):
        rules.refuse("storage.home_maximum", f"A home has at most {most}.", field="home")
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": identity.metadata(policy, name=name, owned=False),
        "spec": without_empty(
            {
                "accessModes": [policy.storage.access_mode],
                "storageClassName": rules.storage_class(policy, spec.storage_class),
                "resources": {"requests": {"storage": memory_quantity(spec.home_bytes)}},
            }
        ),
    }
