"""A manifest: one object of Kubernetes as plain data, and many of them as YAML."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import yaml

Manifest = dict[str, Any]

_NUMBER_LIKE = re.compile(r"[-+]?\.?[0-9]")
_REFERENCE = re.compile(r"\$(?=[$(])")


def literal(text: str) -> str:
    """Protect a text from Kubernetes, which replaces ``$(NAME)`` in commands and variables.

    >>> literal("echo $(date) $HOME")
    'echo $$(date) $HOME'
    """
    return _REFERENCE.sub("$$", text)


def variable(name: str, value: str) -> Manifest:
    """A variable of a container with just this value."""
    return {"name": name, "value": literal(value)}


def command_of(command: str | list[str]) -> list[str]:
    """What is executed: a line by a shell, arguments by none."""
    words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
    return [literal(word) for word in words]


def without_empty(manifest: Manifest) -> Manifest:
    """Leave out what says nothing: None, and lists and mappings without entries."""
    return {key: value for key, value in manifest.items() if value not in (None, [], {})}


def as_yaml(manifests: Iterable[Manifest]) -> str:
    """Documents in the order given; the same manifests are the same bytes."""
    return "".join(
        "---\n" + yaml.dump(one, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
        for one in manifests
    )


class _Dumper(yaml.SafeDumper):
    """Writes no anchors, and texts so that every reader takes them for texts."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002  # yaml's signature
        return True


def _text(_dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """Scripts as blocks; what some reader of YAML takes for a number (``1e3``) in quotes."""
    style = "|" if "\n" in text else "'" if _NUMBER_LIKE.match(text) else None
    return yaml.ScalarNode("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
