"""Connections whose body may take as long to be sent as an answer to come.

urllib3 sends a body under the time for a connection: whatever took five seconds for a piece, over
a slow line or while the server paused, was cut off, and sent again from its beginning.
"""

from __future__ import annotations

from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection


def be_patient(pool: PoolManager, *, send_s: float) -> None:
    """Have the connections of a new pool wait longer while they send.

    Args:
        pool: None of whose connections is open.
        send_s: For each piece of a body.
    """

    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(send_s)

    class Secured(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            self.sock.settimeout(send_s)

    class PlainPool(HTTPConnectionPool):
        # The protocol's attributes are writable, which those of urllib3's own classes are not.
        ConnectionCls = Plain  # pyright: ignore[reportAssignmentType]

    class SecuredPool(HTTPSConnectionPool):
        ConnectionCls = Secured  # pyright: ignore[reportAssignmentType] - as above

    pool.pool_classes_by_scheme = {"http": PlainPool, "https": SecuredPool}
