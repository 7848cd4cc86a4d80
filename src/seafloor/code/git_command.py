"""Running git: never asks, never runs a hook, never speaks another language.

Git is the reference implementation of git, so Seafloor calls it rather than a library. What a
machine or a user configured for reaching repositories (credential helpers, proxies, ssh keys,
``insteadOf``) is kept; what would make one machine's result differ from another's is not.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from seafloor.code.git_leash import Leash
from seafloor.code.git_output import read_output
from seafloor.code.ssh_user import ssh_user_variables
from seafloor.domain.errors import SourceError

LOCAL_TIMEOUT_S: Final = 600.0
"""Bound for git commands that touch only the local disk."""

_NO_GIT: Final = (
    "git is not installed on this machine, or not on its PATH. Install git and try again."
)
_WITH_LITTLE_MEMORY: Final = 'ulimit -v "$0" 2>/dev/null; exec "$@"'
"""Where a system has no such limit, git runs without."""

_NOT_FOUND: Final = 127
"""What a shell ends with that does not find its command; git itself never does."""

_CONFIG: Final = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.askPass=",
    "core.quotePath=false",
    "core.attributesFile=/dev/null",
    "color.ui=false",
    "advice.detachedHead=false",
    "protocol.ext.allow=never",
    "protocol.fd.allow=never",
    # A server that stops sending is given up after a minute, however large the repository is.
    "http.lowSpeedLimit=1",
    "http.lowSpeedTime=60",
)

OWN_BARE: Final = "safe.bareRepository=all"
"""For commands in bare repositories that we made: a user may have git refuse those that it finds,
since somebody else's, inside a checkout, could run programs."""

# Variables that point git at a repository, an index or a program other than the one we mean; the
# first are of those that `git rev-parse --local-env-vars` lists (set, for example, inside a hook).
_UNSET: Final = frozenset(
    {
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_COMMON_DIR",
        "GIT_CONFIG",
        "GIT_CONFIG_PARAMETERS",
        "GIT_DIR",
        "GIT_GRAFT_FILE",
        "GIT_IMPLICIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_INTERNAL_SUPER_PREFIX",
        "GIT_NO_REPLACE_OBJECTS",
        "GIT_OBJECT_DIRECTORY",
        "GIT_PREFIX",
        "GIT_REPLACE_REF_BASE",
        "GIT_SHALLOW_FILE",
        "GIT_WORK_TREE",
        "GIT_NAMESPACE",
        "GIT_CEILING_DIRECTORIES",
        "GIT_DISCOVERY_ACROSS_FILESYSTEM",
        "GIT_LITERAL_PATHSPECS",
        "GIT_EXTERNAL_DIFF",
        "GIT_ASKPASS",
        "SSH_ASKPASS",
        "LANGUAGE",
    }
)

_SSH_CONNECT_S: Final = 30
_SYSTEM_KNOWN_HOSTS: Final = "/etc/ssh/ssh_known_hosts"
KNOWN_HOSTS: Final = Path(__file__).with_name("known_hosts")
"""Keys of the large forges, as they publish them: a new machine knows no host otherwise."""

_CREDENTIALS = re.compile(r"(?<=//)[^/@\s'\"]+@")


