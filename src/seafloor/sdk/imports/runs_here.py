"""Which runs a server has, each asked for once."""

from __future__ import annotations

from typing import Final

from seafloor.domain.errors import NotFound
from seafloor.domain.ids import WorkloadId
from seafloor.sdk.client import Client

_REMEMBERED_MAX: Final = 100_000


class RunsHere:
    """The runs of a server by id, as models and traces name them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[WorkloadId, bool] = {}

    def __contains__(self, run_id: WorkloadId) -> bool:
        if run_id not in self._known:
            if len(self._known) >= _REMEMBERED_MAX:
                self._known.clear()
            try:
                self._client.runs.get(run_id)
                self._known[run_id] = True
            except NotFound:
                self._known[run_id] = False
        return self._known[run_id]
