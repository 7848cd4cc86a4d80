"""Docker images: which bytes a tag names now, asked of its registry.

A tag moves; a digest does not. So what an environment keeps of an image is both. Nothing is
pulled: the registry is asked for the digest alone (the distribution specification, version 2).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from seafloor.domain.errors import InvalidValue, SourceError

if TYPE_CHECKING:
    import httpx

TIMEOUT_S: Final = 30.0
RETRY_AFTER_S: Final = 30.0
IMAGE_CHARS_MAX: Final = 500
MANIFEST_BYTES_MAX: Final = 4 * 1024 * 1024
_HUB: Final = "docker.io"
_HUB_HOST: Final = "registry-1.docker.io"
_ACCEPTED: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?")
_PARAMETER: Final = re.compile(r'([a-z]+)="([^"]*)"')
_LOOPBACK: Final = re.compile(r"(localhost|127\.[0-9.]+|\[::1\])(:[0-9]+)?")


@dataclass(frozen=True)
class ImageName:
    """The name of an image, taken apart.

    Args:
        registry: Its host, with a port if it has one.
        repository: Its path there.
        tag: ``latest`` if none is written; empty when only a digest is.
        digest: ``sha256:…``, or None.
    """

    registry: str
    repository: str
    tag: str
    digest: str | None

    @property
    def text(self) -> str:
        """Written out."""
        name = f"{self.registry}/{self.repository}"
        tag = f":{self.tag}" if self.tag else ""
        return f"{name}{tag}" + (f"@{self.digest}" if self.digest else "")


class _Token(msgspec.Struct, frozen=True):
    token: str = ""
    access_token: str = ""


def parse_image(text: str) -> ImageName:
    """Take the name of an image apart, as docker reads it.

    >>> parse_image("apache/submarine:jupyter").text
    'docker.io/apache/submarine:jupyter'
    >>> parse_image("debian").repository
    'library/debian'

    Raises:
        InvalidValue: it is no name of an image.
    """
    rest, at, digest = text.strip().partition("@")
    first, slash, path = rest.partition("/")
    registry = _HUB
    if slash and ("." in first or ":" in first or first == "localhost"):
        registry, rest = first, path
    repository, colon, tag = rest.partition(":")
    if registry == _HUB and "/" not in repository:
        repository = f"library/{repository}"
    good = (
        len(text) <= IMAGE_CHARS_MAX
        and _HOST.fullmatch(registry) is not None
        and _REPOSITORY.fullmatch(repository) is not None
        and (not colon or _TAG.fullmatch(tag) is not None)
        and (not at or _DIGEST.fullmatch(digest) is not None)
    )
    if not good:
        raise InvalidValue(
            f'"{text[:120]}" is not the name of an image: write it like '
            '"registry.example.com/team/image:1.0", or end it with "@sha256:<64 digits>".',
            field="image",
        )
    return ImageName(registry, repository, tag or ("" if at else "latest"), digest or None)


async def resolve_image(text: str, *, timeout_s: float = TIMEOUT_S) -> str:
    """Write an image with the digest that it has now; a digest that is written is checked.

    Registries on loopback are asked by http, all others by https; a token is fetched where the
    registry wants one for strangers.

    Returns:
        ``<registry>/<repository>:<tag>@sha256:<64 digits>``.

    Raises:
        InvalidValue: it is no name of an image.
        SourceError: the registry has no such image, refuses, answers nonsense, or is out of
            reach (then with ``retry_after_s``).
    """
    import httpx  # most servers never ask a registry

    name = parse_image(text)
    loopback = _LOOPBACK.fullmatch(name.registry) is not None
    host = _HUB_HOST if name.registry == _HUB else name.registry
    url = (
        f"{'http' if loopback else 'https'}://{host}/v2/{name.repository}/manifests/"
        f"{name.digest or name.tag}"
    )
    limits = httpx.Timeout(timeout_s)
    try:
        async with httpx.AsyncClient(
            timeout=limits, trust_env=not loopback, follow_redirects=False
        ) as client:
            digest = await _digest(client, url, name, loopback=loopback)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = str(error) or type(error).__name__
        raise SourceError(
            f"The registry of image {name.text} cannot be reached at {url}: {said}. Check the name "
            "and the network of the server.",
            field="image",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    return ImageName(name.registry, name.repository, name.tag, digest).text


async def _digest(client: httpx.AsyncClient, url: str, name: ImageName, *, loopback: bool) -> str:
    headers = {"Accept": _ACCEPTED}
    answer = await client.head(url, headers=headers)
    if answer.status_code == HTTPStatus.UNAUTHORIZED:
        token = await _token(client, answer.headers, name, loopback=loopback)
        headers["Authorization"] = f"Bearer {token}"
        answer = await client.head(url, headers=headers)
    _check(answer.status_code, url, name)
    digest = answer.headers.get("Docker-Content-Digest", "")
    if not digest:
        digest = await _computed(client, url, headers, name)
    if not _DIGEST.fullmatch(digest) or name.digest not in (None, digest):
        raise SourceError(
            f"The registry gives image {name.text} the digest {digest[:80]!r}, which cannot be.",
            field="image",
        )
    return digest


def _check(status: int, url: str, name: ImageName) -> None:
    if status == HTTPStatus.OK:
        return
    if status == HTTPStatus.NOT_FOUND:
        raise SourceError(
            f"There is no image {name.text} ({url}): check its name and tag.", field="image"
        )
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        # The hub says so of what is not there, too.
        raise SourceError(
            f"The registry refuses image {name.text} to strangers ({status} at {url}): it is "
            "private, or not there. Name a public one, or one whose digest you know in a registry "
            "that this server may read.",
            field="image",
        )
    busy = status == HTTPStatus.TOO_MANY_REQUESTS or status >= 500
    raise SourceError(
        f"The registry of image {name.text} answers {status} at {url}: try again later.",
        field="image",
        retry_after_s=RETRY_AFTER_S if busy else None,
    )


async def _token(
    client: httpx.AsyncClient, headers: Mapping[str, str], name: ImageName, *, loopback: bool
) -> str:
    """Fetch the token that the registry gives to strangers."""
    challenge = headers.get("WWW-Authenticate", "")
    asked: dict[str, str] = dict(_PARAMETER.findall(challenge))
    realm = urlsplit(asked.get("realm", ""))
    near = loopback and _LOOPBACK.fullmatch(realm.netloc) is not None
    if not challenge.lower().startswith("bearer ") or not (realm.scheme == "https" or near):
        raise SourceError(
            f"The registry of image {name.text} asks for a user and password, which Seafloor does "
            "not have: name an image that everybody may read.",
            field="image",
        )
    query = {key: asked[key] for key in ("service", "scope") if key in asked}
    query.setdefault("scope", f"repository:{name.repository}:pull")
    answer = await client.get(asked["realm"], params=query)
    _check(answer.status_code, asked["realm"], name)
    try:
        found = msgspec.json.decode(answer.content, type=_Token)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SourceError(
            f"The registry of image {name.text} gives no token at {asked['realm']}.",
            field="image",
        ) from error
    return found.token or found.access_token


async def _computed(
    client: httpx.AsyncClient, url: str, headers: Mapping[str, str], name: ImageName
) -> str:
    """The digest of a manifest, from a registry that does not say it."""
    digest, size_bytes = hashlib.sha256(), 0
    async with client.stream("GET", url, headers=headers) as answer:
        _check(answer.status_code, url, name)
        async for chunk in answer.aiter_bytes():
            digest.update(chunk)
            size_bytes += len(chunk)
            if size_bytes > MANIFEST_BYTES_MAX:
                raise SourceError(
                    f"The manifest of image {name.text} is larger than any should be.",
                    field="image",
                )
    return f"sha256:{digest.hexdigest()}"
