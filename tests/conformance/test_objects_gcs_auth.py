"""Credentials of Google: who asks for a token and how, when again, and that none is told."""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import parse_qs, quote, unquote, urlsplit

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.response import Response
from tests.services._service import Service, free_port

from gcs_front import Front, LoseRequest
from gcs_world import EMAIL, endpoint_of, fresh_bucket, key_file, private_key, private_pem
from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import (
    InvalidValue,
    NotSupported,
    SeafloorError,
    StoreError,
    StoreUnavailable,
)
from seafloor.stores.objects.gcs.auth import (
    REFRESH_BEFORE_S,
    CachedTokens,
    Credentials,
    find_credentials,
)
from seafloor.stores.objects.gcs.chunks import CHUNK_BYTES
from seafloor.stores.objects.gcs.client import GcsClient
from seafloor.stores.objects.gcs.store import GcsObjectStore, from_url
from seafloor.testing.object_cases import content

Services = Callable[[str], Service]
CANARY = "ya29.canary-of-a-token"


class TokenServer:
    """Gives tokens numbered from 1, over HTTP."""

    def __init__(self) -> None:
        self._server = ScriptedServer()
        self._server.answer = self._answer
        self.spoiled: list[Answer] = []
        self.lasts_s = 3600
        self.url = f"{self._server.url}/token"
        self.host = urlsplit(self.url).netloc
        self.running = self._server.running

    @property
    def asked(self) -> list[Asked]:
        """What came."""
        return self._server.asked

    @property
    def form(self) -> dict[str, str]:
        """The last form that came."""
        return {name: texts[0] for name, texts in parse_qs(self.asked[-1].body.decode()).items()}

    def tokens(self, *numbers: int) -> set[str]:
        """The tokens of some numbers."""
        return {f"{CANARY}-{number}" for number in numbers}

    def _answer(self, asked: Asked) -> Answer:
        if self.spoiled:
            return self.spoiled.pop(0)
        token = f"{CANARY}-{len(self.asked)}"
        return Answer(200, {"access_token": token, "expires_in": self.lasts_s})


@pytest.fixture
def giver() -> Iterator[TokenServer]:
    server = TokenServer()
    with server.running():
        yield server


@pytest.fixture
def front(service: Services) -> Iterator[Front]:
    with Front(endpoint_of(service)).running() as front:
        yield front


@asynccontextmanager
async def opened(
    credentials: Credentials, front: Front, service: Services
) -> AsyncIterator[GcsObjectStore]:
    """A store that speaks to the front with a token."""
    bucket = fresh_bucket(endpoint_of(service))
    client = GcsClient(bucket, credentials.tokens, endpoint=front.url)
    store = GcsObjectStore(client, key=credentials.key)
    yield store
    await store.close()


def service_account(tmp_path: Path, giver: TokenServer) -> Credentials:
    """Those of a key file."""
    path = key_file(tmp_path, token_url=giver.url)
    return find_credentials({"GOOGLE_APPLICATION_CREDENTIALS": str(path)})


def _part(text: str) -> dict[str, object]:
    return json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


async def test_service_account__first_call__asks_once_with_a_signed_request(
    tmp_path: Path, giver: TokenServer, front: Front, service: Services
) -> None:
    front.tokens = giver.tokens(1)
    async with opened(service_account(tmp_path, giver), front, service) as store:
        await store.put("a", b"1")
        await store.put("b", bytes(CHUNK_BYTES + 1))
        assert await content(store, "a") == b"1"
        await store.delete_many(["a", "b"])
    assert len(giver.asked) == 1
    assert giver.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
    signed, _, signature = giver.form["assertion"].rpartition(".")
    private_key().public_key().verify(
        base64.urlsafe_b64decode(signature + "=="),
        signed.encode(),
        padding.PKCS1v15(),
        hashes.SHA256(),
    )
    header, claims = (_part(text) for text in signed.split("."))
    assert header == {"alg": "RS256", "typ": "JWT", "kid": "key-1"}
    assert claims["iss"] == EMAIL
    assert claims["aud"] == giver.url
    assert claims["scope"] == "https://www.googleapis.com/auth/devstorage.read_write"
    assert isinstance(claims["iat"], int)
    assert claims["exp"] == claims["iat"] + 3600
    assert abs(claims["iat"] - time.time()) < 60


