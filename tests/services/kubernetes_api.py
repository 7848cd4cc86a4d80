"""Kubernetes without a node: the API server and what makes it one; pods stay pending."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.services._kubernetes_build import VERSION
from tests.services._kubernetes_plane import (
    AUDIT_VARIABLE,
    PARTS_VARIABLE,
    Plane,
    parts_socket,
)
from tests.services._service import Service


@contextmanager
def service() -> Iterator[Service]:
    """Run an empty control plane."""
    with (
        tempfile.TemporaryDirectory(prefix="seafloor-kubernetes-api-") as name,
        closing(Plane(Path(name))) as plane,
    ):
        plane.start()
        with parts_socket(plane) as parts:
            yield Service(
                name=f"Kubernetes {VERSION}, no node",
                url=plane.kubernetes.url,
                env={
                    "KUBECONFIG": str(plane.kubeconfig),
                    PARTS_VARIABLE: parts,
                    AUDIT_VARIABLE: str(plane.audit),
                },
                note="pods stay pending",
            )
