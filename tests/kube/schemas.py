"""The schemas that Kubernetes publishes, of its last three minor versions, unknown fields refused.

They come with ``kubernetes-validate``; each is read once, where its own function reads them anew
for every object.
"""

from __future__ import annotations

import functools
import importlib.resources
import json
from typing import Any

import jsonschema
import kubernetes_validate
import referencing
from kubernetes_validate.utils import all_versions

VERSIONS = tuple(sorted(set(all_versions()), key=lambda text: [*map(int, text.split("."))])[-3:])


def problems(manifest: dict[str, Any], version: str) -> list[str]:
    """What a schema says against a manifest."""
    validator = _validator(version, _file(manifest))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(manifest)]


def _file(manifest: dict[str, Any]) -> str:
    group, _, version = manifest["apiVersion"].rpartition("/")
    prefix = f"{group.partition('.')[0]}-" if group else ""
    return f"{manifest['kind'].lower()}-{prefix}{version}.json"


@functools.cache
def _read(version: str, name: str) -> Any:
    folder = importlib.resources.files(kubernetes_validate) / "kubernetes-json-schema"
    return json.loads((folder / f"v{version}-local-strict" / name).read_text(encoding="utf-8"))


@functools.cache
def _validator(version: str, name: str) -> jsonschema.Draft202012Validator:
    schema = referencing.Resource.from_contents(_read(version, name))
    definitions = referencing.Resource.from_contents(_read(version, "_definitions.json"))
    registry = definitions @ (schema @ referencing.Registry())
    return jsonschema.Draft202012Validator(_read(version, name), registry=registry)
