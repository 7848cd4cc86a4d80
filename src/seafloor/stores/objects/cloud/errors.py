"""What a cloud's store says, in Seafloor's words.

obstore gives a class for the most common answers and a text for all: the status and the code of
the answer stand in it, and are what is gone by. Nothing else of the text reaches a message.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from seafloor.domain.errors import (
    AlreadyExists,
    LimitExceeded,
    NotFound,
    SeafloorError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
)

SILENT_RETRY_AFTER_S = 0.5
BUSY_RETRY_AFTER_S = 1.0
"""What to wait when a store says that it is asked too much; obstore hides what it says itself."""

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w+)</Code>|\(code: (\w+)\)")
_DETAIL_CHARS_MAX = 1000

_NO_BUCKET = {"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted", "InvalidBucketName"}
_DENIED = {
    "AccessDenied",
    "AccountIsDisabled",
    "AllAccessDisabled",
    "AuthenticationFailed",
    "AuthorizationFailure",
    "AuthorizationPermissionMismatch",
    "InsufficientAccountPermissions",
}
_BAD_CREDENTIALS = {
    "ExpiredToken",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "TokenRefreshRequired",
}
_CLOCK = {"RequestTimeTooSkewed"}
_DAMAGED = {"BadDigest", "InvalidDigest", "Md5Mismatch", "XAmzContentSHA256Mismatch"}
_FULL = {"InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "XMinioStorageQuotaExceeded"}
_TOO_LARGE = {"EntityTooLarge", "KeyTooLongError", "RequestBodyTooLarge", "InvalidBlobOrBlock"}
# Another writer came between, or the store had a hiccup: the same call can succeed.
_PASSING = {
    "BlockCountExceedsLimit",
    "ConditionalRequestConflict",
    "IncompleteBody",
    "InternalError",
    "InvalidBlockList",
    "NoSuchUpload",
    "OperationAborted",
    "OperationTimedOut",
    "RequestTimeout",
    "ServerBusy",
    "ServiceUnavailable",
    "SlowDown",
    "TooManyRequests",
}
_ELSEWHERE = {301, 307}
_OTHER_REGION = {"AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_NO_LOCATION = "redirect without LOCATION"
"""What obstore says in place of a status when another region has the bucket."""
_UNREADABLE = ("Got invalid ", "missing from response", "non-partial response")
"""What it says in place of a status when an answer of success is none that the store gives."""


@dataclass(frozen=True)
class CloudWords:
    """How a bucket and what it takes are called, for messages.

    Args:
        bucket: The bucket and where it is, without credentials: ``bucket "x" at s3.host``.
        make: What to do when it is missing.
        rights: What to do when a right is missing, by what was tried (``read``, ``write``,
            ``list``, ``delete``).
        credentials: What to do when the credentials are wrong or there are none.
        region: What to do when the bucket is elsewhere.
    """

    bucket: str
    make: str
    rights: dict[str, str]
    credentials: str
    region: str


@dataclass(frozen=True)
class Answer:
    """What is known of a failed request.

    Args:
        status: Of HTTP; 0 when no answer came.
        code: The store's own word; empty when there is none.
        detail: For the log.
    """

    status: int
    code: str
    detail: str


def answer_of(error: BaseException) -> Answer:
    """Find the status and the code of an answer in an error of obstore."""
    text = str(error).partition("\n\nDebug source")[0]
    status, code = _STATUS.search(text), _CODE.search(text)
    word = (code[1] or code[2]) if code else ""
    known = int(status[1]) if status else int(word) if word.isdigit() else 0
    if not known and _NO_LOCATION in text:
        known = 301
    return Answer(status=known, code=word, detail=text[:_DETAIL_CHARS_MAX])


@contextmanager
def translated(words: CloudWords, action: str, key: str) -> Generator[None]:
    """Turn what obstore raises in a block into an error of ours.

    Args:
        words: Of the bucket.
        action: ``read``, ``write``, ``list`` or ``delete``.
        key: Which object or folder; empty for the root.
    """
    try:
        yield
    except FileNotFoundError as error:
        answer = answer_of(error)
        if answer.code in _NO_BUCKET or answer.code in _PASSING:
            raise store_error(words, action, answer) from error
        raise not_found(key) from error
    except AlreadyExistsError as error:
        answer = answer_of(error)
        if answer.code in _PASSING:
            raise store_error(words, action, answer) from error
        raise already_exists(key) from error
    except (PermissionDeniedError, UnauthenticatedError) as error:
        answer = answer_of(error)
        told = Answer(status=answer.status or 403, code=answer.code, detail=answer.detail)
        raise store_error(words, action, told) from error
    except PreconditionError as error:
        raise StoreUnavailable(
            f'"{key}" was changed by another while this call was at work: repeat it.',
            detail=answer_of(error).detail,
        ) from error
    except BaseError as error:
        raise store_error(words, action, answer_of(error)) from error
    except ValueError as error:
        raise StoreError(
            f'{words.bucket} has an object below "{key}" whose name is no path '
            '(with "//" or the like): rename or remove it.',
            detail=str(error)[:_DETAIL_CHARS_MAX],
        ) from error


def not_found(key: str) -> NotFound:
    """There is no such object."""
    return NotFound(f'There is no object "{key}".', field="key")


def already_exists(key: str) -> AlreadyExists:
    """There is one already."""
    return AlreadyExists(f'There is an object "{key}" already.', field="key")


def other_answers(words: CloudWords, detail: str = "") -> StoreUnavailable:
    """Something else answers in the place of the store, as the sign-in page of a proxy does."""
    return StoreUnavailable(
        f"What answered is not the {words.bucket}: look at the endpoint, and at the proxies on the "
        "way.",
        detail=detail,
        retry_after_s=SILENT_RETRY_AFTER_S,
    )


def store_error(words: CloudWords, action: str, answer: Answer) -> SeafloorError:
    """Say what a failed request means, whichever object it was for."""
    code, detail = answer.code, answer.detail
    if code in _NO_BUCKET:
        return StoreError(f"There is no {words.bucket}: {words.make}", detail=detail)
    if code in _CLOCK:
        return StoreError(
            f"{words.bucket} refuses requests of this machine, whose clock is wrong: "
            "have it keep time (NTP).",
            detail=detail,
        )
    if code in _BAD_CREDENTIALS:
        return StoreError(
            f"{words.bucket} does not know the credentials ({code}): {words.credentials}",
            detail=detail,
        )
    if code in _DAMAGED:
        return StoreCorrupt(
            f"What was sent to {words.bucket} arrived damaged ({code}) and was not kept: repeat.",
            detail=detail,
        )
    if code in _FULL or answer.status == 507:
        return StoreFull(
            f"There is no space left in {words.bucket}: free some, then repeat.", detail=detail
        )
    if code in _TOO_LARGE or answer.status == 413:
        return LimitExceeded(f"An object is larger than {words.bucket} takes.", detail=detail)
    return _by_status(words, action, answer)


def _by_status(words: CloudWords, action: str, answer: Answer) -> SeafloorError:
    code, status, detail = answer.code, answer.status, answer.detail
    # An error may stand in an answer of success, whose status is not told.
    said = f"{status or ''} {code}".strip()
    if code in _DENIED or status in {401, 403}:
        why = f" ({code})" if code else ""
        # A HEAD is answered without a word: it may be the right, the key or the clock.
        else_ = (
            ""
            if code
            else f" If that right is there, {words.credentials} And look whether this machine's "
            "clock is right."
        )
        return StoreError(
            f"{words.bucket} does not let this process {action}{why}: "
            f"{words.rights[action]}{else_}",
            detail=detail,
        )
    if status in _ELSEWHERE or code in _OTHER_REGION:
        return StoreError(f"{words.bucket} is elsewhere: {words.region}", detail=detail)
    if status == 400 and not code:  # so is a HEAD answered when a token is over
        return StoreError(
            f"{words.bucket} refused a request (400) and does not say why, as it does when a "
            f"token has expired. If there is one, {words.credentials}",
            detail=detail,
        )
    if status == 0 and not code and any(part in detail for part in _UNREADABLE):
        return other_answers(words, detail)
    if status == 0 and not code:
        return StoreUnavailable(
            f"{words.bucket} does not answer: look at the network and the endpoint, then repeat. "
            f"If no credentials are set, {words.credentials}",
            detail=detail,
            retry_after_s=SILENT_RETRY_AFTER_S,
        )
    if code in _PASSING or status >= 500 or status in {408, 429}:
        return StoreUnavailable(
            f"{words.bucket} cannot serve this now ({said}): repeat.",
            detail=detail,
            retry_after_s=BUSY_RETRY_AFTER_S,
        )
    return StoreError(f"{words.bucket} refused a request ({said}).", detail=detail)
