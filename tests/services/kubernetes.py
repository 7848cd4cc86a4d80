"""Kubernetes with a node that runs real pods, which reach this machine and nothing beyond it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from tests.services._cluster_dns import cluster_dns
from tests.services._forward import forwarded
from tests.services._kubernetes_build import VERSION
from tests.services._kubernetes_node import NAME, SECOND, Node, check_node_programs, slot
from tests.services._kubernetes_plane import (
    AUDIT_VARIABLE,
    PARTS_VARIABLE,
    Plane,
    parts_socket,
)
from tests.services._service import Service

GATEWAY: Final = "SEAFLOOR_TEST_KUBERNETES_GATEWAY"
"""The address by which pods reach this machine."""

DEBIAN: Final = "SEAFLOOR_TEST_KUBERNETES_DEBIAN"
BARE: Final = "SEAFLOOR_TEST_KUBERNETES_BARE"
SEAFLOOR: Final = "SEAFLOOR_TEST_KUBERNETES_SEAFLOOR"
"""Images that the node has, by digest: Python and git, the same without Python, and Seafloor's."""


@contextmanager
def service() -> Iterator[Service]:
    """Run a cluster of one node; ``Parts.add_node`` adds a second one for a while."""
    check_node_programs()
    with (
        slot() as taken,
        tempfile.TemporaryDirectory(prefix=f"{taken.name}-", ignore_cleanup_errors=True) as name,
        closing(Plane(Path(name), services=taken.services)) as plane,
        closing(Node(plane, taken)) as node,
        closing(Node(plane, taken, name=SECOND)) as second,
    ):
        plane.start()
        with (
            forwarded((taken.api, 443), plane.port),
            cluster_dns(taken.gateway, plane.kubernetes),
            parts_socket(plane, {second.name: second}) as parts,
        ):
            node.start()
            yield Service(
                name=f"Kubernetes {VERSION}, {NAME}",
                url=plane.kubernetes.url,
                env={
                    "KUBECONFIG": str(plane.kubeconfig),
                    PARTS_VARIABLE: parts,
                    AUDIT_VARIABLE: str(plane.audit),
                    GATEWAY: taken.gateway,
                    DEBIAN: node.debian,
                    BARE: node.bare,
                    SEAFLOOR: node.seafloor,
                },
                note="pods come up, and reach this machine by the gateway",
            )
