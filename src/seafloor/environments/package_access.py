"""How uv and rattler reach private indexes and channels: with named secrets, each for its hosts.

A secret's values never stand in an argument, an address, a variable or a file that stays: both are
told of a file that only we can read, in which every value stands beside the host it is for.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from seafloor.code.private_folder import private_folder, write_private
from seafloor.domain.addresses import without_secrets
from seafloor.domain.errors import InvalidValue
from seafloor.domain.secrets import Secret

HOSTS: Final = "hosts"
"""Key of a secret: which hosts may have it, between spaces."""

USERNAME: Final = "username"
PASSWORD: Final = "password"  # noqa: S105 - names of keys
TOKEN: Final = "token"  # noqa: S105

SecretsOf = Callable[[], Sequence[Secret]]
"""Reads the secrets at the moment they are needed."""

_PREFIX: Final = "seafloor-package-secret-"
_TOKEN_USER: Final = "__token__"  # noqa: S105
_PLAIN: Final = re.compile(r"[^\s\"'\\#]+\Z")
_HOST: Final = re.compile(r"[A-Za-z0-9.:_-]+\Z")
_IN_THE_CLEAR: Final = re.compile(r"\bhttp://[^\s'\"<>]+")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class PackageAccess:
    """Files that hold the secrets, for as long as they are needed.

    Args:
        netrc: For uv; None: as this machine is set up.
        conda: For rattler, likewise.
    """

    netrc: Path | None = None
    conda: Path | None = None


@dataclass(frozen=True)
class _Login:
    """What a host is told."""

    username: str
    password: str
    bearer: bool


def no_package_secrets() -> Sequence[Secret]:
    """Be as this machine is set up."""
    return ()


@contextmanager
def package_access(secrets_of: SecretsOf) -> Generator[PackageAccess]:
    """Have access for as long as the context lasts; afterwards nothing of the secrets is left.

    Blocks for a moment.

    Raises:
        InvalidValue: a secret names no host, has nothing to give, or two are for one host.
        NotFound: a secret is not there.
    """
    logins = _logins(secrets_of())
    if not logins:
        yield PackageAccess()
        return
    with private_folder(_PREFIX) as folder:
        yield PackageAccess(
            netrc=write_private(folder / "netrc", _netrc(logins)),
            conda=write_private(folder / "conda.json", _conda(logins)),
        )


def check_addresses(secrets_of: SecretsOf, texts: Iterable[str]) -> None:
    """Refuse addresses that would carry a secret in the clear; blocks for a moment.

    Args:
        texts: Addresses, or requirements with some in them.

    Raises:
        InvalidValue: one would. As ``package_access``, too.
    """
    hosts = _logins(secrets_of()).keys() - _LOOPBACK
    for text in texts:
        for found in _IN_THE_CLEAR.finditer(text):
            if urlsplit(found[0]).hostname in hosts:
                raise InvalidValue(
                    f"{without_secrets(found[0])} would carry a secret in the clear: use https://.",
                    field="environment",
                )


def _logins(secrets: Sequence[Secret]) -> Mapping[str, _Login]:
    """Who is told what, by host."""
    logins: dict[str, _Login] = {}
    for secret in secrets:
        hosts = (secret.text(HOSTS) or "").lower().split()
        token = secret.text(TOKEN)
        password = secret.text(PASSWORD) if token is None else token
        username = secret.text(USERNAME)
        if not hosts:
            raise _unfit(secret, f"names no host: `seafloor secret set {secret.name} {HOSTS}`")
        if password is None:
            raise _unfit(secret, f"has neither {TOKEN} nor {PASSWORD}")
        login = _Login(username or _TOKEN_USER, password, token is not None and username is None)
        if not (_PLAIN.match(login.username) and _PLAIN.match(login.password)):
            raise _unfit(
                secret, "has a value with spaces, quotes, \\ or #, which uv cannot be told"
            )
        for host in hosts:
            if not _HOST.match(host):
                raise _unfit(secret, f'names "{host[:60]}", which is no host')
            if host in logins:
                raise _unfit(secret, f"is for {host}, as another one that is listed")
            logins[host] = login
    return logins


def _unfit(secret: Secret, why: str) -> InvalidValue:
    return InvalidValue(f'The secret "{secret.name}" {why}.', field="environments.secrets")


def _netrc(logins: Mapping[str, _Login]) -> bytes:
    """What the machine has for other hosts stays."""
    path = os.environ.get("NETRC") or Path("~/.netrc").expanduser()  # noqa: TID251 - as uv does
    lines = [b""]
    with suppress(OSError):
        lines = [Path(path).read_bytes()]
    lines += [
        f"machine {host} login {login.username} password {login.password}".encode()
        for host, login in logins.items()
    ]
    return b"\n".join(lines) + b"\n"


def _conda(logins: Mapping[str, _Login]) -> bytes:
    told: dict[str, object] = {}
    for host, login in logins.items():
        basic = {"BasicHTTP": {"username": login.username, "password": login.password}}
        told[host] = {"BearerToken": login.password} if login.bearer else basic
    return json.dumps(told).encode()
