"""Our agent in a pod: brought by an init container, and the first process of the main one."""

from __future__ import annotations

from typing import Final

from seafloor.domain.ids import WorkloadId
from seafloor.domain.members import MAIN
from seafloor.launch.kubernetes.identity import Start
from seafloor.launch.kubernetes.manifest import Manifest, variable
from seafloor.launch.kubernetes.parts import Parts
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.resources import init_resources
from seafloor.launch.kubernetes.security import container_security

AGENT_CONTAINER: Final = "agent"
AGENT_PATH: Final = "/seafloor/agent"
GRACE_S: Final = 10
"""Between SIGTERM and SIGKILL for the command; the rest of the pod's own is for delivery."""

_FILE: Final = f"{AGENT_PATH}/agent.pyz"
_MOUNT: Final[Manifest] = {"name": "agent", "mountPath": AGENT_PATH}


def agent_parts(policy: Policy, *, task: str) -> Parts:
    """The agent's folder, what brings the agent, and where the command leaves what it makes.

    The folder is the pod's own: what is in it when the pod ends was delivered, or is lost. Of
    several tasks each leaves it below its name, so that two files of one name stay two.
    """
    below = "" if task == MAIN else f"/{task}"
    container: Manifest = {
        "name": AGENT_CONTAINER,
        "image": policy.images.seafloor,
        "command": ["python", "-m", "seafloor.agent.bundle", _FILE],
        "resources": init_resources(policy),
        "volumeMounts": [_MOUNT],
        "securityContext": container_security(policy),
    }
    return Parts(
        volumes=({"name": "agent", "emptyDir": {}},),
        init_containers=(container,),
        mounts=(_MOUNT,),
        env=(
            variable("SEAFLOOR_OUTPUT_DIR", f"{AGENT_PATH}/output{below}"),
            variable("SEAFLOOR_EVENTS_DIR", f"{AGENT_PATH}/events{below}"),
            variable("SEAFLOOR_HOME", f"{AGENT_PATH}/client"),
        ),
    )


def agent_command(
    command: str | list[str], start: Start, *, task: str, timeout_s: float | None
) -> list[str]:
    """What the main container executes instead of the command."""
    words = ["/bin/sh", "-c", command] if isinstance(command, str) else command
    timeout = [] if timeout_s is None else ["--timeout-s", f"{timeout_s:g}"]
    return [
        *("python3", "-I", "-S", _FILE, "pod", "--folder", AGENT_PATH),
        *("--api-path", api_path(start.run_id), "--attempt", str(start.attempt)),
        *("--task", task, *timeout, "--grace-s", str(GRACE_S), "--", *words),
    ]


def api_path(run_id: str) -> str:
    """Of a run on the server."""
    return f"/api/v1/runs/{WorkloadId(run_id)}"
