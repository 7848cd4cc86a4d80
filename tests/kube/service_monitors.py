"""What the Prometheus operator's schema of a ServiceMonitor allows, as far as ours needs it."""

from __future__ import annotations

from typing import Any

import jsonschema


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


_STRING = {"type": "string"}
_LABELS = {"type": "object", "additionalProperties": _STRING}
_ENDPOINT = _object(
    port=_STRING,
    path=_STRING,
    interval={"type": "string", "pattern": "^[0-9]+[ms]$"},
    authorization=_object(type=_STRING, credentials=_object("key", name=_STRING, key=_STRING)),
)
_SCHEMA = _object(
    "spec",
    apiVersion={"const": "monitoring.coreos.com/v1"},
    kind={"const": "ServiceMonitor"},
    metadata={"type": "object"},
    spec=_object(
        "endpoints",
        "selector",
        endpoints={"type": "array", "items": _ENDPOINT},
        selector=_object(matchLabels=_LABELS),
    ),
)


def service_monitor_problems(manifest: dict[str, Any]) -> list[str]:
    """What that schema says against a manifest, unknown fields refused."""
    found = jsonschema.Draft202012Validator(_SCHEMA).iter_errors(manifest)
    return [f"{error.json_path}: {error.message}" for error in found]
