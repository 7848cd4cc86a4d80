"""From a URL to the object store that it names."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast
from urllib.parse import unquote, urlsplit

from seafloor.domain.errors import InvalidValue, NotSupported, nearest
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.stores.objects.protocol import ObjectStore
from seafloor.stores.objects.wrap.prefix import PrefixObjectStore

OpenBucket = Callable[[str, Mapping[str, str]], ObjectStore]
"""Opens the store of a URL without its path; the variables are the process's environment."""

# Imported when it is used: a server on SQLite and a folder loads no cloud's client.
_BUCKETS: Mapping[str, str] = {
    "s3": "seafloor.stores.objects.cloud.s3",
    "az": "seafloor.stores.objects.cloud.azure",
    "abfs": "seafloor.stores.objects.cloud.azure",
    "abfss": "seafloor.stores.objects.cloud.azure",
    "gs": "seafloor.stores.objects.gcs.store",
}
_HDFS = frozenset({"hdfs", "viewfs"})
SCHEMES = ("file", *_BUCKETS, *sorted(_HDFS))


def open_objects(url: str, variables: Mapping[str, str]) -> ObjectStore:
    """Open an object store; nothing is asked of it yet.

    Args:
        url: ``file:///folder``, ``s3://bucket[/folder]``, ``gs://bucket[/folder]``,
            ``az://container[/folder]``, ``abfs[s]://container[@account.host][/folder]``,
            ``hdfs://name[:port]/folder``, ``viewfs://mounts/folder``. Never with credentials.
        variables: The process's environment: credentials and endpoints by their standard names.

    Raises:
        InvalidValue: it is not such a URL, or what it needs is not in the environment.
        NotSupported: an unknown scheme, with the nearest known one.
    """
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        named = f'"{parts.scheme}://"' if parts.scheme else f'"{url[:60]}", which is no URL'
        raise NotSupported(
            f"No object store is known as {named}.{nearest(parts.scheme, SCHEMES)}",
            field="stores.objects",
        )
    if parts.password or (parts.username and parts.scheme not in ("abfs", "abfss")):
        raise InvalidValue(
            "The URL of the object store holds credentials: put them into the environment, "
            "where no log shows them.",
            field="stores.objects",
        )
    if parts.query or parts.fragment:
        raise InvalidValue("The URL of the object store ends with a path.", field="stores.objects")
    if parts.scheme == "file":
        return _open_folder(parts.netloc, unquote(parts.path))
    if parts.scheme in _HDFS:
        return _opener("seafloor.stores.objects.hdfs.store")(url, variables)
    if not parts.netloc:
        raise InvalidValue(
            f"{parts.scheme}:// needs a bucket: {parts.scheme}://<bucket>[/<folder>].",
            field="stores.objects",
        )
    bucket = _opener(_BUCKETS[parts.scheme])(f"{parts.scheme}://{parts.netloc}", variables)
    folder = unquote(parts.path).strip("/")
    return PrefixObjectStore(bucket, folder) if folder else bucket


def _open_folder(host: str, path: str) -> LocalObjectStore:
    if host or not path.startswith("/"):
        raise InvalidValue("A folder is given as file:///<path>.", field="stores.objects")
    return LocalObjectStore(Path(path))


def _opener(module: str) -> OpenBucket:
    return cast("OpenBucket", importlib.import_module(module).from_url)
