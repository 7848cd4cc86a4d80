"""A DNS for the pods of a cluster: services and their members by name, as Kubernetes specifies.

Names of services without an address of their own are those of their members, at once or when they
are ready, as each service says. There is no proxy for the addresses of the others: their names are
answered alike, so that a client reaches a pod at the port that it listens on.
"""

from __future__ import annotations

import http.client
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from tests.services._kubernetes_client import Kubernetes

_SUFFIX: Final = ["svc", "cluster", "local"]
_ADDRESS, _INTERNET = 1, 1
_ANSWER, _NAME_UNKNOWN, _FAILED = 0x8580, 0x8583, 0x8582
_TTL_S: Final = 1


@contextmanager
def cluster_dns(host: str, kubernetes: Kubernetes) -> Iterator[None]:
    """Answer at port 53 of an address of this machine."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listening.bind((host, 53))
    stopped = threading.Event()
    thread = threading.Thread(target=_serve, args=(listening, kubernetes, stopped), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waking:
            waking.sendto(b"", (host, 53))
        thread.join()
        listening.close()


def _serve(listening: socket.socket, kubernetes: Kubernetes, stopped: threading.Event) -> None:
    while True:
        query, sender = listening.recvfrom(512)
        if stopped.is_set():
            return
        if len(query) > 16:
            listening.sendto(_answer(query, kubernetes), sender)


def _answer(query: bytes, kubernetes: Kubernetes) -> bytes:
    labels, end = _name(query)
    (kind,) = struct.unpack_from(">H", query, end)
    question = query[12 : end + 4]
    flags, addresses = _ANSWER, list[str]()
    try:
        found = _look_up(labels, kubernetes)
    except (OSError, http.client.HTTPException):  # killed in the middle of its answer, too
        flags = _FAILED
    else:
        if found is None:
            flags = _NAME_UNKNOWN
        elif kind == _ADDRESS:
            addresses = found
    records = b"".join(
        struct.pack(">HHHIH", 0xC00C, _ADDRESS, _INTERNET, _TTL_S, 4) + socket.inet_aton(address)
        for address in addresses
    )
    return query[:2] + struct.pack(">HHHHH", flags, 1, len(addresses), 0, 0) + question + records


def _name(query: bytes) -> tuple[list[str], int]:
    """The labels of the name that is asked for, and where they end."""
    labels: list[str] = []
    at = 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace").lower())
        at += 1 + length
    return labels, at + 1


def _look_up(labels: list[str], kubernetes: Kubernetes) -> list[str] | None:
    """Addresses of a name; None where there is no such name."""
    if labels[-3:] != _SUFFIX or len(labels) not in (5, 6):
        return None
    *host, service, namespace = labels[:-3]
    path = f"/api/v1/namespaces/{namespace}/endpoints?fieldSelector=metadata.name%3D{service}"
    addresses: list[dict[str, Any]] = [
        address
        for item in kubernetes.call("GET", path)["items"]
        for subset in item.get("subsets") or ()
        for address in subset.get("addresses") or ()
    ]
    if host:
        addresses = [one for one in addresses if one.get("hostname") == host[0]]
    return [one["ip"] for one in addresses] or None
