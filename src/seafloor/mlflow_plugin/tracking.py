"""The store of runs and experiments: logging goes to journals, all else by mlflow's own calls."""

from __future__ import annotations

import contextvars
import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from mlflow.entities import LifecycleStage, Metric, Param, Run, RunInfo, RunStatus, RunTag
from mlflow.exceptions import MlflowException
from mlflow.store.tracking.rest_store import RestStore
from mlflow.utils.credentials import get_default_host_creds
from mlflow.utils.proto_json_utils import parse_dict
from mlflow.utils.rest_utils import http_request, verify_rest_response

from seafloor.domain.errors import CallerError
from seafloor.domain.ids import parse_workload_id
from seafloor.domain.metrics import STEP_MAX, STEP_MIN, TIME_MS_MAX, Point
from seafloor.mlflow_plugin.journal import Journal, Journals
from seafloor.sdk.settings import Tls, check_url, read_settings
from seafloor.sdk.tracked_run import EndState
from seafloor.sdk.values import PARAM_CHARS_MAX, check_params, check_tags, make_points
from seafloor.sdk.wal import End, Params, Points, Tags

T = TypeVar("T")
P = ParamSpec("P")

READ_WAIT_S: Final = 10.0
"""How long a call waits until the server has what this process logged before."""
AWAY_S: Final = 15.0
"""How long a server that did not answer is taken to be away, so that nobody waits for it again."""
_CALL_S: Final = 5.0
_KNOWN_MAX: Final = 10_000
_METRICS_MAX: Final = 1_000
_LABELS_MAX: Final = 100
_ENTITIES_MAX: Final = 1_000
_NAME_TAG: Final = "mlflow.runName"
_STATES: Final[dict[int, EndState]] = {
    RunStatus.FINISHED: "succeeded",
    RunStatus.FAILED: "failed",
    RunStatus.KILLED: "stopped",
}
_AWAY_CODES: Final = frozenset(
    {
        *("INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED"),
        *("REQUEST_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"),
    }
)
"""The first is also what mlflow makes of a connection that fails, and the last three of what a
proxy answers that is busy: which of the last two stands for 429 depends on mlflow's version."""
_BLIND: Final = frozenset(
    {
        *("CreateExperiment", "GetExperiment", "GetExperimentByName", "SearchExperiments"),
        *("UpdateExperiment", "SetExperimentTag", "CreateRun", "UpdateRun", "LogMetric"),
        *("LogParam", "LogBatch", "SetTag", "LogInputs", "LogOutputs", "LogModel"),
        *("CreateLoggedModel", "FinalizeLoggedModel", "LogLoggedModelParamsRequest"),
    }
)
"""Calls whose answers do not depend on what was logged before."""

_log = logging.getLogger("seafloor")
_once: contextvars.ContextVar[bool] = contextvars.ContextVar("seafloor_once", default=False)


class ServerAway(Exception):
    """The server did not answer, or said that it cannot now."""


def make_store(url: str) -> TrackingStore:
    """Make the store for the server at an address that begins with http."""
    creds = get_default_host_creds(url)
    if creds.aws_sigv4 or creds.auth or (creds.username and creds.password):
        _log.warning(
            "seafloor: what is logged is sent with MLFLOW_TRACKING_TOKEN only; a server that asks "
            "for a user name or another proof gets no metrics: use http instead of seafloor+http"
        )
    settings = replace(
        read_settings(),
        url=check_url(url, field="MLFLOW_TRACKING_URI"),
        token=creds.token or "",  # none: SEAFLOOR_TOKEN may be another server's
        tls=Tls(
            is_checked=not creds.ignore_tls_verification,
            authorities=creds.server_cert_path,
            certificate=creds.client_cert_path,
        ),
    )
    return TrackingStore(partial(get_default_host_creds, url), Journals(settings))


