"""What every object store asks of its arguments, in one place so that all ask the same."""

from __future__ import annotations

from seafloor.domain.errors import InvalidValue
from seafloor.domain.names import check_path
from seafloor.stores.objects.protocol import LIST_LIMIT_MAX, PRESIGN_EXPIRES_S_MAX

STAGING_FOLDER = ".seafloor-tmp"
"""Where the local store keeps what is not whole yet; no key begins with it, in any store."""


def check_object_key(key: str, *, field: str = "key") -> str:
    """Check the key of an object or of a folder other than the root.

    Raises:
        InvalidValue: it breaks ``domain.names.check_path``, or begins with the reserved folder.
        LimitExceeded: it is too long.
    """
    check_path(key, field=field)
    if key.partition("/")[0] == STAGING_FOLDER:
        raise InvalidValue(
            f'"{STAGING_FOLDER}" is where unfinished objects are kept: use another name.',
            field=field,
        )
    return key


def check_listing(folder: str, *, limit: int, cursor: str | None) -> None:
    """Check the arguments of a listing.

    Raises:
        InvalidValue: the folder breaks ``check_object_key`` (``""`` is fine), the limit is not in
            1..LIST_LIMIT_MAX, or the cursor does not lie below the folder.
        LimitExceeded: the folder's key is too long.
    """
    if folder:
        check_object_key(folder, field="folder")
    if not 1 <= limit <= LIST_LIMIT_MAX:
        raise InvalidValue(f"A page has 1 to {LIST_LIMIT_MAX} entries, not {limit}.", field="limit")
    if cursor is not None and (not cursor or not is_below(cursor, folder)):
        raise InvalidValue(
            "The cursor is not of this folder: pass `next` of the page before.", field="cursor"
        )


def check_range(*, start: int, length: int | None) -> None:
    """Check a range of bytes.

    Raises:
        InvalidValue: a negative start or length.
    """
    if start < 0:
        raise InvalidValue("A range starts at byte 0 or later.", field="start")
    if length is not None and length < 0:
        raise InvalidValue("A range has a length of 0 bytes or more.", field="length")


def check_append(key: str, *, offset: int) -> None:
    """Check the arguments of an append.

    Raises:
        InvalidValue: the key breaks ``check_object_key``, or the offset is negative.
        LimitExceeded: the key is too long.
    """
    check_object_key(key)
    if offset < 0:
        raise InvalidValue("An append starts at byte 0 or later.", field="offset")


def check_presign(key: str, *, method: str, expires_s: int) -> None:
    """Check the arguments of a presigned URL.

    Raises:
        InvalidValue: the key breaks ``check_object_key``, the method is neither GET nor PUT, or
            the time is not in 1..PRESIGN_EXPIRES_S_MAX.
        LimitExceeded: the key is too long.
    """
    check_object_key(key)
    if method not in ("GET", "PUT"):
        raise InvalidValue(f'A URL is for GET or PUT, not "{method}".', field="method")
    if not 1 <= expires_s <= PRESIGN_EXPIRES_S_MAX:
        raise InvalidValue(
            f"A URL can be valid for 1 to {PRESIGN_EXPIRES_S_MAX} seconds, not {expires_s}.",
            field="expires_s",
        )


def is_below(key: str, folder: str) -> bool:
    """Say whether a key lies below a folder (``""``: the root).

    >>> is_below("model/a", "model"), is_below("model-hf/a", "model"), is_below("model", "model")
    (True, False, False)
    """
    return not folder or key.startswith(f"{folder}/")


def ancestors(key: str) -> list[str]:
    """The folders that a key lies in, from the outermost.

    >>> ancestors("a/b/c")
    ['a', 'a/b']
    """
    parts = key.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