async def test_authorized_user__first_call__sends_the_refresh_token(
    tmp_path: Path, giver: TokenServer, front: Front, service: Services
) -> None:
    path = key_file(
        tmp_path,
        token_url=giver.url,
        type="authorized_user",
        client_id="id",
        client_secret="of the client",
        refresh_token="1//refresh",
    )
    credentials = find_credentials({"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
    front.tokens = giver.tokens(1)
    async with opened(credentials, front, service) as store:
        await store.put("a", b"1")
        assert not store.capabilities.presign
    assert giver.form == {
        "grant_type": "refresh_token",
        "client_id": "id",
        "client_secret": "of the client",
        "refresh_token": "1//refresh",
    }


async def test_machine__first_call__asks_the_metadata_server(
    giver: TokenServer, front: Front, service: Services
) -> None:
    front.tokens = giver.tokens(1)
    credentials = find_credentials({"GCE_METADATA_HOST": giver.host})
    async with opened(credentials, front, service) as store:
        await store.put("a", b"1")
        assert not store.capabilities.presign
    (asked,) = giver.asked
    assert asked.path == "/computeMetadata/v1/instance/service-accounts/default/token"
    assert asked.headers["metadata-flavor"] == "Google"


async def test_token__before_it_ends__another_is_had(giver: TokenServer) -> None:
    now_s = 1000.0

    async def ask(http: Client) -> Response:
        return await http.post(giver.url).build().send()

    tokens = CachedTokens(ask, "the test", clock=lambda: now_s)
    async with ClientBuilder().build() as http:
        first = await tokens.token(http)
        now_s += 3600 - REFRESH_BEFORE_S - 1
        assert await tokens.token(http) == first
        now_s += 1
        assert await tokens.token(http) != first
    assert len(giver.asked) == 2


async def test_token__lasts_for_nothing__each_call_has_its_own(
    tmp_path: Path, giver: TokenServer, front: Front, service: Services
) -> None:
    giver.lasts_s = 1
    async with opened(service_account(tmp_path, giver), front, service) as store:
        for number in range(1, 4):
            front.tokens = giver.tokens(number)
            await store.put("a", b"1")
    assert len(giver.asked) == 3


async def test_token__refused__is_renewed_once(
    tmp_path: Path, giver: TokenServer, front: Front, service: Services
) -> None:
    front.tokens = giver.tokens(1)
    async with opened(service_account(tmp_path, giver), front, service) as store:
        await store.put("a", b"1")
        front.tokens = giver.tokens(2)  # the first was revoked
        assert (await store.put("a", bytes(CHUNK_BYTES + 1))).size_bytes == CHUNK_BYTES + 1
        assert len(giver.asked) == 2
        front.tokens = set()
        front.asked.clear()
        with pytest.raises(StoreError, match="does not accept the credentials"):
            await store.head("a")
        assert len(giver.asked) == 3
        assert len(front.asked) == 2


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (Answer(503, headers={"Retry-After": "9"}), StoreUnavailable, "status 503"),
        (Answer(429), StoreUnavailable, "repeat"),
        (Answer(400, {"error": "invalid_grant", "x": CANARY}), StoreError, f"refuses .*{EMAIL}"),
        (Answer(404), StoreError, "status 404"),
        (Answer(200, CANARY.encode()), StoreError, "not Google"),
        (Answer(200, {"access_token": [CANARY]}), StoreError, "not Google"),
    ],
)
async def test_token__cannot_be_had__says_whose_and_not_what(
    tmp_path: Path,
    giver: TokenServer,
    front: Front,
    service: Services,
    answer: Answer,
    kind: type[SeafloorError],
    words: str,
) -> None:
    async with opened(service_account(tmp_path, giver), front, service) as store:
        giver.spoiled.append(answer)
        with pytest.raises(kind, match=words) as caught:
            await store.head("a")
        assert type(caught.value) is kind
        assert caught.value.retry_after_s == (9.0 if answer.headers else None)
        assert CANARY not in "".join(traceback.format_exception(caught.value))
        assert CANARY not in repr(vars(caught.value))
        await store.put("a", b"1")  # it goes on once a token is given


async def test_token__nobody_listens__says_what_to_set(front: Front, service: Services) -> None:
    credentials = find_credentials({"GCE_METADATA_HOST": f"127.0.0.1:{free_port()}"})
    async with opened(credentials, front, service) as store:
        with pytest.raises(StoreUnavailable, match="GOOGLE_APPLICATION_CREDENTIALS"):
            await store.head("a")


