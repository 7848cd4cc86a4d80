from typing import Any

class MlflowHostCreds:
    host: str
    username: str | None
    password: str | None
    token: str | None
    aws_sigv4: bool
    auth: str | None
    ignore_tls_verification: bool
    client_cert_path: str | None
    server_cert_path: str | None

class Response:
    text: str

def http_request(
    host_creds: MlflowHostCreds,
    endpoint: str,
    method: str,
    max_retries: int | None = None,
    timeout: float | None = None,
    raise_on_status: bool = True,
    **kwargs: Any,
) -> Response: ...
def verify_rest_response(response: Response, endpoint: str) -> Response: ...
