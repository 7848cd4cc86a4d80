"""Runs over HTTP."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from seafloor.domain.workloads import Event
from seafloor.sdk.transport import Query, Request, Transport, quote
from seafloor.wire.runs import (
    AttemptPage,
    Comparison,
    EventPage,
    RunCreate,
    RunCreated,
    RunDeleted,
    RunPage,
    RunUpdate,
    RunView,
)
from seafloor.wire.usage import RunUsage

_RUNS = "/api/v1/runs"


@dataclass(frozen=True)
class RunQuery:
    """Which runs, and in which order.

    Args:
        project: Its name; None: all.
        experiment_id: None: all.
        states: Only in these; empty: in all.
        filter: Such as ``metrics.loss < 0.1 and params.lr = "0.01"``.
        order: Such as ``metrics.loss desc``; None: newest first.
        deleted: The deleted ones instead of the living; None: both.
        fields: Which params, tags and metrics are wanted; ``""``: none, None: all.
    """

    project: str | None = None
    experiment_id: int | None = None
    states: tuple[str, ...] = ()
    filter: str | None = None
    order: str | None = None
    deleted: bool | None = False
    fields: str | None = None

    def pairs(self) -> Query:
        """The parameters of its URL."""
        return [
            ("project", self.project),
            ("experiment", self.experiment_id),
            *(("state", state) for state in self.states),
            ("filter", self.filter),
            ("order", self.order),
            ("deleted", {False: None, True: "deleted", None: "all"}[self.deleted]),
            ("fields", self.fields),
        ]


_ALL = RunQuery()


class Runs:
    """``/api/v1/runs`` of one server."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, run: RunCreate) -> RunCreated:
        """Create a run, or return the one that has its id or idempotency key.

        Raises:
            InvalidValue, NotFound: the spec, or something it names. Nothing was created.
        """
        repeatable = run.id is not None or run.idempotency_key is not None
        request = Request("POST", _RUNS, json=run, repeatable=repeatable)
        return self._transport.call(request, RunCreated)

    def get(self, run_id: str) -> RunView:
        """Read a run.

        Args:
            run_id: Its id, or a beginning or end of it that no other run has.

        Raises:
            NotFound: there is none.
            InvalidValue: several have it.
        """
        return self._transport.call(Request("GET", f"{_RUNS}/{quote(run_id)}"), RunView)

    def page(
        self, query: RunQuery = _ALL, *, limit: int = 100, cursor: str | None = None
    ) -> RunPage:
        """Read one page of runs; go on with ``next`` as the cursor."""
        pairs = [*query.pairs(), ("limit", limit), ("cursor", cursor)]
        return self._transport.call(Request("GET", _RUNS, query=pairs), RunPage)

    def iterate(self, query: RunQuery = _ALL, *, limit: int | None = None) -> Generator[RunView]:
        """Read runs, page by page.

        Args:
            query: Which.
            limit: Of all of them; None: no limit.
        """
        left, cursor = limit, None
        while left is None or left > 0:
            page = self.page(query, limit=500 if left is None else min(left, 500), cursor=cursor)
            yield from page.items
            left = None if left is None else left - len(page.items)
            cursor = page.next
            if cursor is None:
                return

    def update(self, run_id: str, update: RunUpdate) -> RunView:
        """Change a run; fields that are absent stay.

        Raises:
            Conflict: a param would change its value, or the state does not allow it.
        """
        return self._transport.call(
            Request("PATCH", f"{_RUNS}/{quote(run_id)}", json=update), RunView
        )

    def delete(self, run_id: str, *, purge: bool = False) -> RunDeleted:
        """Delete a run; it can be restored unless it is purged."""
        request = Request("DELETE", f"{_RUNS}/{quote(run_id)}", query=[("purge", purge or None)])
        return self._transport.call(request, RunDeleted)

    def usage(self, run_id: str) -> RunUsage:
        """Ask what a run takes in the object store, the models that it logged included."""
        request = Request("GET", f"{_RUNS}/{quote(run_id)}/usage")
        return self._transport.call(request, RunUsage)

    def restore(self, run_id: str) -> RunView:
        """Bring a deleted run back."""
        return self._post(run_id, "restore")

    def stop(self, run_id: str) -> RunView:
        """Ask a launched run to stop. Returns at once.

        Raises:
            Conflict: it has ended, or is not launched by Seafloor.
        """
        return self._post(run_id, "stop")

    def retry(self, run_id: str) -> RunView:
        """Give a launched run that ended a further attempt.

        Raises:
            Conflict: it has not ended, or is not launched by Seafloor.
        """
        request = Request("POST", f"{_RUNS}/{quote(run_id)}/attempts")
        return self._transport.call(request, RunView)

    def attempts(self, run_id: str) -> AttemptPage:
        """Read the attempts of a run: receipts, environments, endings."""
        request = Request("GET", f"{_RUNS}/{quote(run_id)}/attempts")
        return self._transport.call(request, AttemptPage)

    def events(self, run_id: str, *, after: int = 0) -> EventPage:
        """Read what happened to a run, from the event after a sequence number; 1,000 at most."""
        request = Request("GET", f"{_RUNS}/{quote(run_id)}/events", query=[("after", after)])
        return self._transport.call(request, EventPage)

    def iterate_events(self, run_id: str) -> Generator[Event]:
        """Read all that happened to a run, a page at a time."""
        after: int | None = 0
        while after is not None:
            page = self.events(run_id, after=after)
            yield from page.items
            after = page.next

    def compare(self, run_ids: Sequence[str]) -> Comparison:
        """Compare 2 to 20 runs."""
        pairs = [("run", run_id) for run_id in run_ids]
        return self._transport.call(Request("GET", "/api/v1/comparisons", query=pairs), Comparison)

    def _post(self, run_id: str, verb: str) -> RunView:
        request = Request("POST", f"{_RUNS}/{quote(run_id)}/{verb}", repeatable=True)
        return self._transport.call(request, RunView)
