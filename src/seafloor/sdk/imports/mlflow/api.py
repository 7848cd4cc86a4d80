"""HTTP to an MLflow server: JSON calls and downloads, and what is wrong in one sentence."""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from seafloor.domain.errors import (
    Forbidden,
    NotFound,
    NotSupported,
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
PATIENCE_S: Final = 60.0
EXPERIMENTS: Final = "/api/2.0/mlflow/experiments/search"
_TIMEOUT_S: Final = 120.0
_FIRST_S: Final = 3.0
"""How long the first call is repeated: the address may be wrong."""
_BACK_OFF_FIRST_S: Final = 0.2
_BACK_OFF_MAX_S: Final = 5.0
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


class _Away(Exception):
    """A call that may succeed later.

    Args:
        what: What was wrong, in a few words.
        retry_after_s: When the server wants to be asked again.
    """

    def __init__(self, what: str, retry_after_s: float = 0.0) -> None:
        super().__init__(what)
        self.what = what
        self.retry_after_s = retry_after_s


class MlflowApi:
    """One MLflow server. Reads only; every call is repeated while the server is away or busy.

    Args:
        url: Of the server, without a user in it.
        credentials: Presented with every request.
        patience_s: How long a call is repeated once the server has answered.
    """

    def __init__(
        self, url: str, credentials: Credentials, *, patience_s: float = PATIENCE_S
    ) -> None:
        self.url = url
        self._pool = make_pool(url, SYSTEM_TLS)
        self._headers = {"User-Agent": "seafloor-import", **credentials.headers()}
        self._patience_s = patience_s
        self._has_answered = False

    def close(self) -> None:
        """Close idle connections."""
        self._pool.clear()

    def get(self, path: str, query: Mapping[str, str | int], answer: type[T]) -> T:
        """GET JSON; see ``post``."""
        address = f"{path}?{urllib.parse.urlencode(query)}" if query else path
        return self._decode(self._call("GET", address, None, _read_all), path, answer)

    def post(self, path: str, body: Mapping[str, object], answer: type[T]) -> T:
        """POST JSON and read the answer.

        Raises:
            NotFound: the server knows no such thing, or no such route.
            StoreUnavailable: it does not answer.
            Unauthenticated, Forbidden: it wants other credentials.
            NotSupported: it says that it has no such feature.
            SourceError: it fails, does not give this while it gives other things, or is no MLflow
                server.
        """
        content = self._call("POST", path, msgspec.json.encode(body), _read_all)
        return self._decode(content, path, answer)

    def download(self, path: str, query: Sequence[tuple[str, str]], target: Path) -> Path:
        """GET a file in pieces; see ``post``."""
        address = f"{path}?{urllib.parse.urlencode(query)}" if query else path

        def keep(response: urllib3.BaseHTTPResponse) -> Path:
            with target.open("wb") as file:
                for piece in response.stream(_PIECE_BYTES):
                    file.write(piece)
            return target

        return self._call("GET", address, None, keep)

    def _decode(self, content: bytes, path: str, answer: type[T]) -> T:
        try:
            return msgspec.json.decode(content, type=answer, strict=False)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SourceError(
                f"{self.url} answers {path} with what is not MLflow's: is it the address of an "
                f"MLflow tracking server? ({error})"
            ) from error

    def _call(
        self,
        method: str,
        address: str,
        body: bytes | None,
        read: Callable[[urllib3.BaseHTTPResponse], T],
    ) -> T:
        """Ask, and read the answer whole; again and again while that breaks off."""
        wait_s = _BACK_OFF_FIRST_S
        deadline_s: float | None = None
        while True:
            try:
                found = self._once(method, address, body, read)
            except _Away as error:
                now_s = time.monotonic()
                if deadline_s is None:
                    deadline_s = now_s + (self._patience_s if self._has_answered else _FIRST_S)
                pause_s = max(wait_s, error.retry_after_s)
                if now_s + pause_s > deadline_s:
                    raise self._given_up(address.partition("?")[0], error) from error
            else:
                self._has_answered = True
                return found
            time.sleep(pause_s)
            wait_s = min(wait_s * 2, _BACK_OFF_MAX_S)

    def _given_up(self, path: str, error: _Away) -> SeafloorError:
        """What stands in the way: the server, or of a server that is well the one thing."""
        if self._has_answered and self._is_well():
            return SourceError(
                f"The MLflow server at {self.url} answers, and does not give {path}: {error.what}."
            )
        return StoreUnavailable(
            f"The MLflow server at {self.url} does not answer: is it running, and is this its "
            f"address? ({error.what})"
        )

    def _is_well(self) -> bool:
        try:
            self._once("POST", EXPERIMENTS, msgspec.json.encode({"max_results": 1}), _read_all)
        except (_Away, SeafloorError):
            return False
        return True

    def _once(
        self,
        method: str,
        address: str,
        body: bytes | None,
        read: Callable[[urllib3.BaseHTTPResponse], T],
    ) -> T:
        import urllib3

        headers = dict(self._headers)
        if body is not None:
            headers["Content-Type"] = "application/json"
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
            try:
                if response.status == 200:
                    return read(response)
                if response.status in _BUSY:
                    told = response.headers.get("Retry-After", "")
                    wait_s = float(told) if told.isascii() and told.isdigit() else 0.0
                    raise _Away(f"it is busy, {response.status}", wait_s)
                raise self._refusal(response, address.partition("?")[0])
            finally:
                response.close()
                response.release_conn()
        except urllib3.exceptions.HTTPError as error:
            # One of these is that it closed a connection that was idle for some seconds.
            raise _Away(type(error).__name__) from error

    def _refusal(self, response: urllib3.BaseHTTPResponse, path: str) -> SeafloorError:
        status, (code, said) = response.status, _message(response.read(4096))
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
        if code == "FEATURE_DISABLED":
            return NotSupported(f"The MLflow server at {self.url} has no {path}. {said}")
        return SourceError(f"The MLflow server at {self.url} answers {path} with {status}. {said}")


def _read_all(response: urllib3.BaseHTTPResponse) -> bytes:
    return response.read()


def _message(content: bytes) -> tuple[str, str]:
    """What an answer says: its code, and in words."""
    try:
        found: Any = msgspec.json.decode(content)
        return str(found.get("error_code", "")), str(found["message"])[:500]
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return "", ""