@dataclass(frozen=True)
class GitResult:
    """What a git command said.

    Args:
        code: Exit code; 0 is success.
        stdout: Bytes: file names need not be UTF-8.
        stderr: Text in English, user information taken out of every URL in it; of much of it the
            beginning and the end.
    """

    code: int
    stdout: bytes
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether it succeeded."""
        return self.code == 0

    @property
    def text(self) -> str:
        """stdout as text without the last newline; for ids and names that git guarantees ASCII."""
        return self.stdout.decode("utf-8", "surrogateescape").rstrip("\n")


@dataclass(frozen=True)
class GitOptions:
    """How to run one git command.

    Args:
        config: More ``name=value`` settings for this command only.
        stdin: What it reads; nothing by default.
        timeout_s: After this it is killed with everything it started; None: ``watch`` sees to
            that.
        ssh_command: What to reach ssh hosts with, when the user configured something.
        env: More variables for this command.
        hidden: Taken out of what it says: a server may repeat what it was sent.
        watch: Called again and again while it goes on; what it raises ends the command.
        hear: Told how many bytes it said on standard error, whenever it did.
        stdout: File that gets what it says, which then is not in the result and has no bound: see
            to that by ``watch``.
        memory_bytes_max: What each process of the command may have; None: what the machine has. Not
            for commands that read packs: they map files much larger than what they need.
    """

    config: tuple[str, ...] = ()
    stdin: bytes = b""
    timeout_s: float | None = LOCAL_TIMEOUT_S
    ssh_command: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    hidden: tuple[str, ...] = field(default=(), repr=False)
    watch: Callable[[], None] | None = None
    hear: Callable[[int], None] | None = None
    stdout: BinaryIO | None = None
    memory_bytes_max: int | None = None


_DEFAULT: Final = GitOptions()


def run_git(
    arguments: Sequence[str | Path], *, cwd: Path | None = None, options: GitOptions = _DEFAULT
) -> GitResult:
    """Run git to its end.

    It has no terminal, so neither git nor ssh can ask anything; it does not take optional locks,
    so it never disturbs a user's own git commands in the same folder. It ends with this process,
    whatever ends that, and with it all that it started.

    Args:
        arguments: Command and its arguments, without ``git``.
        cwd: Where; the root of the file system by default, which is no repository.
        options: Settings, input and limits.

    Returns:
        What it said, also when it failed: the caller knows what a failure means.

    Raises:
        SourceError: git is not installed, or took longer than ``options.timeout_s``.
        LimitExceeded: it said more than is kept in memory.
        Whatever ``options.watch`` raises. The command has ended.
    """
    command: list[str | Path] = ["git"]
    if options.memory_bytes_max is not None:
        command = ["/bin/sh", "-c", _WITH_LITTLE_MEMORY, str(options.memory_bytes_max >> 10), "git"]
    for setting in (*_CONFIG, *options.config):
        command += ["-c", setting]
    command += arguments
    with Leash() as leash, _start(command, cwd, options) as process:
        try:
            leash.hold(process.pid)
            stdout, stderr = read_output(
                process,
                stdin=options.stdin,
                timeout_s=options.timeout_s,
                watch=options.watch,
                hear=options.hear,
            )
        except subprocess.TimeoutExpired as error:
            raise SourceError(
                f"git {arguments[0]} did not answer within {error.timeout:.0f} s and was "
                "ended. Check that the repository's host can be reached from here, or try again "
                "later.",
                field="code.url",
            ) from error
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
    if options.memory_bytes_max is not None and process.returncode == _NOT_FOUND:
        raise SourceError(_NO_GIT)
    said = stderr.decode("utf-8", "replace")
    for value in options.hidden:
        said = said.replace(value, "***")
    said = _CREDENTIALS.sub("", said)
    return GitResult(code=process.wait(), stdout=stdout, stderr=said)


def _start(
    command: Sequence[str | Path], cwd: Path | None, options: GitOptions
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            cwd=cwd if cwd is not None else Path("/"),
            env=_environment(options),
            stdin=subprocess.PIPE if options.stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE if options.stdout is None else options.stdout,
            stderr=subprocess.PIPE,
            # A session of its own: no controlling terminal to ask on, one group to kill.
            start_new_session=True,
        )
    except FileNotFoundError as error:
        if cwd is not None and not cwd.is_dir():
            raise SourceError(f'There is no folder "{cwd}".') from error
        raise SourceError(_NO_GIT) from error


def _environment(options: GitOptions) -> dict[str, str]:
    # Not a setting of ours: git needs the user's HOME, PATH, proxies and ssh agent as they are.
    inherited = os.environ  # noqa: TID251
    env = {
        name: value
        for name, value in inherited.items()
        if name not in _UNSET and not name.startswith("GIT_TRACE")  # traces go to stderr
    }
    ssh = options.ssh_command or env.get("GIT_SSH_COMMAND")
    if ssh is None and "GIT_SSH" not in env:
        ssh = "ssh"
    if ssh is not None:
        known = shlex.quote(f'GlobalKnownHostsFile="{_SYSTEM_KNOWN_HOSTS}" "{KNOWN_HOSTS}"')
        # A server that says nothing at all; one that stops later; both are given up.
        alive = f"-o ConnectTimeout={_SSH_CONNECT_S} -o ServerAliveInterval=15"
        env["GIT_SSH_COMMAND"] = f"{ssh} -o BatchMode=yes {alive} -o {known}"
    env.update(
        LC_ALL="C",
        GIT_TERMINAL_PROMPT="0",
        GIT_OPTIONAL_LOCKS="0",
        GIT_ATTR_NOSYSTEM="1",
        GCM_INTERACTIVE="never",
        SSH_ASKPASS_REQUIRE="never",
    )
    env.update(ssh_user_variables(env.get("HOME", "/")))
    env.update(options.env)
    return env


def ssh_command(url: str) -> str | None:
    """Say what the user configured git to reach an ssh host with.

    Returns:
        The command, or None when he configured nothing or ``url`` does not go by ssh.
    """
    without_ssh = ("/", "https://", "http://", "git://", "file://")
    if url.startswith(without_ssh):
        return None
    said = run_git(["config", "--get", "core.sshCommand"])
    return said.text if said.ok and said.text else None
