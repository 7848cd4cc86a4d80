"""Runs in an image without Python, on a real node: their log comes through the API server."""

from __future__ import annotations

import os

import pytest
from tests.kube.cluster.launched_world import PATIENCE_S, Launching, said, wait_said, wait_state
from tests.services import kubernetes as kubernetes_service
from tests.services._kubernetes_plane import Parts

from live_server import LiveServer, wait_for

pytestmark = pytest.mark.timeout(900)

LINES = 400
MIXED = range(301, 361)
ROTATED_MIB = int(os.environ.get("SEAFLOOR_KUBE_LOG_MIB", "0"))
"""How much a run prints whose log the kubelet rotates meanwhile; it looks every 10 s at 10 MiB."""

# Some seconds, so that there is a middle. The two outputs are mixed far from the long line and from
# the last, which has no end: what a node notes of the other output behind a piece joins it.
PRINT = f"""
long=$(printf '%050000d' 7)
for i in $(seq 1 {LINES}); do
  echo "line $i"
  [ $((i % 20)) = 0 ] && sleep 0.3
  [ $i = 30 ] && echo "$long"
  [ $i -ge {MIXED.start} ] && [ $i -lt {MIXED.stop} ] && echo "error $i" >&2
done
printf 'no end'
exit 3
"""


@pytest.fixture
def bare(launching: Launching) -> str:
    return launching.env[kubernetes_service.BARE]


def printed(server: LiveServer, run_id: str) -> list[str]:
    return [line["text"] for line in server.log_lines(run_id, stream="out")]


def wait_lines(server: LiveServer, run_id: str, count: int) -> None:
    wait_for(
        lambda: len(printed(server, run_id)) >= count,
        timeout_s=PATIENCE_S,
        what=f"{count} lines ({said(server, run_id)})",
    )


def check_log(server: LiveServer, run_id: str) -> None:
    """Each line is there once, in the order of its output."""
    lines = printed(server, run_id)
    errors = [line for line in lines if line.startswith("error ")]
    assert errors == [f"error {number}" for number in MIXED]
    assert [line for line in lines if not line.startswith("error ")] == [
        *(f"line {number}" for number in range(1, 31)),
        "7".zfill(50_000),
        *(f"line {number}" for number in range(31, LINES + 1)),
        "no end",
    ]
    assert server.log_lines(run_id, stream="agent") == []


def test_run__image_without_python_that_nobody_named__says_what_to_set(
    launching: Launching, bare: str
) -> None:
    server = launching.start(image=bare, agent=True)
    run_id = server.launch("true")["id"]
    wait_state(server, run_id, "failed")
    wait_said(server, run_id, "cannot be started", "python3", "images.without_python")


def test_run__image_without_python_and_server_killed_meanwhile__has_each_line_once(
    launching: Launching, bare: str
) -> None:
    named = {"images": {"without_python": [bare.partition("@")[0]]}}
    server = launching.start(image=bare, agent=True, policy=named)
    run_id = server.launch(PRINT)["id"]
    for count in (40, MIXED.start + 10):
        wait_lines(server, run_id, count)
        server.kill()
        server.start()

    ended = wait_state(server, run_id, "failed")

    assert ended["ending"]["exit_code"] == 3
    check_log(server, run_id)
    wait_said(server, run_id, "no agent", "has no python3", "outputs", "not collected")


def test_run__without_agent_and_api_server_away_meanwhile__has_each_line_once(
    launching: Launching, parts: Parts
) -> None:
    server = launching.start()
    run_id = server.launch(PRINT)["id"]
    wait_lines(server, run_id, 40)
    parts.kill("api")
    parts.start("api")
    assert wait_state(server, run_id, "failed")["ending"]["exit_code"] == 3
    check_log(server, run_id)


@pytest.mark.skipif(not ROTATED_MIB, reason="half a minute: SEAFLOOR_KUBE_LOG_MIB=40")
def test_run__prints_more_than_the_node_keeps_in_a_file__has_each_line_once(
    launching: Launching,
) -> None:
    server = launching.start()
    # A MiB a second, in lines of a KiB.
    script = (
        "import sys, time\n"
        f"for n in range({ROTATED_MIB} * 1024):\n"
        "    print(f'{n:08}' + 'x' * 1015)\n"
        "    n % 1024 or (sys.stdout.flush(), time.sleep(0.7))\n"
    )
    run_id = server.launch(["python3", "-c", script])["id"]
    wait_state(server, run_id, "succeeded")
    lines = server.log_lines(run_id)
    told = [one["text"] for one in lines if one["stream"] == "agent"]
    numbers = [int(one["text"][:8]) for one in lines if one["stream"] == "out"]
    assert numbers == sorted(set(numbers))
    print(f"{len(numbers):,} of {ROTATED_MIB * 1024:,} lines, {len(told)} times told of a gap")
    # What is not there is told of.
    assert len(numbers) == ROTATED_MIB * 1024 or told
