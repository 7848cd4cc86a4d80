"""Ids and digests: 32 hex digits that sort by time, and sha256 sums.

A workload id is a UUIDv7 (RFC 9562): 48 bits of milliseconds, then 74 random bits. The clock and
the randomness come in by parameter, since this room has neither.
"""

from __future__ import annotations

import re
from typing import NewType

from seafloor.domain.errors import InvalidValue

WorkloadId = NewType("WorkloadId", str)
"""Id of a run, a notebook or a serving: 32 lower-case hex digits."""

Sha256 = NewType("Sha256", str)
"""A sha256 sum: 64 lower-case hex digits."""

GitCommit = NewType("GitCommit", str)
"""A full git commit id: 40 (sha1) or 64 (sha256) lower-case hex digits."""

_ID = re.compile(r"[0-9a-f]{32}\Z")
_MODEL_ID = re.compile(r"m-[0-9a-f]{32}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_COMMIT = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")


def workload_id_from_parts(*, time_ms: int, random_bits: int) -> WorkloadId:
    """Make a UUIDv7.

    Args:
        time_ms: Milliseconds since 1970-01-01 UTC, 0 <= time_ms < 2**48.
        random_bits: 0 <= random_bits < 2**74.

    >>> workload_id_from_parts(time_ms=1, random_bits=0)
    '00000000000170008000000000000000'
    """
    if not 0 <= time_ms < 1 << 48 or not 0 <= random_bits < 1 << 74:
        raise InvalidValue("a UUIDv7 has 48 bits of time and 74 of randomness")
    high = random_bits >> 62
    low = random_bits & ((1 << 62) - 1)
    value = (time_ms << 80) | (0x7 << 76) | (high << 64) | (0b10 << 62) | low
    return WorkloadId(f"{value:032x}")


def parse_workload_id(text: str, *, field: str = "id") -> WorkloadId:
    """Check a workload id.

    Raises:
        InvalidValue: it is not 32 lower-case hex digits.
    """
    if not _ID.match(text):
        shown = text if len(text) <= 64 else text[:61] + "…"
        raise InvalidValue(
            f'"{shown}" is not an id: ids are 32 lower-case hex digits.', field=field
        )
    return WorkloadId(text)


def parse_model_id(text: str) -> str:
    """Check the id of a logged model.

    Raises:
        InvalidValue: it is not ``m-`` and 32 lower-case hex digits.
    """
    if not _MODEL_ID.match(text):
        raise InvalidValue(
            f'"{text[:64]}" is not the id of a model: "m-" and 32 lower-case hex digits.',
            field="model_id",
        )
    return text


def parse_sha256(text: str, *, field: str = "sha256") -> Sha256:
    """Check a sha256 sum.

    Raises:
        InvalidValue: it is not 64 lower-case hex digits.
    """
    if not _SHA256.match(text):
        raise InvalidValue("A sha256 is 64 lower-case hex digits.", field=field)
    return Sha256(text)


def parse_git_commit(text: str, *, field: str = "commit") -> GitCommit:
    """Check a full git commit id.

    Raises:
        InvalidValue: it is not 40 or 64 lower-case hex digits.
    """
    if not _COMMIT.match(text):
        raise InvalidValue("A git commit is 40 or 64 lower-case hex digits.", field=field)
    return GitCommit(text)
