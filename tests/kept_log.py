"""Logs put where a server keeps them, of what only a cluster prints."""

from __future__ import annotations

from live_server import LiveServer
from seafloor.testing.log_spools import OUT, T0_NS, Record, spool


def keep_log(server: LiveServer, run: str, stem: str, *texts: str) -> None:
    """Write a log where the server keeps them, which it never opened before."""
    keep_lines(server, run, stem, dict(enumerate(texts, start=1)))


def keep_lines(server: LiveServer, run: str, stem: str, texts: dict[int, str]) -> None:
    """As ``keep_log``, of lines by their numbers; those that are left out are missing."""
    records = [
        Record(number, T0_NS + number, text.encode(), OUT, 1) for number, text in texts.items()
    ]
    path = server.data / "spool" / "logs" / run / "1" / f"{stem}.log"
    assert not path.exists()
    path.write_bytes(spool(records))
    path.with_suffix(".done").touch()
