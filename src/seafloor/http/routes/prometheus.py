"""``/metrics``: what Prometheus reads. Numbers of this server and of the queue; nothing of anybody.

``docs/reference/prometheus.md`` lists every name.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from litestar import Response, get

from seafloor.app.application import Application
from seafloor.app.tokens import Administrator, Principal
from seafloor.domain.errors import Forbidden, StoreError, Unauthenticated
from seafloor.http.meter import BUCKETS_S, RequestMeter
from seafloor.http.requests import AnyRequest
from seafloor.http.state import application_of

MEDIA_TYPE: Final = "text/plain; version=0.0.4"
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_UTIME, _STIME = 11, 12
"""Fields of ``/proc/self/stat`` after the name, in ticks."""

_Labels = Mapping[str, str]
_Sample = tuple[str, _Labels, float]


@get("/metrics", include_in_schema=False)
async def metrics(request: AnyRequest) -> Response[bytes]:
    """Everything at once. It answers while the database is away, and says so."""
    app = application_of(request)
    _check(request, app.identity.metrics_token)
    families = [
        *_server(app),
        *_requests(request.app.state["meter"]),
        await _parts(app),
        *await _runs(app),
        *_process(),
    ]
    return Response("".join(families).encode(), media_type=MEDIA_TYPE)


def _check(request: AnyRequest, token: str) -> None:
    """Let in the administrator, and who has the token that is for this only.

    Raises:
        Unauthenticated: nobody that is known.
        Forbidden: a task.
    """
    principal: Principal | None = request.state.get("principal")
    if isinstance(principal, Administrator):
        return
    if principal is not None:
        raise Forbidden("A task's token may not do this.")
    presented = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not token or not hmac.compare_digest(presented.encode(), token.encode()):
        raise Unauthenticated(
            "This server asks for a token: the administrator's, or that of `server.metrics_token`."
        )


def _family(name: str, kind: str, what: str, samples: Iterable[_Sample]) -> str:
    lines = [f"# HELP {name} {what}\n# TYPE {name} {kind}\n"]
    lines += [f"{full}{_shown(labels)} {value:.17g}\n" for full, labels, value in samples]
    return "".join(lines)


def _shown(labels: _Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def _server(app: Application) -> Iterator[str]:
    info = ("seafloor_info", {"version": app.identity.version}, 1)
    yield _family("seafloor_info", "gauge", "The version of this server.", [info])
    name = "process_start_time_seconds"
    started_s = app.identity.started_ns / 1e9
    yield _family(name, "gauge", "When it started, in seconds since 1970.", [(name, {}, started_s)])


def _requests(meter: RequestMeter) -> Iterator[str]:
    name = "seafloor_requests_total"
    samples: list[_Sample] = [
        (name, {"api": api, "method": method, "status": str(status)}, count)
        for (api, method, status), count in sorted(meter.answered.items())
    ]
    yield _family(name, "counter", "Requests that were answered.", samples)
    name = "seafloor_requests_running"
    running = "Requests that are being answered, this one among them."
    yield _family(name, "gauge", running, [(name, {}, meter.running)])
    name = "seafloor_request_duration_seconds"
    samples = []
    for api, found in sorted(meter.durations.items()):
        below = 0
        for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), found.counts, strict=True):
            below += count
            samples.append((f"{name}_bucket", {"api": api, "le": bound}, below))
        samples.append((f"{name}_sum", {"api": api}, found.sum_s))
        samples.append((f"{name}_count", {"api": api}, below))
    yield _family(name, "histogram", "From a request's arrival to the end of its answer.", samples)


async def _parts(app: Application) -> str:
    name = "seafloor_part_well"
    parts = await app.health()
    samples = [(name, {"part": part}, float(said == "ok")) for part, said in parts.items()]
    return _family(name, "gauge", "1 for each part that /health finds well, else 0.", samples)


async def _runs(app: Application) -> list[str]:
    """Of the whole installation, the same from each of its servers; none when nobody knows."""
    name = "seafloor_runs"
    try:
        living = await app.stores.metadata.runs_living()
    except StoreError:
        return []
    samples = [(name, {"state": state.value}, count) for state, count in living.items()]
    what = "Runs that have not ended, by state, of all servers together."
    return [_family(name, "gauge", what, samples)]


def _process() -> Iterator[str]:
    fields = Path("/proc/self/stat").read_text(encoding="ascii").rpartition(") ")[2].split()
    cpu_s = (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_PER_S
    name = "process_cpu_seconds_total"
    yield _family(name, "counter", "Processor time of this server.", [(name, {}, cpu_s)])
    name = "process_resident_memory_bytes"
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    yield _family(name, "gauge", "Memory of this server.", [(name, {}, pages * _PAGE_BYTES)])
    name = "process_open_fds"
    count = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # their count only
    yield _family(name, "gauge", "Files and connections that are open.", [(name, {}, count)])
