"""Runs the server until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Generator
from typing import TextIO, cast

import msgspec
import structlog
import uvicorn
import uvloop

from seafloor import __version__
from seafloor.boot.data_folder import DataFolder, ServerFile
from seafloor.boot.listening import check_host, listen
from seafloor.boot.log_stream import LogStream
from seafloor.boot.settings import Settings, environment
from seafloor.boot.wiring import open_application
from seafloor.http.access_log import AccessLog
from seafloor.http.front import BoundedProtocol
from seafloor.http.mlflow.batch_reader import BatchReader
from seafloor.http.server import create_asgi

# A client that is told to keep its connection may think for minutes between two calls; mlflow's
# does not repeat some of its calls on a connection that was closed under it.
KEEP_ALIVE_S = 600
GRACE_S = 3

# How long a thread computes while another waits for its turn. A commit that is done must not wait
# for Python's 5 ms behind requests that are being read: that is ten times what it took itself.
SWITCH_S = 0.0005

_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared, not bound
"""Hosts at which a server listens everywhere, to where it is found on this machine."""
_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


def configure_logs(level: str) -> AccessLog | None:
    """Log JSON lines to standard output, ours and those of the libraries.

    Returns:
        Where requests are noted; None: the level leaves them out.
    """
    stream = LogStream(sys.stdout.fileno())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(serializer=_json),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS.get(level, 20)),
        logger_factory=structlog.WriteLoggerFactory(cast(TextIO, stream)),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(
        level=logging.WARNING,
        stream=stream,
        format='{"level": "%(levelname)s", "logger": "%(name)s", "event": "%(message)s"}',
        force=True,
    )
    return AccessLog(stream.write) if _LEVELS.get(level, 20) <= _LEVELS["info"] else None


def _json(value: object, **_: object) -> str:
    return msgspec.json.encode(value, enc_hook=str).decode()


def serve(settings: Settings, *, port_given: bool, access_log: AccessLog | None) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        SeafloorError: it cannot be started; the message says why and what to do.
    """
    check_host(settings.server)
    sys.setswitchinterval(SWITCH_S)
    folder = DataFolder(settings.data_dir)
    try:
        bound = listen(settings.server, port_last=folder.port_last(), port_given=port_given)
        with bound:
            uvloop.run(_serve(settings, folder, bound, access_log))
    finally:
        folder.close()


class _Server(uvicorn.Server):
    """A server that leaves signals to us.

    uvicorn raises a signal that it caught again when it has ended, which would end the process
    before the stores are closed.

    Args:
        stopping: Set when a signal tells the server to stop.
    """

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event) -> None:
        super().__init__(config)
        self._stopping = stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        """Stop on SIGTERM and SIGINT, and let what surrounds the server end too."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop, number)
        yield

    def _stop(self, number: int) -> None:
        self._stopping.set()
        self.handle_exit(number, None)


async def _serve(
    settings: Settings, folder: DataFolder, bound: socket.socket, access_log: AccessLog | None
) -> None:
    log = structlog.get_logger(__name__)
    port = bound.getsockname()[1]
    url = settings.server.url or f"http://{_shown_host(settings.server.host)}:{port}"
    async with (
        open_application(settings, folder, url=url) as application,
        BatchReader(environment()) as reader,
    ):
        own_url = f"http://{_own_host(settings.server.host)}:{port}"
        folder.write_server_file(
            ServerFile(url, os.getpid(), port, __version__, time.time_ns(), own_url)
        )
        asgi = create_asgi(application, reader=reader, access_log=access_log)
        config = uvicorn.Config(
            asgi,
            loop="none",
            http=BoundedProtocol,
            ws="none",  # whatever is installed: a connection keeps the bounds of this protocol
            lifespan="off",
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,  # nothing asks who the client is or what the proxy spoke
        )
        gc.freeze()
        gc.enable()
        working = [
            asyncio.create_task(application.reconciler.run(), name="reconciler"),
            asyncio.create_task(application.sealer.run(), name="sealer"),
            asyncio.create_task(application.volumes.run(), name="volumes"),
        ]
        log.info("server is ready", url=url, data_dir=str(folder.path), pid=os.getpid())
        try:
            await _Server(config, asgi.stopping).serve(sockets=[bound])
        finally:
            for task in working:
                task.cancel()
            await asyncio.gather(*working, return_exceptions=True)
            log.info("server has stopped")


def _shown_host(host: str) -> str:
    return socket.gethostname() if host in _EVERY_ADDRESS else _own_host(host)


def _own_host(host: str) -> str:
    """Where one that listens at a host is found on this machine."""
    host = _EVERY_ADDRESS.get(host, host)
    return f"[{host}]" if ":" in host else host
