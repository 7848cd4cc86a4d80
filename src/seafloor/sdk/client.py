"""The client: one object for each noun of the native API.

    client = Client("http://127.0.0.1:5000")
    for run in client.runs.iterate(filter="metrics.loss < 0.1"):
        print(run.name, run.state)

Every method raises the classes of ``seafloor.domain.errors`` that the server's answer names, and
``StoreUnavailable`` when it does not answer.
"""

from __future__ import annotations

from functools import cached_property

from seafloor.sdk.artifacts import Artifacts
from seafloor.sdk.discovery import require_server
from seafloor.sdk.environments import Environments
from seafloor.sdk.experiments import Experiments, Projects
from seafloor.sdk.logs import Logs
from seafloor.sdk.media import Media
from seafloor.sdk.metrics import Metrics
from seafloor.sdk.models import Models
from seafloor.sdk.runs import Runs
from seafloor.sdk.settings import read_settings
from seafloor.sdk.snapshots import Snapshots
from seafloor.sdk.traces import Traces
from seafloor.sdk.transport import Request, Transport, TransportOptions
from seafloor.sdk.volumes import Volumes
from seafloor.wire.server import Health, Plan, PlanCreate, ServerInfo


class Client:
    """A server. May be used from several threads; not across a fork.

    Args:
        url: Of the server; None: SEAFLOOR_URL, or the server of this machine's data folder.
        token: None: SEAFLOOR_TOKEN.
        options: How long to wait, and to repeat.

    Raises:
        InvalidValue: url is no address.
        StoreUnavailable: url is None and no server can be found.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        options: TransportOptions | None = None,
    ) -> None:
        if url is None or token is None:
            settings = read_settings()
            url = require_server(settings) if url is None else url
            token = settings.token if token is None else token
        self._transport = Transport(url, token, options=options)

    @property
    def url(self) -> str:
        """Address of the server."""
        return self._transport.url

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    def health(self) -> Health:
        """Ask whether the server is well.

        Raises:
            StoreUnavailable: it does not answer, or one of its stores does not.
        """
        return self._transport.call(Request("GET", "/health"), Health)

    def server(self) -> ServerInfo:
        """Ask for version, address and settings of the server."""
        return self._transport.call(Request("GET", "/api/v1/server"), ServerInfo)

    def plan(self, plan: PlanCreate) -> Plan:
        """Ask what a run would do. Creates nothing."""
        request = Request("POST", "/api/v1/plans", json=plan, repeatable=True)
        return self._transport.call(request, Plan)

    @cached_property
    def runs(self) -> Runs:
        """Runs, their attempts and events."""
        return Runs(self._transport)

    @cached_property
    def metrics(self) -> Metrics:
        """Metrics of runs."""
        return Metrics(self._transport)

    @cached_property
    def media(self) -> Media:
        """Histograms, images, tables, texts and audio of runs."""
        return Media(self._transport)

    @cached_property
    def logs(self) -> Logs:
        """Logs of runs."""
        return Logs(self._transport)

    @cached_property
    def artifacts(self) -> Artifacts:
        """Files that runs keep, and their tf.events files."""
        return Artifacts(self._transport)

    @cached_property
    def models(self) -> Models:
        """What runs used and produced."""
        return Models(self._transport)

    @cached_property
    def traces(self) -> Traces:
        """What models and agents did."""
        return Traces(self._transport)

    @cached_property
    def environments(self) -> Environments:
        """Environments."""
        return Environments(self._transport)

    @cached_property
    def experiments(self) -> Experiments:
        """Experiments."""
        return Experiments(self._transport)

    @cached_property
    def projects(self) -> Projects:
        """Projects."""
        return Projects(self._transport)

    @cached_property
    def snapshots(self) -> Snapshots:
        """Working folders by digest."""
        return Snapshots(self._transport)

    @cached_property
    def volumes(self) -> Volumes:
        """Attachable folders and their snapshots."""
        return Volumes(self._transport)
