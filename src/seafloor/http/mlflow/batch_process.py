"""The process that reads large batches for a server, which has others to answer meanwhile.

``python -m seafloor.http.mlflow.batch_process`` with a socket as its standard input: each frame
that comes is the body of a ``log-batch``, each that goes is what ``reading`` makes of it, in the
same order; the first that goes is ``FORMATS``. It ends when the server does. What it does is pure,
so nothing is lost with it.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

import msgspec

from seafloor.domain.errors import InvalidValue
from seafloor.http.mlflow.logged import UNDECODED, Label, LoggedBatch
from seafloor.stores.metrics.batch import Batch, batch_of_columns
from seafloor.stores.metrics.columns import columns_of
from seafloor.stores.metrics.journal import VERSION_COLUMNS

LENGTH = struct.Struct("!I")
"""What stands before the content of a frame: its length."""

FORMATS = b"frames 1, journal %d" % VERSION_COLUMNS
"""The process's first word: what it writes, since its package may be replaced under a server."""

_BATCH = msgspec.json.Decoder(LoggedBatch)


class ReadBatch(msgspec.Struct, frozen=True, array_like=True):
    """A batch, its points ready to be written.

    Args:
        metrics: How many points were sent, those that stand twice among them.
    """

    run_id: str
    metrics: int
    points: Batch
    params: list[Label]
    tags: list[Label]


_READ = msgspec.msgpack.Decoder(ReadBatch)


def reading(body: bytes) -> bytes:
    """Read a batch; empty: it is odd, or holds no points, and whoever sent it reads it himself."""
    try:
        found = _BATCH.decode(body)
        if not found.metrics:
            return b""
        points = batch_of_columns(columns_of(found.metrics))
    except (InvalidValue, *UNDECODED):
        return b""
    # Every number fits 64 bits: of NaN, whose rank does not, JSON has none.
    return msgspec.msgpack.encode(
        ReadBatch(found.run_id, len(found.metrics), points, found.params, found.tags)
    )


def read_again(frame: bytes) -> ReadBatch | None:
    """What ``reading`` said."""
    return _READ.decode(frame) if frame else None


def _received(peer: socket.socket, count: int) -> bytes | None:
    """So many bytes; None when the server is gone."""
    content = bytearray(count)
    view = memoryview(content)
    while view:
        got = peer.recv_into(view)
        if not got:
            return None
        view = view[got:]
    return bytes(content)


def main() -> int:
    """Read batches until the server ends."""
    peer = socket.socket(fileno=os.dup(sys.stdin.fileno()))
    peer.setblocking(True)
    try:
        peer.sendall(LENGTH.pack(len(FORMATS)) + FORMATS)  # here, and done with importing
        while (head := _received(peer, LENGTH.size)) is not None:
            body = _received(peer, *LENGTH.unpack(head))
            if body is None:
                break
            made = reading(body)
            peer.sendall(LENGTH.pack(len(made)) + made)
    except ConnectionError:  # the server was killed: nobody waits
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
