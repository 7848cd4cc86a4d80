from collections.abc import Callable

from mlflow.utils.rest_utils import MlflowHostCreds

class RestStore:
    def __init__(self, get_host_creds: Callable[[], MlflowHostCreds]) -> None: ...
