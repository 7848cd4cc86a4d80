"""The connection to an API server: lightkube's credentials and transport, our words for its errors.

Objects go over it as plain data: what manifests say is what the server gets, and a watch costs one
decoded line for a change.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec
from lightkube import KubeConfig
from lightkube.config.client_adapter import AsyncClient, ConnectionParams
from lightkube.config.kubeconfig import SingleConfig
from lightkube.core.exceptions import ConfigError

from seafloor.domain.errors import (
    AlreadyExists,
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    InvalidValue,
    NotFound,
    PodRejected,
    SeafloorError,
)
from seafloor.launch.kubernetes.exec_credentials import CredentialsError, ExecCredentials

FIELD_MANAGER: Final = "seafloor"
JSON: Final = "application/json"
APPLY: Final = "application/apply-patch+yaml"
JSON_PATCH: Final = "application/json-patch+json"

TIMEOUT_S: Final = 20.0
SILENCE_S: Final = 150.0
"""Bookmarks come each minute: a watch without a word for so long is cut somewhere."""

TRIES_MAX: Final = 6
_PAUSE_MIN_S: Final = 0.2
_PAUSE_MAX_S: Final = 10.0
_RETRY_AFTER_MAX_S: Final = 60.0
_FORBIDDEN: Final = 403
_TOO_MANY: Final = 429
_RIGHT_MISSING: Final = 'forbidden: User "'
"""So a server begins to say whose right it is; quotas, policies and webhooks have other words."""
_UNTOLD_MAX_S: Final = 60.0
"""How long one counts as not ready that forbids to ask it: until it has read who may do what each
does, and where administrators want it so, always."""


class Expired(ClusterError):
    """The version that a watch was to begin at is forgotten: list again."""

    code = "cluster_expired"


class _Said(msgspec.Struct):
    """What an API server answers beside objects."""

    message: str = ""
    reason: str = ""
    code: int = 0


class _WatchLine(msgspec.Struct):
    type: str
    object: msgspec.Raw


class Change(msgspec.Struct, frozen=True):
    """One line of a watch.

    Args:
        type: ``ADDED``, ``MODIFIED``, ``DELETED`` or ``BOOKMARK``.
        object: The object, not decoded.
    """

    type: str
    object: msgspec.Raw


def read_config(kubeconfig: Path | None, context: str | None = None) -> SingleConfig:
    """Read credentials.

    Args:
        kubeconfig: A file; None: of the pod that this runs in, else ``~/.kube/config``.
        context: Of the file; None: its current one.

    Raises:
        InvalidValue: there are none, or they cannot be read.
    """
    try:
        config = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_env()
        found = config.get(context)
    except (ConfigError, OSError, ValueError, KeyError, msgspec.ValidationError) as error:
        where = f"{kubeconfig}" if kubeconfig else "no kubeconfig given, and not in a pod"
        raise InvalidValue(
            f"No way to the cluster ({where}): {error}.", field="launch.kubeconfig"
        ) from error
    if found is None:
        raise InvalidValue("The kubeconfig names no context.", field="launch.kubeconfig")
    return found


@dataclass
class _Params(ConnectionParams):
    """Those of lightkube, and how many connections there may be: streams keep theirs."""

    limits: httpx2.Limits = field(
        default_factory=lambda: httpx2.Limits(max_connections=400, max_keepalive_connections=20)
    )


class Connection:
    """Requests to one API server, each repeated while it cannot answer.

    Args:
        config: Whose; see ``read_config``.
        tries_max: How often a request is sent before it counts as failed.
    """

    def __init__(self, config: SingleConfig, *, tries_max: int = TRIES_MAX) -> None:
        self.url = config.cluster.server
        self._tries_max = tries_max
        self._untold_since_s: float | None = None
        timeout = httpx2.Timeout(TIMEOUT_S)
        try:
            self._client = AsyncClient(config, _Params(timeout=timeout))
            program = _program_of(config)
            if program is not None:
                self._client.auth = program
        except (ConfigError, OSError, ValueError) as error:
            raise InvalidValue(
                f"The credentials for {self.url} cannot be used: {error}.",
                field="launch.kubeconfig",
            ) from error

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
    ) -> bytes:
        """Send a request that may be repeated, and give what was answered.

        A connection that fails, 429 and 5xx are repeated after a pause, the server's own if it says
        how long. Requests for objects may thus be answered by what an earlier try did: 409, 404.
        So is a change for which a right is missing while the server is not ready: one that has just
        begun grants nothing to anybody before it has read who may do what.

        Raises:
            ClusterUnavailable: no try was answered, or by a server that is not ready, or the
                credentials are not accepted.
            NotFound, AlreadyExists, Conflict, Forbidden, PodRejected, Expired: the server's word.
        """
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": content_type}
        send = partial(
            self._client.request,
            *(method, path),
            params=dict(params or {}),
            content=content,
            headers=headers,
        )
        pause_s = _PAUSE_MIN_S
        for left in range(self._tries_max - 1, -1, -1):
            try:
                answer = await (send() if method == "GET" else self._change_sent(send))
            except (httpx2.TransportError, ConfigError) as error:
                failure = self._away(error)
                wait_s = None
            except ClusterUnavailable as error:
                failure = error
                wait_s = None
            else:
                if answer.is_success:
                    return answer.content
                failure = self._refusal(answer.status_code, answer.content)
                wait_s = _retry_after_s(answer.headers)
            if not failure.retryable or left == 0 or isinstance(failure, _NotAccepted):
                raise failure
            await asyncio.sleep(wait_s if wait_s is not None else _spread(pause_s))
            pause_s = min(_PAUSE_MAX_S, pause_s * 2)
        raise AssertionError  # the last try raised

    async def watch(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[Change]:
        """Give changes until the server ends the watch, which it does every few minutes.

        Raises:
            Expired: it cannot begin, or go on, at that version.
            ClusterUnavailable: the connection failed, or there was no word for too long.
            Forbidden, NotFound: the server's word.
        """
        timeout = httpx2.Timeout(TIMEOUT_S, read=SILENCE_S)
        wanted = {**params, "watch": "true", "allowWatchBookmarks": "true"}
        try:
            async with self._client.stream("GET", path, params=wanted, timeout=timeout) as answer:
                if not answer.is_success:
                    raise self._refusal(answer.status_code, await answer.aread())
                async for line in answer.aiter_lines():
                    yield self._change(line)
        except httpx2.TransportError as error:
            raise self._away(error) from error

    async def stream(self, path: str, params: Mapping[str, str]) -> AsyncGenerator[bytes]:
        """Give bytes as they come, until the server ends them or the caller has enough.

        Raises:
            ClusterUnavailable: the connection failed, or there are too many; when to come again
                is said if the server said it.
            NotFound, Forbidden, PodRejected: the server's word.
        """
        timeout = httpx2.Timeout(TIMEOUT_S, read=None)
        try:
            async with self._client.stream("GET", path, params=params, timeout=timeout) as answer:
                if not answer.is_success:
                    failure = self._refusal(answer.status_code, await answer.aread())
                    if isinstance(failure, ClusterUnavailable):
                        failure.retry_after_s = _retry_after_s(answer.headers)
                    raise failure
                async for chunk in answer.aiter_bytes():
                    yield chunk
        except httpx2.TransportError as error:
            raise self._away(error) from error

    async def _change_sent(self, send: Callable[[], Awaitable[httpx2.Response]]) -> httpx2.Response:
        """Give what a server that is ready says to a change, at least where it names a right.

        Raises:
            ClusterUnavailable: it is not ready.
        """
        answer = await send()
        if answer.status_code != _FORBIDDEN:
            return answer
        message = self._refusal(answer.status_code, answer.content).message
        if _RIGHT_MISSING not in message:
            return answer
        if not await self._is_ready():
            raise ClusterUnavailable(
                f"The cluster at {self.url} is not ready, and may not know yet who may do what: "
                f"{message}."
            )
        return await send()  # it may have become ready since it refused

    async def _is_ready(self) -> bool:
        answer = await self._client.request("GET", "readyz")
        if answer.status_code != _FORBIDDEN:
            self._untold_since_s = None
            return answer.status_code < 500 and answer.status_code != _TOO_MANY
        now_s = time.monotonic()
        if self._untold_since_s is None:
            self._untold_since_s = now_s
        return now_s >= self._untold_since_s + _UNTOLD_MAX_S

    def _change(self, line: str) -> Change:
        try:
            found = msgspec.json.decode(line, type=_WatchLine)
            if found.type == "ERROR":
                said = msgspec.json.decode(found.object, type=_Said)
                raise self._refusal(said.code, bytes(found.object))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:  # the line was cut
            raise ClusterUnavailable(f"A watch of {self.url} broke off.") from error
        return Change(found.type, found.object)

    def _away(self, error: Exception) -> ClusterUnavailable:
        if isinstance(error, CredentialsError):
            return _NotAccepted(f"There are no credentials for {self.url}: {error}.")
        self._untold_since_s = None  # whoever comes back begins anew
        why = str(error) or type(error).__name__
        return ClusterUnavailable(f"The cluster at {self.url} does not answer: {why}.")

    def _refusal(self, status: int, content: bytes) -> SeafloorError:
        try:
            said = msgspec.json.decode(content, type=_Said)
        except (msgspec.DecodeError, UnicodeDecodeError):
            said = _Said(content[:300].decode(errors="replace").strip())
        message = said.message.strip() or f"status {status}"
        if status == _FORBIDDEN and message.endswith(":"):
            # Kubernetes has no words for a right that a patch asks for beside its own.
            message += " no reason is given, as where the right to create is missing beside patch"
        if status >= 500 or status == _TOO_MANY:
            return ClusterUnavailable(f"The cluster at {self.url} is not able to answer: {message}")
        if status == 401:
            return _NotAccepted(f"The cluster at {self.url} does not accept our credentials.")
        if status == 409 and said.reason == "AlreadyExists":
            return AlreadyExists(message)
        classes: dict[int, type[SeafloorError]] = {
            _FORBIDDEN: Forbidden,
            404: NotFound,
            409: Conflict,
            410: Expired,
        }
        return classes.get(status, PodRejected)(message)


def _program_of(config: SingleConfig) -> ExecCredentials | None:
    """The program that gives tokens, unless the kubeconfig has one, which goes before it."""
    user = config.user
    if user is None or user.exec is None or user.token or user.token_file:
        return None
    return ExecCredentials(user.exec, None if config.fname is None else Path(config.fname).parent)


class _NotAccepted(ClusterUnavailable):
    """Others may be had, by an administrator; nothing is gained by asking again at once."""


def _retry_after_s(headers: Mapping[str, Any]) -> float | None:
    try:
        return min(_RETRY_AFTER_MAX_S, max(0.0, float(headers["Retry-After"])))
    except (KeyError, ValueError):
        return None


def _spread(pause_s: float) -> float:
    """Those who met the same failure must not all come back at the same moment."""
    return pause_s * random.uniform(0.5, 1.0)  # noqa: S311
