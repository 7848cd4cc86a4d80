"""The server as an agent sees it: one kept connection, and four kinds of answer."""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.parse
from typing import Any, Dict, Iterable, NamedTuple, Optional, Union, cast

from .processes import process

TIMEOUT_S = 60.0
_BLOCK_BYTES = 1 << 20
_BODY_BYTES_MAX = 1 << 20
_BY_ITSELF = (408, 425, 429)
_FOR_GOOD = ("store_corrupt", "not_supported")
BUG = "internal"
"""Code of an answer that may come again for the same request, however often it is repeated."""
TRIES_AFTER_A_BUG = 12
"""How often a file is sent that the server answers so; then it is left out, and said.

So few that they are over before who delivers what a dead agent left loses patience
(``salvage.PATIENCE_S``): he would never get past such a file.
"""

Body = Union[bytes, Iterable[bytes]]


class Request(NamedTuple):
    """A request that may be repeated.

    Args:
        method, path, body, headers: Of HTTP; the path with its query, quoted.
        expects: The field that a good answer has; one without it is another program's.
    """

    method: str
    path: str
    body: Body
    headers: Dict[str, str]
    expects: str


class ServerAway(Exception):
    """No answer, or one that says to come again. Repeat the request.

    Args:
        message: What happened.
        code: The server's code when it was the server that answered.
    """

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class Refused(Exception):
    """The server will never take this.

    Args:
        status: Of HTTP.
        code: Stable name of the error.
        message: For the user.
        next_offset: Where an append has to begin, when that was wrong.
    """

    def __init__(self, status: int, code: str, message: str, next_offset: Optional[int]) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.next_offset = next_offset


class WorkloadGone(Exception):
    """The workload was deleted: nobody wants what is left."""


class Server:
    """Sends requests, one at a time. For one thread.

    The address stands in a file that a server writes when it starts; it is read again after every
    failure, so that a server that came back on another port is found.

    Args:
        server_file: JSON with a ``url``, and the server's ``pid`` when it is of this machine.
        token: Presented with every request, or None.
    """

    def __init__(self, server_file: str, token: Optional[str]) -> None:
        self._server_file = server_file
        self._headers: Dict[str, str] = {"Accept": "application/json"}
        if token is not None:
            self._headers["Authorization"] = "Bearer " + token
        self._connection: Optional[http.client.HTTPConnection] = None
        self._prefix = ""

    def send(self, request: Request) -> Any:
        """Send a request that may be repeated.

        Returns:
            The value of the field of the answer that the request names.

        Raises:
            ServerAway, Refused, WorkloadGone: as they say.
        """
        kept = self._connection is not None
        try:
            return self._try(request)
        except ServerAway:
            # A kept connection may have been closed by a server that is well, or came back
            # elsewhere; a body that is no bytes cannot be sent twice.
            if not kept or self._connection is not None or not isinstance(request.body, bytes):
                raise
        return self._try(request)

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _try(self, request: Request) -> Any:
        try:
            connection = self._connect()
            status, content = _exchange(
                connection,
                request._replace(
                    path=self._prefix + request.path, headers=dict(self._headers, **request.headers)
                ),
            )
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ServerAway("the server does not answer: {!r}".format(error)) from error
        if connection.sock is None:  # the server closes after this answer
            self.close()
        try:
            return _judge(status, content, request.expects)
        except WorkloadGone as error:
            if self._announced_is_dead():
                # Another server took the port: of course it does not know this workload.
                self.close()
                raise ServerAway("the server is dead, and another has its port") from error
            raise

    def _announced_is_dead(self) -> bool:
        """Whether the server that announced itself is certainly gone: it is of this machine."""
        pid = self._announcement().get("pid")
        return isinstance(pid, int) and process(pid) is None

    def _connect(self) -> http.client.HTTPConnection:
        if self._connection is None:
            url = urllib.parse.urlsplit(str(self._announcement()["url"]))
            host, port = url.hostname or "", url.port
            if url.scheme == "https":
                self._connection = http.client.HTTPSConnection(
                    host, port, timeout=TIMEOUT_S, context=ssl.create_default_context()
                )
            else:
                self._connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
            self._connection.blocksize = _BLOCK_BYTES
            self._connection.connect()  # sets TCP_NODELAY
            self._prefix = url.path.rstrip("/")
        return self._connection

    def _announcement(self) -> Dict[str, Any]:
        try:
            with open(self._server_file, "rb") as stream:
                found = _object(stream.read())
        except OSError as error:
            raise ServerAway("no server has announced itself: {!r}".format(error)) from error
        if found is None or not isinstance(found.get("url"), str):
            raise ServerAway("{} is no address".format(self._server_file))
        return found


def _exchange(connection: http.client.HTTPConnection, request: Request) -> "tuple[int, bytes]":
    try:
        connection.request(request.method, request.path, body=request.body, headers=request.headers)
    except (BrokenPipeError, ConnectionResetError):
        # It may have answered, and closed, before it had read the whole body.
        response = connection.getresponse()
        connection.close()
        return response.status, response.read(_BODY_BYTES_MAX)
    response = connection.getresponse()
    content = response.read(_BODY_BYTES_MAX)
    if not response.isclosed():
        connection.close()
    return response.status, content


def _judge(status: int, content: bytes, expects: str) -> Any:
    document = _object(content)
    good = 200 <= status < 300
    if document is None or (good and expects not in document):
        # Whatever has this address now, it is not our server: it may come back.
        raise ServerAway("an answer that is none of Seafloor's (status {})".format(status))
    if good:
        return document[expects]
    code = str(document.get("code", ""))
    message = str(document.get("message", "status {}".format(status)))
    if status in _BY_ITSELF or status == 401 or (status >= 500 and code not in _FOR_GOOD):
        raise ServerAway(message, code)
    if code == "not_found":
        raise WorkloadGone(message)
    if status == 404:
        raise ServerAway("an answer that is none of Seafloor's (status 404)")
    offset = document.get("next_offset")
    raise Refused(status, code, message, offset if isinstance(offset, int) else None)


def _object(content: bytes) -> Optional[Dict[str, Any]]:
    try:
        found: Any = json.loads(content)
    except ValueError:
        return None
    return cast(Dict[str, Any], found) if isinstance(found, dict) else None
