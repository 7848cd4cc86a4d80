"""What HDFS says, in Seafloor's words.

hdfs-native raises plain OSErrors for what it knows, and a RuntimeError with the server's Java
exception in its text for the rest. Answers that a caller acts on come out of here as OSErrors
(a missing path, one in the way, a folder that is not empty); all else as Seafloor's errors.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Generator
from contextlib import contextmanager

from seafloor.domain.errors import (
    InvalidValue,
    LimitExceeded,
    NotSupported,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

RETRY_AFTER_S = 1.0
RETRY_AFTER_SAFE_MODE_S = 10.0
"""A NameNode that starts is in safe mode until it has heard of its blocks."""

_RPC = re.compile(r'(?:Fatal)?RPCError\("(?P<java>[\w.$]*)", "(?P<text>.*)', re.DOTALL)
_KIND = re.compile(r"\w+")
_DENIED = re.compile(r'user=(?P<user>[^,]*), access=(?P<access>\w+), inode="(?P<path>[^"]*)"')
_TRAVERSED_FILE = "is not a directory"
_NO_DATANODE = "There are 0 datanode(s) running"

_PASSING = {
    "StandbyException",
    "RetriableException",
    "ObserverRetryOnActiveException",
    "NotReplicatedYetException",
    "LeaseExpiredException",
    "RecoveryInProgressException",
    "NoNamenodesAvailableException",
    "ConnectException",
    "SocketTimeoutException",
    "ServerTooBusyException",
    "JournalOutOfSyncException",
    "QuorumException",
}
_FULL = {
    "QuotaExceededException",
    "DSQuotaExceededException",
    "NSQuotaExceededException",
    "QuotaByStorageTypeExceededException",
}
_DENIED_CLASSES = {"AccessControlException", "AuthorizationException", "InvalidToken"}
_NOT_A_NAME = {
    "InvalidPathException",
    "HadoopIllegalArgumentException",
    "FSLimitException$PathComponentTooLongException",
}
_UNREACHED = {"DataTransferError", "OperationFailed", "InternalError", "InvalidRPCResponse"}
_IDENTITY = {"SASLError", "GSSAPIError", "NoSASLMechanism"}


@contextmanager
def translated(place: str, *, key: str = "") -> Generator[None]:
    """Turn what hdfs-native raises in a block into an error of ours, or a telling OSError.

    Args:
        place: The store's URL, to name in messages.
        key: What was being worked on, when it was one object.

    Raises:
        FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError: as they say.
        OSError: with ENOTEMPTY, a folder is not empty.
    """
    try:
        yield
    except (FileNotFoundError, FileExistsError, NotADirectoryError, IsADirectoryError):
        raise
    except TimeoutError as error:
        raise StoreUnavailable(
            f"{place} did not answer in time: look whether its NameNode and DataNodes are well, "
            "then repeat.",
            retry_after_s=RETRY_AFTER_S,
        ) from error
    except NotImplementedError as error:
        raise NotSupported(f"{place} asks for what cannot be done: {error}") from error
    except OSError as error:
        if error.errno == errno.ENOTEMPTY:
            raise  # ours, from an inner block
        raise _unavailable(place, str(error)) from error
    except RuntimeError as error:
        raise _told(str(error), place, key) from error


def _told(said: str, place: str, key: str) -> OSError | SeafloorError:
    remote = _RPC.match(said)
    if remote is not None:
        java = remote["java"].rpartition(".")[2]
        text = remote["text"].partition("\\n")[0].replace('\\"', '"')
        return _answer(java, text, key) or _failure(java, text, place, key)
    kind = _KIND.match(said)
    name = kind[0] if kind else ""
    if name == "ChecksumError":
        return StoreCorrupt(
            f'The bytes of "{key}" are not what was written: no good replica was found.',
            detail=said,
        )
    if name in _IDENTITY:
        return StoreError(
            f"{place} does not know who this is: look at the Kerberos ticket or keytab of the "
            "user that runs Seafloor (klist).",
            detail=said,
        )
    if name in _UNREACHED:
        return _unavailable(place, said)
    return StoreError(f"{place} failed: {said[:200]}", detail=said)


def _answer(java: str, text: str, key: str) -> OSError | None:
    """Give the error that a caller acts on; None when it is a failure."""
    if java == "PathIsNotEmptyDirectoryException":
        return OSError(errno.ENOTEMPTY, text, key)
    if java == "ParentNotDirectoryException":
        return NotADirectoryError(errno.ENOTDIR, text, key)
    if java == "AccessControlException" and _TRAVERSED_FILE in text:
        # So says the check of permissions when a part of a path is a file.
        return NotADirectoryError(errno.ENOTDIR, text, key)
    if "is not sufficiently replicated yet" in text:
        return FileExistsError(errno.EEXIST, text, key)  # its last writer is not done with it
    if "must both be directories" in text:
        return IsADirectoryError(errno.EISDIR, text, key)
    return None


def _failure(java: str, text: str, place: str, key: str) -> SeafloorError:
    detail = f"{java}: {text}"
    if java == "SafeModeException" or "is in safe mode" in text:
        return StoreUnavailable(
            f"{place} is in safe mode and takes no writes: it ends by itself after a start; "
            "look at `hdfs dfsadmin -safemode get` when it stays.",
            retry_after_s=RETRY_AFTER_SAFE_MODE_S,
            detail=detail,
        )
    if java in _PASSING or _NO_DATANODE in text:
        return _unavailable(place, detail)
    if java in _FULL:
        which = "-setQuota" if java == "NSQuotaExceededException" else "-setSpaceQuota"
        return StoreFull(
            f"The quota of {place} is used up: free some or have it raised "
            f"(`hdfs dfsadmin {which}`), then repeat.",
            detail=detail,
        )
    if "could only be replicated to" in text or "could only be written to" in text:
        return StoreFull(
            f"No DataNode of {place} takes more: free some space or add one, then repeat.",
            detail=detail,
        )
    if java in _DENIED_CLASSES:
        return _denied(text, place, detail)
    return _refused(java, text, place, key, detail)


def _refused(java: str, text: str, place: str, key: str, detail: str) -> SeafloorError:
    if java in _NOT_A_NAME or "Pathname too long" in text:
        return InvalidValue(
            f'HDFS cannot hold the name "{key}": use another, or a shorter one.',
            field="key",
            detail=detail,
        )
    if java == "FSLimitException$MaxDirectoryItemsExceededException":
        return LimitExceeded(
            f'The folder of "{key}" is as full as HDFS allows '
            "(dfs.namenode.fs-limits.max-directory-items).",
            field="key",
            detail=detail,
        )
    return StoreError(f"{place} failed: {java}: {text[:200]}", detail=detail)


def _denied(text: str, place: str, detail: str) -> StoreError:
    found = _DENIED.search(text)
    if found is None:
        return StoreError(f"{place} lets this user do nothing: {text[:200]}", detail=detail)
    return StoreError(
        f'The user "{found["user"]}" may not {found["access"].lower()} {found["path"]} of '
        f"{place}: give it to that user (`hdfs dfs -chown`), or set HADOOP_USER_NAME to its owner.",
        detail=detail,
    )


def _unavailable(place: str, detail: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{place} does not answer: look whether its NameNode and DataNodes run, then repeat.",
        retry_after_s=RETRY_AFTER_S,
        detail=detail,
    )
