"""How git reaches a repository: as this machine is set up for it, or with a named secret.

A secret's values never stand in an argument, an address, a variable or a file that stays: git is
told of a file that only we can read, in memory where the system has such a place, and git itself
gives what is in it to the hosts of that secret and to no other.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from seafloor.code.git_command import ssh_command
from seafloor.code.git_url import GitUrl, parse_git_url
from seafloor.code.private_folder import private_folder, write_private
from seafloor.domain.errors import InvalidValue
from seafloor.domain.secrets import Secret

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
_HELPER: Final = f'!f() {{ test "$1" = get && cat "${_FILE_VARIABLE}"; }}; f'
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class GitReach:
    """What a git command needs to reach one address; see ``GitOptions``.

    Args:
        secret: Name of the secret that is used, for messages.
        hidden: Its values that must not stand in what git says.
    """

    config: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    ssh_command: str | None = None
    secret: str | None = None
    hidden: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True)
class GitAccess:
    """How the repositories of one code source are reached: its own and its submodules'.

    Args:
        secret: Its name; None: as this machine is set up.
        hosts: Those that have the secret.
        config, env: For them.
        ssh: What reaches them by ssh; None: as this machine is set up.
        hidden: What must not stand in what git says.
    """

    secret: str | None = None
    hosts: frozenset[str] = frozenset()
    config: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    ssh: str | None = None
    hidden: tuple[str, ...] = field(default=(), repr=False)

    def to(self, url: str) -> GitReach:
        """Say how git reaches an address."""
        address = parse_git_url(url)
        if self.secret is None or _host(address) not in self.hosts:
            return GitReach(ssh_command=ssh_command(url))
        ssh = self.ssh if address.is_ssh else None
        return GitReach(
            self.config, self.env, ssh or ssh_command(url), self.secret, hidden=self.hidden
        )


AS_SET_UP: Final = GitAccess()
"""Credential helpers, ssh keys and proxies of the user whom we run as."""


@contextmanager
def git_access(url: str, secret: Secret | None) -> Generator[GitAccess]:
    """Have access for as long as the context lasts; afterwards nothing of the secret is left.

    Args:
        url: Of the repository.
        secret: None: as this machine is set up.

    Raises:
        InvalidValue: the secret does not name the host of the address, has nothing that goes with
            the way there, or would be sent in the clear.
    """
    if secret is None:
        yield AS_SET_UP
        return
    address = parse_git_url(url)
    hosts = frozenset((secret.text(HOSTS) or "").lower().split())
    _check(address, secret, hosts)
    with private_folder(_PREFIX) as folder:
        yield _made(address, secret, hosts, folder)


def _check(address: GitUrl, secret: Secret, hosts: frozenset[str]) -> None:
    host = _host(address)
    if host is None:
        raise InvalidValue(
            f"{address.text} is on this machine: take the secret out.", field="code.secret"
        )
    if host not in hosts:
        named = f"is for {', '.join(sorted(hosts))}" if hosts else "names no host"
        raise InvalidValue(
            f'The secret "{secret.name}" {named}, and is not sent to {host}. If it should be: '
            f"`seafloor secret set {secret.name} {HOSTS}`, with every host between spaces.",
            field="code.secret",
        )
    wanted = (PRIVATE_KEY,) if address.is_ssh else (TOKEN, PASSWORD)
    if not any(key in secret for key in wanted):
        raise InvalidValue(
            f'The secret "{secret.name}" has no {" or ".join(wanted)}, which {address.text} needs.',
            field="code.secret",
        )
    if address.text.startswith(("http://", "git://")) and host not in _LOOPBACK:
        raise InvalidValue(
            f"{address.text} would carry the secret in the clear: use https:// or ssh.",
            field="code.secret",
        )


def _made(address: GitUrl, secret: Secret, hosts: frozenset[str], folder: Path) -> GitAccess:
    config: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    ssh: str | None = None
    if TOKEN in secret or PASSWORD in secret:
        path = write_private(folder / "credential", _credential(secret))
        origin = _origin(address) if not address.is_ssh else None
        scopes = {f"https://{host}" for host in hosts} | ({origin} if origin else set[str]())
        helpers = tuple(f"credential.{scope}.helper={_HELPER}" for scope in sorted(scopes))
        # The first of them forgets the helpers of the machine.
        config += ("credential.helper=", *helpers)
        env += ((_FILE_VARIABLE, str(path)),)
    if AUTHORITY in secret:
        # The variable goes before any setting, also before one that the machine has.
        env += (("GIT_SSL_CAINFO", str(write_private(folder / AUTHORITY, secret[AUTHORITY]))),)
    if PRIVATE_KEY in secret:
        # What was pasted may have the line ends of another system, or lack the last one.
        text = secret[PRIVATE_KEY].replace(b"\r\n", b"\n").rstrip() + b"\n"
        key = write_private(folder / "key", text)
        known = write_private(folder / KNOWN_HOSTS, secret.get(KNOWN_HOSTS, b""))
        ssh = _strict_ssh(key, known)
    password = secret.text(TOKEN if TOKEN in secret else PASSWORD)
    hidden = () if password is None else (password, quote(password, safe=""))
    return GitAccess(secret.name, hosts, config, env, ssh, hidden=hidden)


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


def _host(address: GitUrl) -> str | None:
    """The host of an address, in lower case; None for a path of this machine.

    >>> _host(parse_git_url("git@Example.com:team/digits.git"))
    'example.com'
    """
    if address.is_local:
        return None
    if "://" in address.text:
        return urlsplit(address.text).hostname
    host = address.text.partition(":")[0].rpartition("@")[2]
    return host.strip("[]").lower()


def _origin(address: GitUrl) -> str:
    parts = urlsplit(address.text)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