async def test_secrets__anything_happens__are_nowhere(
    tmp_path: Path,
    giver: TokenServer,
    front: Front,
    service: Services,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    credentials = service_account(tmp_path, giver)
    told = [repr(credentials), str(vars(credentials))]
    async with opened(credentials, front, service) as store:
        url = await store.presign("a", method="GET", expires_s=60)
        await store.put("a", bytes(CHUNK_BYTES + 1))
        front.plan(lambda asked: asked.method == "GET", LoseRequest())
        for tokens in (None, set[str]()):
            front.tokens = tokens
            with pytest.raises(StoreError) as caught:
                await store.head("a")
            told += ["".join(traceback.format_exception(caught.value)), repr(vars(caught.value))]
        told += [repr(store), repr(store._client), repr(vars(store)), repr(credentials.key)]
    logging.getLogger(__name__).debug("the log is looked at")
    told.append(caplog.text)
    said = "\n".join(told)
    secret_lines = [line for line in private_pem().splitlines() if "PRIVATE" not in line]
    uploads = {asked.query["upload_id"] for asked in front.asked if "upload_id" in asked.query}
    assert uploads
    assert "the log is looked at" in said
    for secret in (CANARY, *secret_lines, *uploads, url.rpartition("=")[2], "assertion="):
        assert secret not in said


# -- files


@pytest.mark.parametrize(
    "kind", ["external_account", "impersonated_service_account", "gdch_service_account", ""]
)
def test_file__of_another_kind__is_refused_with_what_to_do(tmp_path: Path, kind: str) -> None:
    path = key_file(tmp_path, type=kind)
    with pytest.raises(NotSupported, match=f'kind "{kind}".*service_account'):
        from_url("gs://bucket", {"GOOGLE_APPLICATION_CREDENTIALS": str(path)})


@pytest.mark.parametrize("text", ["", "[]", "no json", '{"type": 5}'])
def test_file__is_not_one__is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key.json"
    for variables in ({}, {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:1"}):
        path.write_text(text)
        given = {"GOOGLE_APPLICATION_CREDENTIALS": str(path), **variables}
        with pytest.raises(InvalidValue, match="cannot be read"):
            from_url("gs://bucket", given)
        path.unlink()
        with pytest.raises(InvalidValue, match="No such file"):
            from_url("gs://bucket", given)


def test_file__key_is_none_or_of_another_kind__is_refused(tmp_path: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for pem in ("", "canary", private_pem()[:200], other.decode()):
        path = key_file(tmp_path, private_key=pem)
        with pytest.raises(InvalidValue, match="no RSA key") as caught:
            from_url("gs://bucket", {"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
        assert "canary" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("host", ["ftp://x", "http://", "http:///x"])
def test_emulator__no_address__is_refused(host: str) -> None:
    with pytest.raises(InvalidValue, match="STORAGE_EMULATOR_HOST"):
        from_url("gs://bucket", {"STORAGE_EMULATOR_HOST": host})


async def test_emulator__host_without_a_scheme__is_http(service: Services) -> None:
    endpoint = endpoint_of(service)
    host = endpoint.removeprefix("http://")
    store = from_url(f"gs://{fresh_bucket(endpoint)}", {"STORAGE_EMULATOR_HOST": host})
    await store.put("a", b"1")
    await store.close()


async def test_emulator__with_a_key__gets_no_token(
    tmp_path: Path, giver: TokenServer, front: Front, service: Services
) -> None:
    path = key_file(tmp_path, token_url=giver.url)
    store = from_url(
        f"gs://{fresh_bucket(endpoint_of(service))}",
        {"STORAGE_EMULATOR_HOST": front.url, "GOOGLE_APPLICATION_CREDENTIALS": str(path)},
    )
    await store.put("a", b"1")
    await store.close()
    assert giver.asked == []
    assert all("authorization" not in asked.headers for asked in front.asked)


# -- signed URLs


@pytest.mark.parametrize("key", ["a", "a b/ü#%41?&=+;'~.bin"])
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_presign__for_google__is_signed_as_documented(
    tmp_path: Path, key: str, method: str
) -> None:
    path = key_file(tmp_path)
    store = from_url("gs://bucket", {"GOOGLE_APPLICATION_CREDENTIALS": str(path)})
    url = await store.presign(key, method=method, expires_s=604_800)  # type: ignore[arg-type]
    await store.close()
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("https", "storage.googleapis.com")
    assert unquote(parts.path) == f"/bucket/{key}"
    signed, _, signature = parts.query.partition("&X-Goog-Signature=")
    query = dict(pair.split("=") for pair in signed.split("&"))
    moment, day = query["X-Goog-Date"], query["X-Goog-Date"][:8]
    assert query == {
        "X-Goog-Algorithm": "GOOG4-RSA-SHA256",
        "X-Goog-Credential": quote(f"{EMAIL}/{day}/auto/storage/goog4_request", safe=""),
        "X-Goog-Date": moment,
        "X-Goog-Expires": "604800",
        "X-Goog-SignedHeaders": "host",
    }
    canonical = (
        f"{method}\n{parts.path}\n{signed}\nhost:storage.googleapis.com\n\nhost\nUNSIGNED-PAYLOAD"
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    message = f"GOOG4-RSA-SHA256\n{moment}\n{day}/auto/storage/goog4_request\n{digest}"
    public = private_key().public_key()
    public.verify(bytes.fromhex(signature), message.encode(), padding.PKCS1v15(), hashes.SHA256())
    with pytest.raises(InvalidSignature):
        public.verify(bytes.fromhex(signature), b"other", padding.PKCS1v15(), hashes.SHA256())
