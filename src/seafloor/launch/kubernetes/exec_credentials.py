"""Credentials that a program of the kubeconfig gives, as managed clusters have it.

The protocol is that of ``client.authentication.k8s.io``, v1 and v1beta1: the program is told what
is asked in ``KUBERNETES_EXEC_INFO`` and prints a token, perhaps with the time until which it holds.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

import httpx2
import msgspec
from lightkube.config.models import UserExec

from seafloor.domain.errors import InvalidValue

VERSIONS: Final = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
TIMEOUT_S: Final = 60.0
_EARLY_S: Final = 30.0
"""A token is not used so shortly before its end: a request takes time, and clocks differ."""
_SAID_MAX: Final = 300
_UNAUTHORIZED: Final = 401


class CredentialsError(httpx2.TransportError):
    """The program gave none; another time it may. The message says why."""


class _Status(msgspec.Struct, rename="camel"):
    token: str | None = None
    expiration_timestamp: datetime | None = None


class _Credential(msgspec.Struct):
    status: _Status | None = None


class _Token(msgspec.Struct, frozen=True):
    text: str
    ends_s: float


class _Failure(msgspec.Struct, frozen=True):
    words: str
    at_s: float


class ExecCredentials(httpx2.Auth):
    """Adds the token to requests: one program runs, however many requests wait for its token.

    When it gives none, all of those have their answer.

    Args:
        program: What the kubeconfig says of it.
        folder: Of the kubeconfig; a program with a relative path is looked for from there.

    Raises:
        InvalidValue: it speaks another version of the protocol.
    """

    def __init__(self, program: UserExec, folder: Path | None) -> None:
        if program.apiVersion not in VERSIONS:
            raise InvalidValue(
                f'The kubeconfig\'s program "{program.command}" speaks {program.apiVersion}, and '
                f"Seafloor only {' and '.join(VERSIONS)}: have the kubeconfig written anew.",
                field="launch.kubeconfig",
            )
        self._program = program
        self._folder = folder
        self._token: _Token | None = None
        self._failure: _Failure | None = None
        self._asking = asyncio.Lock()

    async def async_auth_flow(
        self, request: httpx2.Request
    ) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """Send a request with the token, once more with a new one where that is not accepted.

        Raises:
            CredentialsError: the program gave none.
        """
        token = await self._current(refused=None)
        request.headers["Authorization"] = f"Bearer {token.text}"
        answer = yield request
        if answer.status_code == _UNAUTHORIZED:
            token = await self._current(refused=token)
            request.headers["Authorization"] = f"Bearer {token.text}"
            yield request

    async def _current(self, refused: _Token | None) -> _Token:
        since_s = time.monotonic()
        async with self._asking:
            known, failure = self._token, self._failure
            if known is None or known is refused or time.time() > known.ends_s - _EARLY_S:
                if failure is not None and failure.at_s >= since_s:
                    raise CredentialsError(failure.words)
                known = self._token = await self._ask()
            return known

    async def _ask(self) -> _Token:
        said = await self._said()
        try:
            status = msgspec.json.decode(said, type=_Credential).status
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise self._failed(f"it printed no ExecCredential: {error}") from error
        if status is None or not status.token:
            raise self._failed("it gave no token, and nothing else can be used here")
        ends = status.expiration_timestamp
        return _Token(status.token, float("inf") if ends is None else ends.timestamp())

    async def _said(self) -> bytes:
        program = self._program
        asked = {
            "apiVersion": program.apiVersion,
            "kind": "ExecCredential",
            "spec": {"interactive": False},
        }
        # The user's environment is where such programs find their own settings.
        env = {
            **os.environ,  # noqa: TID251
            **{one.name: one.value for one in program.env or ()},
            "KUBERNETES_EXEC_INFO": msgspec.json.encode(asked).decode(),
        }
        try:
            process = await asyncio.create_subprocess_exec(
                self._path(),
                *(program.args or ()),
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            hint = f" {program.installHint.strip()}" if program.installHint else ""
            raise self._failed(f"{error.strerror}.{hint}") from error
        try:
            async with asyncio.timeout(TIMEOUT_S):
                out, errors = await process.communicate()
        except TimeoutError as error:
            raise self._failed(f"it did not end within {TIMEOUT_S:.0f} s") from error
        finally:
            if process.returncode is None:
                # With what it started, as a script does: that holds its pipes, too.
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            words = errors.decode(errors="replace").strip()[-_SAID_MAX:] or "without a word"
            raise self._failed(f"it ended with {process.returncode}: {words}")
        return out

    def _path(self) -> str:
        """As kubectl finds it: a bare name on PATH, a path from where the kubeconfig lies."""
        command = self._program.command
        if os.sep not in command or self._folder is None:
            return command
        return str(self._folder / command)

    def _failed(self, why: str) -> CredentialsError:
        words = f'"{self._program.command}" of the kubeconfig failed: {why}'
        self._failure = _Failure(words, time.monotonic())
        return CredentialsError(words)
