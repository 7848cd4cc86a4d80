"""PostgreSQL and a bucket of this machine, as servers here and servers in pods reach them."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url
from tests.databases import fresh_database
from tests.services import kubernetes as kubernetes_service
from tests.services._forward import forwarded
from tests.services._service import Service

Manifest = dict[str, Any]


@dataclass(frozen=True)
class SharedStores:
    """A database and a place in a bucket.

    Args:
        metadata, objects: Their URLs, here.
        variables: What reaches the bucket, here.
        database_there, store_there: ``<host>:<port>`` of both, as pods reach them.
    """

    metadata: str
    objects: str
    variables: Mapping[str, str]
    database_there: str
    store_there: str

    def settings(self) -> dict[str, str]:
        """Variables of a server on this machine."""
        return {
            **self.variables,
            "SEAFLOOR_STORES__METADATA": self.metadata,
            "SEAFLOOR_STORES__OBJECTS": self.objects,
        }

    def secrets(self) -> list[Manifest]:
        """The Secrets that tell servers in pods."""
        host, _, port = self.database_there.partition(":")
        url = make_url(self.metadata).set(host=host, port=int(port))
        endpoint = f"http://{self.store_there}"
        variables = {**self.variables, "AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"}
        return [
            secret(
                "seafloor-stores",
                metadata=url.render_as_string(hide_password=False),
                objects=self.objects,
            ),
            secret("seafloor-object-store", **variables),
        ]


def secret(name: str, **data: str) -> Manifest:
    """A Secret with some values."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


@contextmanager
def shared_stores(cluster: Service, service: Callable[[str], Service]) -> Iterator[SharedStores]:
    """A fresh database and a prefix of the bucket, which pods of a cluster reach too."""
    bucket, gateway = service("s3"), cluster.env[kubernetes_service.GATEWAY]
    with fresh_database(service("postgresql"), migrated=False) as metadata:
        database, store = (
            make_url(metadata).port,
            urlsplit(bucket.env["AWS_ENDPOINT_URL"]).port,
        )
        assert database is not None
        assert store is not None
        with (
            forwarded((gateway, 0), database) as database_there,
            forwarded((gateway, 0), store) as store_there,
        ):
            objects = f"{bucket.url}/{uuid.uuid4().hex}"
            yield SharedStores(metadata, objects, bucket.env, database_there, store_there)
