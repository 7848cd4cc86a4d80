"""``/v1/traces``: spans by OpenTelemetry's protocol over HTTP, as protocol buffers or JSON."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from io import BytesIO

from litestar import Response, post
from litestar.handlers import HTTPRouteHandler

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.traces import SpanBatch
from seafloor.http.mlflow.bodies import BODY_BYTES_MAX, experiment_id_of
from seafloor.http.mlflow.runs import active_run
from seafloor.http.mlflow.trace_access import check_trace_writes, link_to_run
from seafloor.http.mlflow.workspaces import check_experiment, in_workspace
from seafloor.http.requests import AnyRequest, body_bytes, known
from seafloor.http.state import application_of

EXPERIMENT_HEADER = "x-mlflow-experiment-id"
RUN_HEADER = "x-mlflow-run-id"
PROTOBUF, JSON = "application/x-protobuf", "application/json"


@post("/v1/traces", status_code=200, guards=[known, in_workspace], include_in_schema=False)
async def export(request: AnyRequest) -> Response[bytes]:
    """Keep spans, all or none; what came before under the same ids is replaced."""
    # Imported here: a server that no spans come to does without protocol buffers.
    from seafloor.http.mlflow.otlp_spans import read_spans

    app = application_of(request)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in (PROTOBUF, JSON):
        raise InvalidValue(
            f"Invalid Content-Type: {kind[:60]}. Expected: {PROTOBUF} or {JSON}",
            field="Content-Type",
        )
    experiment_id = await check_experiment(request, _experiment_id(request))
    raw = await body_bytes(request, size_bytes_max=BODY_BYTES_MAX)
    encoding = request.headers.get("content-encoding", "").strip().lower()

    def read() -> list[SpanBatch]:
        return read_spans(
            _unpacked(raw, encoding), is_json=kind == JSON, experiment_id=experiment_id
        )

    batches = await asyncio.to_thread(read)  # half a minute of JSON, when it is as much as may be
    run_id = request.headers.get(RUN_HEADER, "")
    if run_id:
        await active_run(request, run_id)
    await check_trace_writes(request, [batch.trace_id for batch in batches])
    await app.stores.metadata.spans_add(batches)
    if run_id:
        over = [
            batch.trace_id
            for batch in batches
            if any(span.parent_id is None for span in batch.spans)
        ]
        await link_to_run(request, over, run_id)
    # An empty message is an answer of both kinds.
    return Response(b"{}" if kind == JSON else b"", media_type=kind)


def _experiment_id(request: AnyRequest) -> int:
    text = request.headers.get(EXPERIMENT_HEADER, "").strip()
    if not text:
        raise InvalidValue(
            f"Missing header '{EXPERIMENT_HEADER}': name the experiment that the spans belong to, "
            f"as in OTEL_EXPORTER_OTLP_HEADERS={EXPERIMENT_HEADER}=0.",
            field=EXPERIMENT_HEADER,
        )
    return experiment_id_of(text)


def _unpacked(raw: bytes, encoding: str) -> bytes:
    """Undo a content encoding, up to the bound of a body.

    Raises:
        InvalidValue: it is not known, or the bytes are not of it.
        LimitExceeded: there is more in it.
    """
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "deflate"):
        raise InvalidValue(
            f"Unsupported Content-Encoding: {encoding[:60]}", field="Content-Encoding"
        )
    try:
        plain = _gunzipped(raw) if encoding == "gzip" else _inflated(raw)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InvalidValue(
            f"Failed to decompress {encoding} payload", field="Content-Encoding"
        ) from error
    if len(plain) > BODY_BYTES_MAX:
        raise LimitExceeded(f"The body is over {BODY_BYTES_MAX} bytes: send less at once.")
    return plain


def _gunzipped(raw: bytes) -> bytes:
    """All members, of which there may be several: spans that were packed piece by piece."""
    with gzip.GzipFile(fileobj=BytesIO(raw)) as file:
        return file.read(BODY_BYTES_MAX + 1)


def _inflated(raw: bytes) -> bytes:
    for window in (zlib.MAX_WBITS, -zlib.MAX_WBITS):  # some leave the header out
        unpacker = zlib.decompressobj(window)
        try:
            plain = unpacker.decompress(raw, BODY_BYTES_MAX + 1)
        except zlib.error:
            continue
        if unpacker.eof or len(plain) > BODY_BYTES_MAX:
            return plain
    raise EOFError("The end is missing, or it is something else.")


ROUTES: list[HTTPRouteHandler] = [export]
