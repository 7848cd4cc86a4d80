"""How git reaches a repository: as this machine is set up for it, or with a named secret.

A secret's values never stand in an argument, an address, a variable or a file that stays: git is
told of a file that only we can read, in memory where the system has such a place, and git itself
gives what is in it to the hosts of that secret and to no other.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote

from seafloor.code.git_command import ssh_command
from seafloor.code.git_url import GitUrl, parse_git_url
from seafloor.code.private_folder import private_folder, write_private
from seafloor.domain.errors import InvalidValue
from seafloor.domain.secrets import Secret
from seafloor.domain.url_prefix import UrlPrefix, parse_url_prefix

HOSTS: Final = "hosts"
"""Key of a secret: which hosts may have it, between spaces. Without, any address that somebody
submits could ask for it."""

USERNAME: Final = "username"
PASSWORD: Final = "password"  # noqa: S105 - names of keys
TOKEN: Final = "token"  # noqa: S105
PRIVATE_KEY: Final = "ssh-privatekey"
KNOWN_HOSTS: Final = "known_hosts"
AUTHORITY: Final = "ca.crt"

_PREFIX: Final = "seafloor-git-secret-"
_TOKEN_USER: Final = "x-access-token"  # noqa: S105
"""What most hosts take, or look past, beside a token."""

_FILE_VARIABLE: Final = "SEAFLOOR_GIT_CREDENTIAL"
_HELPER: Final = '!f() {{ test "$1" = get && cat "${}"; }}; f'
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class GitReach:
    """What a git command needs to reach one address; see ``GitOptions``.

    Args:
        secret: Name of the secret that is used, for messages.
        hidden: Values that must not stand in what git says.
        opened_by: Names of all the secrets that the command may use.
    """

    config: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    ssh_command: str | None = None
    secret: str | None = None
    hidden: tuple[str, ...] = field(default=(), repr=False)
    opened_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Grant:
    """A secret as git is given it, and the addresses that may have it.

    Args:
        secret: Its name.
        hosts: Those that have it.
        prefix: What an address begins with that has it; None: one of the hosts.
        credential: Variable and file of what is said to hosts; None: nothing is.
        authority: File of the certificate of its hosts; None: that of the machine.
        ssh: What reaches them by ssh; None: as this machine is set up.
        hidden: What must not stand in what git says.
    """

    secret: str
    hosts: frozenset[str]
    prefix: UrlPrefix | None = None
    credential: tuple[str, str] | None = None
    authority: Path | None = None
    ssh: str | None = None
    hidden: tuple[str, ...] = field(default=(), repr=False)

    def is_for(self, place: UrlPrefix) -> bool:
        return place.host in self.hosts if self.prefix is None else self.prefix.begins(place)

    def scopes(self, place: UrlPrefix | None = None) -> list[str]:
        """Where git gives the credential: never without encryption to another machine.

        Args:
            place: An address that is reached with it, for its port.
        """
        ports = {(host, 443) for host in self.hosts}
        if self.prefix is not None and self.prefix.port is not None:
            ports = {(self.prefix.host, self.prefix.port)}
        found = {_origin("https", host, port) for host, port in ports}
        found |= {_origin("http", host, port) for host, port in ports if host in _LOOPBACK}
        if place is not None and place.port is not None and _may_carry(place):
            found.add(_origin(place.scheme or "https", place.host, place.port))
        return sorted(found)


@dataclass(frozen=True)
class GitAccess:
    """How the repositories of one code source are reached: its own and its submodules'.

    Args:
        grants: The one with the longest prefix first; of those that an address begins with, the
            first is used and no other. None: as this machine is set up.
    """

    grants: tuple[_Grant, ...] = ()

    def to(self, url: str) -> GitReach:
        """Say how git reaches an address."""
        place = _place(url)
        grant = self._grant(place)
        if grant is None or place is None:
            return GitReach(ssh_command=ssh_command(url))
        env = () if grant.authority is None else (("GIT_SSL_CAINFO", str(grant.authority)),)
        return GitReach(
            _helpers([(grant, grant.scopes(place))]),
            # The variable goes before any setting, also before one that the machine has.
            (*_variables([grant]), *env),
            (grant.ssh if place.scheme == "ssh" else None) or ssh_command(url),
            grant.secret,
            grant.hidden,
            (grant.secret,),
        )

    def to_large_files(self, url: str) -> GitReach:
        """Say how git-lfs reaches what belongs to an address: its store may be on another host.

        Each host gets what is for it.
        """
        own, place = self.to(url), _place(url)
        first = self._grant(place)
        granted = [] if first is None else [(first, first.scopes(place))]
        taken = {scope for _, scopes in granted for scope in scopes}
        for grant in self.grants:
            free = [scope for scope in grant.scopes() if scope not in taken]
            if grant is not first and free:
                granted.append((grant, free))
                taken.update(free)
        grants = [grant for grant, _ in granted]
        authorities = _authorities(granted)
        return GitReach(
            _helpers(granted) + authorities,
            # It would be taken for every host; git-lfs passes an empty one by.
            (*_variables(grants), *((("GIT_SSL_CAINFO", ""),) if authorities else ())),
            own.ssh_command,
            own.secret,
            tuple(value for grant in grants for value in grant.hidden),
            tuple(grant.secret for grant in grants),
        )

    def _grant(self, place: UrlPrefix | None) -> _Grant | None:
        if place is None:
            return None
        return next((grant for grant in self.grants if grant.is_for(place)), None)


AS_SET_UP: Final = GitAccess()
"""Credential helpers, ssh keys and proxies of the user whom we run as."""


@contextmanager
def git_access(
    url: str, secret: Secret | None, others: Mapping[str, Secret] | None = None
) -> Generator[GitAccess]:
    """Have access for as long as the context lasts; afterwards nothing of the secrets is left.

    Args:
        url: Of the repository.
        secret: What reaches it, and submodules on its hosts; None: as this machine is set up.
        others: By the beginning of the addresses that they are for.

    Raises:
        InvalidValue: a secret does not name the host of its address, has nothing that goes with
            the way there, or would be sent in the clear.
    """
    if secret is None and not others:
        yield AS_SET_UP
        return
    address = parse_git_url(url)
    if secret is not None:
        _check(address, secret)
    prefixes = {parse_url_prefix(text, field="code.secrets"): text for text in others or ()}
    for prefix, text in prefixes.items():
        _check_other(prefix, text, (others or {})[text])
    with private_folder(_PREFIX) as folder:
        grants: list[_Grant] = []
        for prefix in sorted(prefixes, key=lambda each: each.length, reverse=True):
            grants.append(_made((others or {})[prefixes[prefix]], prefix, folder, len(grants)))
        if secret is not None:
            grants.append(_made(secret, None, folder, len(grants)))
        yield GitAccess(tuple(grants))


def hosts_of(secret: Secret) -> frozenset[str]:
    """The hosts that may have a secret."""
    return frozenset((secret.text(HOSTS) or "").lower().split())


def check_host(secret: Secret, host: str, *, field: str) -> None:
    """Refuse to send a secret to a host that it does not name.

    Raises:
        InvalidValue: it does not name it.
    """
    hosts = hosts_of(secret)
    if host not in hosts:
        named = f"is for {', '.join(sorted(hosts))}" if hosts else "names no host"
        raise InvalidValue(
            f'The secret "{secret.name}" {named}, and is not sent to {host}. If it should be: '
            f"`seafloor secret set {secret.name} {HOSTS}`, with every host between spaces.",
            field=field,
        )


def _check(address: GitUrl, secret: Secret) -> None:
    place = _place(address.text)
    if place is None:
        raise InvalidValue(
            f"{address.text} is on this machine: take the secret out.", field="code.secret"
        )
    check_host(secret, place.host, field="code.secret")
    wanted = (PRIVATE_KEY,) if address.is_ssh else (TOKEN, PASSWORD)
    if not any(key in secret for key in wanted):
        raise InvalidValue(
            f'The secret "{secret.name}" has no {" or ".join(wanted)}, which {address.text} needs.',
            field="code.secret",
        )
    if not _may_carry(place):
        raise _in_the_clear(address.text, field="code.secret")


def _check_other(prefix: UrlPrefix, text: str, secret: Secret) -> None:
    check_host(secret, prefix.host, field="code.secrets")
    wanted = (PRIVATE_KEY, TOKEN, PASSWORD)
    if prefix.scheme is not None:
        wanted = wanted[:1] if prefix.scheme == "ssh" else wanted[1:]
    if not any(key in secret for key in wanted):
        raise InvalidValue(
            f'The secret "{secret.name}" has no {" or ".join(wanted)}, which {text} needs.',
            field="code.secrets",
        )
    if not _may_carry(prefix):
        raise _in_the_clear(text, field="code.secrets")


def _in_the_clear(where: str, *, field: str) -> InvalidValue:
    return InvalidValue(
        f"{where} would carry the secret in the clear: use https:// or ssh.", field=field
    )


def _may_carry(place: UrlPrefix) -> bool:
    return place.scheme not in {"http", "git"} or place.host in _LOOPBACK


def _made(secret: Secret, prefix: UrlPrefix | None, place: Path, number: int) -> _Grant:
    folder = place / str(number)
    folder.mkdir(mode=0o700)
    credential: tuple[str, str] | None = None
    authority: Path | None = None
    ssh: str | None = None
    if TOKEN in secret or PASSWORD in secret:
        path = write_private(folder / "credential", _credential(secret))
        credential = (f"{_FILE_VARIABLE}_{number}", str(path))
    if AUTHORITY in secret:
        authority = write_private(folder / AUTHORITY, secret[AUTHORITY])
    if PRIVATE_KEY in secret:
        # What was pasted may have the line ends of another system, or lack the last one.
        text = secret[PRIVATE_KEY].replace(b"\r\n", b"\n").rstrip() + b"\n"
        key = write_private(folder / "key", text)
        known = write_private(folder / KNOWN_HOSTS, secret.get(KNOWN_HOSTS, b""))
        ssh = _strict_ssh(key, known)
    password = secret.text(TOKEN if TOKEN in secret else PASSWORD)
    hidden = () if password is None else (password, quote(password, safe=""))
    hosts = hosts_of(secret) if prefix is None else frozenset({prefix.host})
    return _Grant(secret.name, hosts, prefix, credential, authority, ssh, hidden)


def _helpers(granted: Sequence[tuple[_Grant, Sequence[str]]]) -> tuple[str, ...]:
    config: list[str] = []
    for grant, scopes in granted:
        if grant.credential is not None:
            helper = _HELPER.format(grant.credential[0])
            config += [f"credential.{scope}.helper={helper}" for scope in scopes]
    # The first of them forgets the helpers of the machine.
    return ("credential.helper=", *config) if config else ()


def _variables(grants: Sequence[_Grant]) -> tuple[tuple[str, str], ...]:
    return tuple(grant.credential for grant in grants if grant.credential is not None)


def _authorities(granted: Sequence[tuple[_Grant, Sequence[str]]]) -> tuple[str, ...]:
    return tuple(
        f"http.{scope}.sslCAInfo={grant.authority}"
        for grant, scopes in granted
        if grant.authority is not None
        for scope in scopes
    )


def _credential(secret: Secret) -> bytes:
    """What git's protocol for helpers says."""
    user = secret.text(USERNAME) or _TOKEN_USER
    password = secret.text(TOKEN if TOKEN in secret else PASSWORD)
    return f"username={user}\npassword={password}\n".encode()


def _strict_ssh(key: Path, known: Path) -> str:
    """Ssh with this key and these hosts, whatever the user has set up."""
    options = (
        ("IdentitiesOnly", "yes"),
        ("IdentityAgent", "none"),
        ("PasswordAuthentication", "no"),
        ("StrictHostKeyChecking", "yes"),
        ("UserKnownHostsFile", f'"{known}"'),
        ("UpdateHostKeys", "no"),
    )
    words = ["ssh", "-F", "/dev/null", "-i", str(key)]
    for name, value in options:
        words += ["-o", f"{name}={value}"]
    return shlex.join(words)


def _place(url: str) -> UrlPrefix | None:
    """Host, port and path of an address; None for a path of this machine."""
    address = parse_git_url(url)
    return None if address.is_local else parse_url_prefix(address.text, field="code.url")


def _origin(scheme: str, host: str, port: int) -> str:
    shown = f"[{host}]" if ":" in host else host
    usual = {"https": 443, "http": 80}.get(scheme)
    return f"{scheme}://{shown}" if port == usual else f"{scheme}://{shown}:{port}"
