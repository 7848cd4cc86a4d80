"""Secrets, by reference only: a name and a key is all that this room ever has of one."""

from __future__ import annotations

import re
from collections.abc import Mapping

from seafloor.domain.cluster_specs import SecretRef, parse_secret
from seafloor.domain.errors import InvalidValue
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.parts import Parts
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.rules import secret as check_secret

FILE_MODE = 0o440
_NAME = re.compile(
    r"(?i)(?:^|_)(?:passw(?:or)?d|secret|token|credentials?|(?:api|private|access|secret)_?key)(?:_|$)"
)
_VALUE = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{20,}"
    r"|\bglpat-[\w-]{20,}|\bhf_[A-Za-z0-9]{20,}|\bsk-[\w-]{20,}|\bxox[abprs]-[\w-]{10,}"
    r"|\beyJ[\w-]{10,}\.[\w-]{10,}\.|//[^/\s:@]+:[^/\s@]+@"
)


def secret_parts(secrets: Mapping[str, str], policy: Policy) -> Parts:
    """Variables and files of the main container that come from Secrets.

    Args:
        secrets: The spec's: variables and absolute paths to ``<secret>/<key>``.

    Raises:
        Forbidden: the policy does not allow the Secret.
    """
    env: list[Manifest] = []
    volumes: list[Manifest] = []
    mounts: list[Manifest] = []
    for name, text in secrets.items():
        found = parse_secret(name, text)
        check_secret(policy, found.secret, field=f"secrets.{name}")
        if name.startswith("/"):
            volume = f"secret-{len(volumes)}"
            volumes.append({"name": volume, "secret": _source(found)})
            mounts.append({"name": volume, "mountPath": name, "readOnly": True})
        else:
            env.append(secret_variable(name, found))
    return Parts(volumes=tuple(volumes), mounts=tuple(mounts), env=tuple(env))


def secret_variable(name: str, found: SecretRef) -> Manifest:
    """A variable whose value the kubelet takes from a Secret."""
    reference = {"name": found.secret, "key": found.key}
    return {"name": name, "valueFrom": {"secretKeyRef": reference}}


def check_apart(secrets: Mapping[str, str], env: Mapping[str, str]) -> None:
    """Refuse a variable that is both a secret and not.

    Raises:
        InvalidValue: there is one.
    """
    both = next((name for name in secrets if name in env), None)
    if both is not None:
        raise InvalidValue(f"{both} stands in `env` too: leave it out there.", field=f"env.{both}")


def suspicions(
    env: Mapping[str, str], commands: Mapping[str, str | list[str] | None]
) -> tuple[str, ...]:
    """Say which plain values look like secrets, which a manifest would show to everybody.

    Args:
        env: Variables.
        commands: By the field that has them.
    """
    found = [f"env.{name}" for name, value in env.items() if value and _NAME.search(name)]
    texts = {f"env.{name}": value for name, value in env.items()}
    for field, command in commands.items():
        texts[field] = command if isinstance(command, str) else "\0".join(command or ())
    found += [field for field, text in texts.items() if _VALUE.search(text)]
    return tuple(
        f"{field} looks like a secret, and stands in the manifest for all to read: "
        "keep it in a Secret, and name that under `secrets`."
        for field in dict.fromkeys(found)
    )


def _source(found: SecretRef) -> Manifest:
    made: Manifest = {"secretName": found.secret, "defaultMode": FILE_MODE}
    if found.key is not None:
        made["items"] = [{"key": found.key, "path": found.key}]
    return made
