"""Errors: one tree, and the words in them are for the user.

    SeafloorError
      CallerError       the caller must change something
        InvalidValue      a field has a value that cannot be accepted
        NotFound          no such object, or one the caller may not see
          NoSuchTag         the object is there, and has no tag that is to go
        AlreadyExists     the name is taken
        PreconditionFailed  the object is not what the caller said that it has to be
        Conflict          the object's state does not allow this
          OutOfOrder        an append does not continue where the last one ended
          Closed            the object takes no more
          StaleLease        another server has taken this over
          InUse             what it holds is in the way
        Unauthenticated   who are you
        Forbidden         you may not
        LimitExceeded     too large, too many, too long
      SourceError       code or packages could not be had from where the user said
      StoreError        a backend failed
        StoreUnavailable  try again (retryable)
        StoreFull         no space left; nothing was lost, nothing was written
        StoreCorrupt      bytes are not what was written
        NotSupported      this backend cannot do that
      ClusterError      the launcher's cluster said no
        ClusterUnavailable  try again (retryable)
        PodRejected
      InternalError     a bug; the user sees an id, the log sees the rest

Every class has a stable ``code``. ``message`` is safe to show to a user and says what to do;
``detail`` is for the log only. HTTP knows which code is which status; nothing here does.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

NEAREST_CHARS_MAX = 100
"""Comparing takes the product of the lengths: a name of a megabyte is not compared whole."""


class SeafloorError(Exception):
    """What every error of Seafloor is.

    Args:
        message: One or two sentences for the user: what happened and what to do.
        field: The dotted path of the offending field (``code.ref``), or None when there is none.
        detail: More for the log; may hold what a user must not see.
        retry_after_s: Seconds to wait before the same call can succeed; None when unknown.
    """

    code: ClassVar[str] = "internal"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        detail: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.detail = detail
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.message,), dict(vars(self)))


class CallerError(SeafloorError):
    """The caller must change something."""

    code = "caller"


class InvalidValue(CallerError):
    """A field has a value that cannot be accepted."""

    code = "invalid_value"


class NotFound(CallerError):
    """There is no such object, or the caller may not see it."""

    code = "not_found"


class NoSuchTag(NotFound):
    """The object is there, and a tag of it that is to be deleted is not. Nothing was changed."""

    code = "no_such_tag"


class AlreadyExists(CallerError):
    """The name is taken."""

    code = "already_exists"


class PreconditionFailed(CallerError):
    """The object is not what the caller said that it has to be. Nothing was changed."""

    code = "precondition_failed"


class Conflict(CallerError):
    """The object's state does not allow this."""

    code = "conflict"


class OutOfOrder(Conflict):
    """An append does not continue where the last one ended.

    Args:
        next_offset: Where the store wants the next append to start (bytes).
    """

    code = "out_of_order"

    def __init__(self, message: str, *, next_offset: int = 0, field: str | None = None) -> None:
        super().__init__(message, field=field)
        self.next_offset = next_offset


class Closed(Conflict):
    """The object takes no more."""

    code = "closed"


class StaleLease(Conflict):
    """Another server has taken over what this one was doing. Nothing was written."""

    code = "stale_lease"


class InUse(Conflict):
    """What it holds is in the way of this. Nothing was changed."""

    code = "in_use"


class Unauthenticated(CallerError):
    """The request carries no valid token."""

    code = "unauthenticated"


class Forbidden(CallerError):
    """The token does not allow this."""

    code = "forbidden"


class LimitExceeded(CallerError):
    """Too large, too many or too long."""

    code = "limit_exceeded"


class SourceError(SeafloorError):
    """Code or packages could not be had from where the user said.

    A missing ref, a repository that asks for a password, a package that does not exist.
    """

    code = "source"


class StoreError(SeafloorError):
    """A backend failed."""

    code = "store"


class StoreUnavailable(StoreError):
    """The backend does not answer; it is unknown whether the call took effect. Repeat it."""

    code = "store_unavailable"
    retryable = True


class StoreFull(StoreError):
    """There is no space left. Nothing was written."""

    code = "store_full"
    retryable = True


class StoreCorrupt(StoreError):
    """Bytes are not what was written."""

    code = "store_corrupt"


class NotSupported(StoreError):
    """This backend, or this version, cannot do that."""

    code = "not_supported"


class ClusterError(SeafloorError):
    """Where tasks run said no."""

    code = "cluster"


class ClusterUnavailable(ClusterError):
    """Where tasks run does not answer."""

    code = "cluster_unavailable"
    retryable = True


class PodRejected(ClusterError):
    """A task cannot be started as asked."""

    code = "pod_rejected"


class InternalError(SeafloorError):
    """A bug. The user sees an id, the log sees the rest."""

    code = "internal"


def error_classes() -> dict[str, type[SeafloorError]]:
    """Every error class of this tree by its code; the SDK raises by it what the server answered.

    Classes that others derive for themselves never reach a user.
    """
    found: dict[str, type[SeafloorError]] = {}
    waiting: list[type[SeafloorError]] = list(SeafloorError.__subclasses__())
    while waiting:
        cls = waiting.pop()
        if cls.__module__ == __name__:
            found[cls.code] = cls
        waiting.extend(cls.__subclasses__())
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known name the user probably meant.

    Returns:
        `` Did you mean "x"?`` with a leading space, or the list of known names when none is
        near, or an empty string when nothing is known.

    >>> nearest("comand", ["command", "code"])
    ' Did you mean "command"?'
    >>> nearest("zzz", ["a", "b"])
    ' Known: a, b.'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name[:NEAREST_CHARS_MAX], names, n=1, cutoff=0.6)
    if near:
        return f' Did you mean "{near[0]}"?'
    if not names:
        return ""
    shown = ", ".join(names[:12])
    return f" Known: {shown}{', …' if len(names) > 12 else ''}."
