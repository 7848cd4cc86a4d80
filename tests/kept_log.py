"""Logs put where a server keeps them, of what only a cluster prints."""

from __future__ import annotations

from live_server import LiveServer
from seafloor.testing.log_spools import OUT, T0_NS, Record, spool


def keep_log(server: LiveServer, run: str, stem: str, *texts: str) -> None:
    """Write a log where the server keeps them, which it never opened before."""
    records = [
        Record(number, T0_NS + number, text.encode(), OUT, 1)
        for number, text in enumerate(texts, start=1)
    ]
    path = server.data / "spool" / "logs" / run / "1" / f"{stem}.log"
    assert not path.exists()
    path.write_bytes(spool(records))
    path.with_suffix(".done").touch()
