from collections.abc import Callable, Sequence
from typing import Any

from mlflow.entities import Metric, Param, Run, RunInfo, RunTag
from mlflow.utils.rest_utils import MlflowHostCreds

class RestStore:
    get_host_creds: Callable[[], MlflowHostCreds]
    _METHOD_TO_INFO: dict[Any, tuple[str, str]]
    def __init__(self, get_host_creds: Callable[[], MlflowHostCreds]) -> None: ...
    def _call_endpoint(
        self,
        api: Any,
        json_body: str | None = None,
        endpoint: str | None = None,
        retry_timeout_seconds: float | None = None,
        response_proto: Any = None,
    ) -> Any: ...
    def _validate_workspace_support_if_specified(self) -> None: ...
    def log_metric(self, run_id: str, metric: Metric) -> None: ...
    def log_param(self, run_id: str, param: Param) -> None: ...
    def set_tag(self, run_id: str, tag: RunTag) -> None: ...
    def log_batch(
        self,
        run_id: str,
        metrics: Sequence[Metric],
        params: Sequence[Param],
        tags: Sequence[RunTag],
    ) -> None: ...
    def create_run(
        self,
        experiment_id: str,
        user_id: str,
        start_time: int,
        tags: Sequence[RunTag],
        run_name: str,
    ) -> Run: ...
    def get_run(self, run_id: str) -> Run: ...
    def delete_run(self, run_id: str) -> None: ...
    def update_run_info(
        self, run_id: str, run_status: int | None, end_time: int | None, run_name: str | None
    ) -> RunInfo: ...
