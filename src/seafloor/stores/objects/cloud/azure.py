"""``az://container``, ``abfs[s]://container[@account.dfs.core.windows.net]``: Azure Blob Storage.

All goes by the Blob API, whatever the scheme.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import AzureStore

from seafloor.domain.errors import InvalidValue
from seafloor.stores.objects.cloud.blocks import Blocks
from seafloor.stores.objects.cloud.calls import Calls
from seafloor.stores.objects.cloud.client import NO_RETRIES, check_endpoint, client_options
from seafloor.stores.objects.cloud.errors import CloudWords
from seafloor.stores.objects.cloud.shared_access import SignByKey, SignByStore
from seafloor.stores.objects.cloud.store import CloudObjectStore

if TYPE_CHECKING:
    from obstore.store import AzureAccessKey, AzureConfig

FOLDERS_MAX = 253
"""Azure takes names of at most 254 parts."""

_HOST = re.compile(r"([a-z0-9]{3,24})\.(?:dfs|blob)\.([a-z0-9.-]+)\Z")


def from_url(url: str, variables: Mapping[str, str]) -> CloudObjectStore:
    """Open a container; nothing is asked of it yet.

    Args:
        url: ``az://container``, ``abfs[s]://container`` or
            ``abfs[s]://container@account.dfs.core.windows.net``.
        variables: ``AZURE_STORAGE_ACCOUNT_NAME`` (where the URL does not name the account),
            ``AZURE_STORAGE_ACCOUNT_KEY``, ``AZURE_STORAGE_ENDPOINT``. Without a key: the
            ``AZURE_CLIENT_ID``, ``AZURE_TENANT_ID`` and ``AZURE_CLIENT_SECRET`` of a principal,
            workload identity or managed identity, which obstore finds by itself.

    Raises:
        InvalidValue: no account is named, or two are; the key is no base64; the endpoint is no
            http(s) URL.
    """
    container, _, host = urlsplit(url).netloc.rpartition("@")
    if not container:
        container, host = host, ""
    account, endpoint = _account(host, variables)
    # All is said, since what is not said obstore reads from the process's environment.
    config: AzureConfig = {
        "account_name": account,
        "use_emulator": False,
        "skip_signature": False,
        "use_fabric_endpoint": False,
    }
    if endpoint:
        config["endpoint"] = endpoint
    key = _account_key(variables)
    bucket = AzureStore(
        container,
        config=config,
        client_options=client_options(endpoint),
        retry_config=NO_RETRIES,
        credential_provider=_given(key) if key else None,
    )
    words = _words(container, account, endpoint)
    calls = Calls()
    sign = SignByStore(bucket, calls)
    if key:
        sign = SignByKey(
            account=account,
            container=container,
            account_url=(endpoint or f"https://{account}.blob.core.windows.net").rstrip("/"),
            key=key,
        )
    return CloudObjectStore(
        bucket,
        words,
        calls=calls,
        large=Blocks(bucket, words, sign, calls),
        sign=sign,
        # An account with hierarchical namespace lists folder by folder.
        in_order=False,
        takes_any=False,
        says_missing=True,
        deletes_at_once=256,
        folders_max=FOLDERS_MAX,
    )


def _account(host: str, variables: Mapping[str, str]) -> tuple[str, str]:
    """Find the account and its endpoint (empty: Azure's own)."""
    endpoint = variables.get("AZURE_STORAGE_ENDPOINT") or variables.get("AZURE_ENDPOINT") or ""
    check_endpoint(endpoint, "AZURE_STORAGE_ENDPOINT")
    named = variables.get("AZURE_STORAGE_ACCOUNT_NAME", "")
    if not host:
        if not named:
            raise InvalidValue(
                "Which account? Set AZURE_STORAGE_ACCOUNT_NAME, or name it in the URL: "
                "abfss://<container>@<account>.dfs.core.windows.net.",
                field="stores.objects",
            )
        return named, endpoint
    found = _HOST.match(host)
    if not found:
        raise InvalidValue(
            f'"{host}" is no account of Azure: give <account>.dfs.core.windows.net.',
            field="stores.objects",
        )
    if named and named != found[1]:
        raise InvalidValue(
            f'The URL names the account "{found[1]}", AZURE_STORAGE_ACCOUNT_NAME "{named}": '
            "name one.",
            field="stores.objects",
        )
    return found[1], endpoint or f"https://{found[1]}.blob.{found[2]}"


def _account_key(variables: Mapping[str, str]) -> str:
    """Give the key that is set; empty when an identity is to be found."""
    key = variables.get("AZURE_STORAGE_ACCOUNT_KEY", "")
    try:
        base64.b64decode(key, validate=True)
    except binascii.Error:
        # Not chained: what it says of the key is nobody's business.
        raise InvalidValue(
            "AZURE_STORAGE_ACCOUNT_KEY is no base64: copy the whole key of the account.",
            field="stores.objects",
        ) from None
    return key


def _given(key: str) -> Callable[[], AzureAccessKey]:
    def given() -> AzureAccessKey:
        return {"access_key": key, "expires_at": None}

    return given


def _words(container: str, account: str, endpoint: str) -> CloudWords:
    host = urlsplit(endpoint).netloc or "Azure"
    write = f'give the identity the role "Storage Blob Data Contributor" on "{container}".'
    read = f'give the identity the role "Storage Blob Data Reader" on "{container}", or more.'
    return CloudWords(
        bucket=f'container "{container}" of account "{account}" ({host})',
        make="create it, or correct the name in the URL.",
        rights={"read": read, "list": read, "write": write, "delete": write},
        credentials="set AZURE_STORAGE_ACCOUNT_KEY, or run where an identity is given.",
        region="correct AZURE_STORAGE_ENDPOINT.",
    )
