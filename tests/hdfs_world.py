"""Folders of a real HDFS, and ways around the store to look at them."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock
from urllib.parse import urlsplit

from hdfs_native import Client, FileStatus, WriteOptions
from tests.services._service import Service

from seafloor.stores.objects.hdfs import remote, staging

PATIENCE_S = 120.0


@contextmanager
def patient() -> Iterator[None]:
    """Have stores wait for a NameNode, and for what DataNodes report, on a busy machine.

    For tests of what they do, not of how soon they give up.
    """
    with (
        mock.patch.multiple(remote, CALL_TIMEOUT_S=PATIENCE_S, DATA_TIMEOUT_S=PATIENCE_S),
        mock.patch.object(staging, "_CLOSE_PATIENCE_S", PATIENCE_S),
    ):
        yield


class Fs:
    """A file system, called directly.

    Args:
        service: Where it is.
    """

    def __init__(self, service: Service) -> None:
        self.url = service.url
        self.conf = service.env["HADOOP_CONF_DIR"]
        self.client = Client(service.url, None, self.conf)

    def fresh(self) -> str:
        """The URL of a folder that nobody has."""
        return f"{self.url}/tests/{uuid.uuid4().hex}"

    def write(self, place: str, key: str, data: bytes = b"") -> None:
        """Make a file below a store's folder, without the store."""
        writer = self.client.create(f"{path_of(place)}/{key}", WriteOptions(overwrite=True))
        if data:
            writer.write(data)
        writer.close()

    def tree(self, place: str) -> list[FileStatus]:
        """All files and folders below a store's folder."""
        try:
            return list(self.client.list_status(path_of(place), recursive=True))
        except FileNotFoundError:
            return []

    def paths(self, place: str) -> list[str]:
        """Their paths below it."""
        return sorted(found.path[len(path_of(place)) + 1 :] for found in self.tree(place))


def path_of(place: str) -> str:
    """The path in a store's URL."""
    return urlsplit(place).path
