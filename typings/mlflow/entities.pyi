class Metric:
    @property
    def key(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def step(self) -> int: ...
    @property
    def model_id(self) -> str | None: ...
    @property
    def dataset_name(self) -> str | None: ...

class Param:
    @property
    def key(self) -> str: ...
    @property
    def value(self) -> str: ...

class RunTag:
    @property
    def key(self) -> str: ...
    @property
    def value(self) -> str: ...

class LifecycleStage:
    ACTIVE: str

class RunStatus:
    FINISHED: int
    FAILED: int
    KILLED: int
    @staticmethod
    def to_string(status: int) -> str: ...

class RunInfo:
    run_id: str
    experiment_id: str
    user_id: str
    status: str
    start_time: int
    end_time: int | None
    lifecycle_stage: str
    artifact_uri: str | None
    run_name: str | None
    def __init__(
        self,
        run_id: str,
        experiment_id: str,
        user_id: str,
        status: str,
        start_time: int,
        end_time: int | None,
        lifecycle_stage: str,
        artifact_uri: str | None = None,
        run_name: str | None = None,
    ) -> None: ...

class Run:
    @property
    def info(self) -> RunInfo: ...
