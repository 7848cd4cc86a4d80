"""Tokens of workloads: what an agent and the user's tools present, good for one run only.

``sfw1.<workload id>.<attempt>.<signature>``, signed with a key that never leaves the server. A
token is good while its attempt lives and an hour longer, so that the last words can be delivered.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

import msgspec

from seafloor.app.clock import Clock
from seafloor.domain.errors import Forbidden, NotFound, Unauthenticated
from seafloor.domain.ids import WorkloadId
from seafloor.domain.workloads import Workload
from seafloor.stores.metadata.protocol import MetadataStore

CREATED_BY_TAG = "seafloor.createdBy"
_PREFIX = "sfw1"
_GRACE_NS = 3600 * 1_000_000_000


class Administrator(msgspec.Struct, frozen=True):
    """Who holds the server's token, or anyone on a loopback server without authentication."""


class TaskPrincipal(msgspec.Struct, frozen=True):
    """A task of one workload, by its token."""

    workload_id: WorkloadId
    attempt: int


Principal = Administrator | TaskPrincipal


class Tokens:
    """Issues and checks the tokens of workloads."""

    def __init__(self, key: bytes, metadata: MetadataStore, clock: Clock) -> None:
        self._key = key
        self._metadata = metadata
        self._clock = clock

    def issue(self, workload_id: WorkloadId, attempt: int) -> str:
        """Make the token of an attempt; the same attempt has the same token."""
        return f"{_PREFIX}.{workload_id}.{attempt}.{self._sign(workload_id, attempt)}"

    async def check(self, token: str) -> TaskPrincipal:
        """Say whose token it is.

        Raises:
            Unauthenticated: it is none of ours, or its time is over.
            Forbidden: a newer attempt began. Unlike the other this will never be otherwise, so
                an agent that outlived its attempt need not ask again.
        """
        parts = token.split(".")
        if len(parts) != 4 or parts[0] != _PREFIX or not parts[2].isascii():
            raise Unauthenticated("The token is not one of this server.")
        workload_id = WorkloadId(parts[1])
        number = int(parts[2]) if parts[2].isdigit() and len(parts[2]) < 9 else -1
        signed = self._sign(workload_id, number).encode()
        if not hmac.compare_digest(signed, parts[3].encode()):
            raise Unauthenticated("The token is not one of this server.")
        try:
            workload = await self._metadata.workload_get(workload_id)
        except NotFound as error:
            raise Unauthenticated("The token's run does not exist any more.") from error
        if workload.attempt != number:
            raise Forbidden(
                f"Attempt {number} of the run is over: attempt {workload.attempt} took its place."
            )
        if self._is_over(workload):
            raise Unauthenticated("The token's run ended; its token is no longer good.")
        return TaskPrincipal(workload_id, number)

    def _is_over(self, workload: Workload) -> bool:
        ended_ns = workload.ended_ns
        return (
            workload.state.is_final
            and ended_ns is not None
            and self._clock.now_ns() > ended_ns + _GRACE_NS
        )

    def _sign(self, workload_id: str, attempt: int) -> str:
        text = f"{_PREFIX}.{workload_id}.{attempt}".encode()
        digest = hmac.new(self._key, text, hashlib.sha256).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    async def check_write(self, principal: Principal, workload_id: WorkloadId) -> None:
        """Refuse to let a task write to a workload that is neither its own nor made by it.

        Raises:
            Forbidden: it is another's.
        """
        if isinstance(principal, Administrator) or principal.workload_id == workload_id:
            return
        labels = await self._metadata.labels_get([workload_id])
        found = labels.get(workload_id)
        if found is None or found.tags.get(CREATED_BY_TAG) != principal.workload_id:
            raise Forbidden("A task's token may write to its own run only, and to runs it created.")