class TrackingStore(RestStore):
    """mlflow's store over HTTP, but that metrics and tags are written to this machine first.

    Logging never waits for the server, nor fails because of it: metrics and tags go to the
    journal of their run; params, and how a run ended, are sent at once, and go to the journal
    when the server is away. Whatever mlflow's server would refuse, or has no place in a journal
    (metrics of models and datasets), goes the ordinary way, which says what is wrong. A call that
    reads waits until the server has what this process logged.

    Args:
        get_host_creds: As ``RestStore``.
        journals: Of the same server.
    """

    def __init__(self, get_host_creds: Callable[[], Any], journals: Journals) -> None:
        super().__init__(get_host_creds)
        self._journals = journals
        self._known: dict[str, Run] = {}
        self._away_until_s = 0.0

    # What is logged.

    def log_metric(self, run_id: str, metric: Metric) -> None:
        """Log a metric to the journal of its run."""
        point = _point(metric)
        journal = None if point is None else self._journal(run_id)
        if point is None or journal is None:
            super().log_metric(run_id, metric)
        else:
            journal.append(Points([point]))

    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Sequence[Param],
        tags: Sequence[RunTag],
    ) -> None:
        """Log metrics, params and tags: all, or none if one cannot be."""
        points = [_point(metric) for metric in metrics]
        plain = [point for point in points if point is not None]
        texts = _tags(tags)
        fits = (
            len(points) == len(plain) <= _METRICS_MAX
            and len(params) <= _LABELS_MAX
            and len(tags) <= _LABELS_MAX
            and len(points) + len(params) + len(tags) <= _ENTITIES_MAX
        )
        journal = self._journal(run_id) if fits and texts is not None else None
        if journal is None or texts is None:
            super().log_batch(run_id, metrics, params, tags)
            return
        if params:
            self._send_params(journal, params)
        if plain:
            journal.append(Points(plain))
        if texts:
            journal.append(Tags(texts))

    def log_param(self, run_id: str, param: Param) -> None:
        """Log a param: at once, so that a conflict is told; to the journal without a server."""
        journal = self._journal(run_id)
        if journal is None:
            super().log_param(run_id, param)
        else:
            self._send_params(journal, [param])

    def set_tag(self, run_id: str, tag: RunTag) -> None:
        """Set a tag by the journal of its run."""
        texts = _tags([tag])
        journal = None if texts is None else self._journal(run_id)
        if texts is None or journal is None:
            super().set_tag(run_id, tag)
        else:
            journal.append(Tags(texts))

    def _send_params(self, journal: Journal, params: Sequence[Param]) -> None:
        try:
            if len(params) == 1:
                self._call_once(super().log_param, journal.run_id, params[0])
            else:
                self._call_once(super().log_batch, journal.run_id, (), params, ())
        except ServerAway:
            texts = {param.key: str(param.value)[:PARAM_CHARS_MAX] for param in params}
            try:
                journal.append(Params(check_params(texts)))
            except CallerError as error:
                raise MlflowException.invalid_parameter_value(error.message) from error

    def _journal(self, run_id: str) -> Journal | None:
        """The journal of a run that can be logged to; None when the server is to say why not."""
        found = self._journals.find(run_id)
        if found is not None:
            return found
        run = self._known.get(run_id)
        if run is None:
            try:
                run = self._remember(self._call_once(super().get_run, run_id))
            except ServerAway:
                run = None  # it is believed: what is wrong with it will be told when it is sent
        if run is not None and run.info.lifecycle_stage != LifecycleStage.ACTIVE:
            return None
        try:
            return self._journals.open(parse_workload_id(run_id))
        except CallerError:
            return None

    # Runs.

    def create_run(
        self,
        experiment_id: str,
        user_id: str,
        start_time: int,
        tags: Sequence[RunTag],
        run_name: str,
    ) -> Run:
        """Create a run."""
        return self._remember(
            super().create_run(experiment_id, user_id, start_time, tags, run_name)
        )

    def get_run(self, run_id: str) -> Run:
        """Read a run; of one that this process knows, what it knows when the server is away."""
        known = self._known.get(run_id)
        if known is None:
            return self._remember(super().get_run(run_id))
        try:
            return self._remember(self._call_once(super().get_run, run_id))
        except ServerAway:
            _log.warning("seafloor: the server is away: run %s is shown as it was", run_id)
            return known

    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo:
        """Change a run. How it ended goes to its journal when the server is away."""
        known = self._known.get(run_id)
        state = None if run_status is None else _STATES.get(run_status)
        if known is None or run_status is None or state is None or run_name:
            return super().update_run_info(run_id, run_status, end_time, run_name)
        self._journals.open_for_others(run_id)
        try:
            self._flush(run_id)
            info = self._call_once(super().update_run_info, run_id, run_status, end_time, run_name)
        except ServerAway:
            ended_ms = time.time_ns() // 1_000_000 if end_time is None else end_time
            self._journals.open(run_id).append(End(state, "", ended_ms * 1_000_000))
            self._journals.close(run_id, wait_s=0.0)
            return _ended(known.info, RunStatus.to_string(run_status), ended_ms)
        self._journals.close(run_id, wait_s=self._journals.settings.exit_wait_s)
        return info

    def delete_run(self, run_id: str) -> None:
        """Delete a run."""
        super().delete_run(run_id)
        self._known.pop(run_id, None)
        self._journals.close(run_id, wait_s=0.0)

    def _remember(self, run: Run) -> Run:
        self._known[run.info.run_id] = run
        while len(self._known) > _KNOWN_MAX:
            self._known.pop(next(iter(self._known)), None)
        return run

    # Calls.

    def _call_endpoint(
        self,
        api: Any,
        json_body: str | None = None,
        endpoint: str | None = None,
        retry_timeout_seconds: float | None = None,
        response_proto: Any = None,
    ) -> Any:
        name: str = api.DESCRIPTOR.name
        call = partial(
            super()._call_endpoint,
            api,
            json_body,
            endpoint,
            retry_timeout_seconds=retry_timeout_seconds,
            response_proto=response_proto,
        )
        if name in _BLIND:
            return self._send_once(api, json_body) if _once.get() else call()
        run_id = json.loads(json_body or "{}").get("run_id")
        flushed = self._flush(run_id)
        if _once.get():
            return self._send_once(api, json_body)
        answer = call()
        if not flushed and response_proto is None and name.startswith(("Get", "Search")):
            # The call waited for the server to come back; what waited likewise is sent by now.
            if self._flush(run_id, again=True):
                return call()
            _log.warning("seafloor: what was logged last is not in what was read: it waits here")
        return answer

    def _send_once(self, api: Any, json_body: str | None) -> Any:
        """Make a call that waits for _CALL_S and is not repeated."""
        self._validate_workspace_support_if_specified()
        endpoint, method = self._METHOD_TO_INFO[api]
        body = json.loads(json_body or "{}")
        response = http_request(
            self.get_host_creds(),
            endpoint,
            method,
            max_retries=0,
            timeout=_CALL_S,
            raise_on_status=False,
            **{"params" if method == "GET" else "json": body},
        )
        answer = api.Response()
        parse_dict(json.loads(verify_rest_response(response, endpoint).text), answer)
        return answer

    def _call_once(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Make a call that does not wait for a server that is away.

        Raises:
            ServerAway: it is; for AWAY_S it is not asked again.
        """
        if time.monotonic() < self._away_until_s:
            raise ServerAway
        token = _once.set(True)
        try:
            answer = call(*args, **kwargs)
        except MlflowException as error:
            if error.error_code not in _AWAY_CODES:
                raise
            self._away_until_s = time.monotonic() + AWAY_S
            raise ServerAway from error
        finally:
            _once.reset(token)
        return answer

    def _flush(self, run_id: str | None, *, again: bool = False) -> bool:
        """Wait until the server has what this process logged to a run, or all; say if it has."""
        is_away = time.monotonic() < self._away_until_s and not again
        behind = self._journals.flush(run_id, wait_s=0.0 if is_away else READ_WAIT_S)
        if not is_away and any(journal.is_cut_off for journal in behind):
            self._away_until_s = time.monotonic() + AWAY_S
        return not behind


def _point(metric: Metric) -> Point | None:
    """The point of a metric; None when it is more than that, or the server would refuse it."""
    step, time_ms, value = metric.step, metric.timestamp, metric.value
    if (
        metric.model_id is not None
        or metric.dataset_name is not None
        or type(step) is not int
        or type(time_ms) is not int
        or type(value) not in (float, int)
        or not STEP_MIN <= step <= STEP_MAX
        or not 0 <= time_ms <= TIME_MS_MAX
    ):
        return None
    try:
        ((key, number),) = make_points({metric.key: value})
    except CallerError:
        return None
    return Point(key, number, step, time_ms)


def _tags(tags: Sequence[RunTag]) -> dict[str, str] | None:
    """Tags as texts; None when the server gives one a meaning of its own, or would refuse it."""
    if any(type(tag.value) is not str or tag.key == _NAME_TAG for tag in tags):
        return None
    try:
        return check_tags({tag.key: tag.value for tag in tags})
    except CallerError:
        return None


def _ended(info: RunInfo, status: str, end_time: int) -> RunInfo:
    return RunInfo(
        run_id=info.run_id,
        experiment_id=info.experiment_id,
        user_id=info.user_id,
        status=status,
        start_time=info.start_time,
        end_time=end_time,
        lifecycle_stage=info.lifecycle_stage,
        artifact_uri=info.artifact_uri,
        run_name=info.run_name,
    )
