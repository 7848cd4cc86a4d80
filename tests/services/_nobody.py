"""Running as nobody: databases refuse to run as root."""

from __future__ import annotations

import os


def as_nobody(*command: str) -> list[str]:
    """A command that gives root's rights up, if we have them, and is the same process then."""
    if os.geteuid() != 0:
        return list(command)
    return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", *command]
