"""HTTP to an MLflow server: JSON calls and downloads, and what is wrong in one sentence."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from seafloor.domain.errors import (
    Forbidden,
    NotFound,
    SeafloorError,
    SourceError,
    StoreUnavailable,
    Unauthenticated,
)
from seafloor.sdk.settings import SYSTEM_TLS
from seafloor.sdk.transport import make_pool

if TYPE_CHECKING:
    import urllib3

T = TypeVar("T")

_PIECE_BYTES: Final = 1024 * 1024
_REPEATS_MAX: Final = 4
_TIMEOUT_S: Final = 120.0
_BACK_OFF_FIRST_S: Final = 0.2
_BUSY: Final = frozenset({429, 502, 503, 504})


@dataclass(frozen=True)
class Credentials:
    """What an MLflow server asks for: a user and a password, or a token, or nothing."""

    user: str | None = None
    password: str | None = None
    token: str | None = None

    def headers(self) -> dict[str, str]:
        """The header that presents them."""
        import urllib3

        if self.token is not None:
            return {"Authorization": f"Bearer {self.token}"}
        if self.user is None:
            return {}
        return dict(urllib3.make_headers(basic_auth=f"{self.user}:{self.password or ''}"))


class MlflowApi:
    """One MLflow server. Reads only; every call is repeated while the server is busy or hangs up.

    Args:
        url: Of the server, without a user in it.
        credentials: Presented with every request.
    """

    def __init__(self, url: str, credentials: Credentials) -> None:
        self.url = url
        self._pool = make_pool(url, SYSTEM_TLS)
        self._headers = {"User-Agent": "seafloor-import", **credentials.headers()}

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()

    def get(self, path: str, query: Mapping[str, str | int], answer: type[T]) -> T:
        """GET JSON; see ``post``."""
        address = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        with self._open("GET", address, None) as response:
            return self._decode(response, path, answer)

    def post(self, path: str, body: Mapping[str, object], answer: type[T]) -> T:
        """POST JSON and read the answer.

        Raises:
            NotFound: the server knows no such thing, or no such route.
            StoreUnavailable: it does not answer.
            Unauthenticated, Forbidden: it wants other credentials.
            SourceError: it fails, or is no MLflow server.
        """
        with self._open("POST", path, msgspec.json.encode(body)) as response:
            return self._decode(response, path, answer)

    def download(self, path: str, query: Sequence[tuple[str, str]], target: Path) -> Path:
        """GET a file in pieces; see ``post``."""
        address = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        with self._open("GET", address, None) as response, target.open("wb") as file:
            for piece in response.stream(_PIECE_BYTES):
                file.write(piece)
        return target

    def _decode(self, response: urllib3.BaseHTTPResponse, path: str, answer: type[T]) -> T:
        try:
            return msgspec.json.decode(response.read(), type=answer, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SourceError(
                f"{self.url} answers {path} with what is not MLflow's: is it the address of an "
                f"MLflow tracking server? ({error})"
            ) from error

    @contextmanager
    def _open(
        self, method: str, address: str, body: bytes | None
    ) -> Generator[urllib3.BaseHTTPResponse]:
        import urllib3

        try:
            response = self._send(method, address, body)
            try:
                yield response
            finally:
                response.close()
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(
                f"The MLflow server at {self.url} does not answer: is it running, and is this its "
                f"address? ({type(error).__name__})"
            ) from error

    def _send(self, method: str, address: str, body: bytes | None) -> urllib3.BaseHTTPResponse:
        import urllib3

        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
        wait_s = _BACK_OFF_FIRST_S
        repeats = 0
        while True:
            try:
                response = self._pool.urlopen(
                    method,
                    self.url + address,
                    body=body,
                    headers=headers,
                    preload_content=False,
                    redirect=False,
                    retries=False,
                    timeout=_TIMEOUT_S,
                )
            except urllib3.exceptions.ProtocolError:
                # It closes connections that were idle for some seconds: maybe this one, just now.
                if repeats == _REPEATS_MAX:
                    raise
            else:
                if response.status == 200:
                    return response
                if response.status not in _BUSY or repeats == _REPEATS_MAX:
                    raise self._refusal(response, address.partition("?")[0])
                response.close()
            time.sleep(wait_s)
            wait_s, repeats = wait_s * 2, repeats + 1

    def _refusal(self, response: urllib3.BaseHTTPResponse, path: str) -> SeafloorError:
        status, said = response.status, _message(response.read(4096))
        response.close()
        if status == 401:
            return Unauthenticated(
                f"The MLflow server at {self.url} asks for a user or a token, or refuses the one "
                "given: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "MLFLOW_TRACKING_TOKEN."
            )
        if status == 403:
            return Forbidden(
                f"The MLflow server at {self.url} does not let this user read {path}. {said}"
            )
        if status == 404:
            return NotFound(f"{self.url} has no {path}. {said}".strip())
        return SourceError(f"The MLflow server at {self.url} answers {path} with {status}. {said}")


def _message(content: bytes) -> str:
    try:
        found: Any = msgspec.json.decode(content)
        return str(found["message"])[:500]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError):
        return ""
