"""``secret``: what is done to secrets where they are kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from seafloor.domain.secrets import VALUE_BYTES_MAX
from seafloor.stores.secrets.folder import SECRETS_FOLDER, FolderSecrets


@dataclass(frozen=True)
class SecretCommand:
    """What was asked for.

    Args:
        data: The data folder.
        verb: What to do; ``set`` reads the value from standard input.
        name, key: Of the secret; ``rm`` without a key removes all of it.
        json: Whether ``list`` prints a document.
    """

    data: Path
    verb: Literal["set", "list", "rm"]
    name: str = ""
    key: str | None = None
    json: bool = False


def run(command: SecretCommand) -> None:
    """Do it, and say what was done; no value is ever printed.

    Raises:
        SeafloorError: see ``FolderSecrets``.
    """
    kept = FolderSecrets(command.data.expanduser().absolute() / SECRETS_FOLDER)
    if command.verb == "set":
        value = sys.stdin.buffer.read(VALUE_BYTES_MAX + 1)
        kept.put(command.name, command.key or "", value)
        sys.stderr.write(f"{command.name}/{command.key} is set.\n")
    elif command.verb == "rm":
        kept.remove(command.name, command.key)
        what = command.name if command.key is None else f"{command.name}/{command.key}"
        sys.stderr.write(f"{what} is removed.\n")
    elif command.json:
        found = msgspec.json.encode(kept.list())
        sys.stdout.write(msgspec.json.format(found).decode() + "\n")
    else:
        for name, keys in kept.list().items():
            sys.stdout.write(f"{name}  {' '.join(keys)}\n")
