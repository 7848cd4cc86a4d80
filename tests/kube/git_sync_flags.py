"""The flags of git-sync 4 and their defaults, as its manual (``--man``, 4.7) lists them.

Its image cannot be pulled where these tests run, so what a container of it is told is compared
with this. Flags that must not be given any more (``--branch``, ``--rev``, ``--dest``, ``--wait``
and the like are version 3's) are not here.
"""

from __future__ import annotations

FLAGS: dict[str, str | int | bool | None] = {
    "--add-user": False,
    "--askpass-url": "",
    "--cookie-file": False,
    "--credential": None,
    "--depth": 1,
    "--error-file": "",
    "--exechook-backoff": "3s",
    "--exechook-command": "",
    "--exechook-timeout": "30s",
    "--filter": "",
    "--git": "git",
    "--git-config": "",
    "--git-gc": "always",
    "--github-app-application-id": 0,
    "--github-app-client-id": "",
    "--github-app-installation-id": 0,
    "--github-app-private-key-file": "",
    "--github-base-url": "https://api.github.com/",
    "--group-write": False,
    "--http-bind": "",
    "--http-metrics": False,
    "--http-pprof": False,
    "--link": "",
    "--max-failures": 0,
    "--one-time": False,
    "--password-file": "",
    "--period": "10s",
    "--ref": "HEAD",
    "--repo": None,
    "--root": None,
    "--sparse-checkout-file": "",
    "--ssh-key-file": "/etc/git-secret/ssh",
    "--ssh-known-hosts": True,
    "--ssh-known-hosts-file": "/etc/git-secret/known_hosts",
    "--stale-worktree-timeout": "0s",
    "--submodules": "recursive",
    "--sync-on-signal": "",
    "--sync-timeout": "120s",
    "--touch-file": "",
    "--username": "",
    "--verbose": 0,
    "--webhook-backoff": "3s",
    "--webhook-method": "POST",
    "--webhook-success-status": 200,
    "--webhook-timeout": "1s",
    "--webhook-url": "",
}
"""Default by flag; None: it has none and is needed, or has no plain value."""

REQUIRED = ("--repo", "--root")
VARIABLES = ("GITSYNC_USERNAME", "GITSYNC_PASSWORD")
"""Of those that stand for flags, the ones we set."""

SUBMODULES = ("recursive", "shallow", "off")
