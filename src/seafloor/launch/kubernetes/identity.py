"""What the objects of a workload have in common: names, labels, annotations, and their owner."""

from __future__ import annotations

from typing import Final

import msgspec

from seafloor.domain.code import CodeSource, GitCode
from seafloor.domain.quantities import parse_duration
from seafloor.domain.workloads import WorkloadKind
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.names import PREFIX, label_value
from seafloor.launch.kubernetes.policy import Policy

PLACE_LABEL: Final = f"{PREFIX}/place"
ATTEMPT_LABEL: Final = f"{PREFIX}/attempt"
ID_LABEL: Final = f"{PREFIX}/id"
TASK_LABEL: Final = f"{PREFIX}/task"
KEEP_ANNOTATION: Final = f"{PREFIX}/delete-after-end-s"


class Start(msgspec.Struct, frozen=True, kw_only=True):
    """One start of a run by a server: what only its launcher knows.

    Args:
        run_id: Of the run.
        attempt: Which.
        place: Whose launcher it is; a label's value.
        env: Variables that the server gives it.
    """

    run_id: str
    attempt: int
    place: str
    env: dict[str, str] = {}


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Of one workload.

    Args:
        kind: Of workload.
        name: For people.
        project: Its project.
        key: What tells this workload, or this start of a run, from every other; a label's value.
        base: Name of its objects, or what theirs begin with.
        namespace: Where it is.
        environment: As the spec names it.
        code: What was resolved.
        owner_uid: Of the anchor; None: it is not made yet, and objects are told by labels only.
        start: By a server; None: of none.
    """

    kind: WorkloadKind
    name: str
    project: str
    key: str
    base: str
    namespace: str
    environment: str | None = None
    code: CodeSource | None = None
    owner_uid: str | None = None
    start: Start | None = None

    def selector(self) -> dict[str, str]:
        """The labels by which exactly these pods are found."""
        return {f"{PREFIX}/kind": self.kind.value, f"{PREFIX}/workload": self.base}

    def labels(self, policy: Policy, **more: str) -> dict[str, str]:
        """All labels; ``more`` are ours, without their prefix."""
        return {
            "app.kubernetes.io/name": f"seafloor-{self.kind.value}",
            "app.kubernetes.io/instance": self.base,
            "app.kubernetes.io/managed-by": "seafloor",
            **self.selector(),
            f"{PREFIX}/project": label_value(self.project),
            ID_LABEL: self.key,
            **self._start_labels(),
            **{f"{PREFIX}/{name}": label_value(value) for name, value in more.items()},
            **policy.labels,
        }

    def _start_labels(self) -> dict[str, str]:
        if self.start is None:
            return {}
        return {PLACE_LABEL: self.start.place, ATTEMPT_LABEL: str(self.start.attempt)}

    def annotations(self, policy: Policy) -> dict[str, str]:
        """What people want to read of it."""
        made = {f"{PREFIX}/name": self.name}
        if self.environment is not None:
            made[f"{PREFIX}/environment"] = self.environment
        if isinstance(self.code, GitCode):
            made[f"{PREFIX}/code"] = f"{self.code.url}@{self.code.commit}"
        after = policy.limits.clean_up_after
        if after is not None and self.kind is WorkloadKind.RUN:
            seconds = parse_duration(after, field="limits.clean_up_after")
            made[KEEP_ANNOTATION] = str(round(seconds))
        return {**made, **policy.annotations}

    def metadata(
        self, policy: Policy, *, name: str | None = None, owned: bool = True, **labels: str
    ) -> Manifest:
        """The metadata of an object.

        Args:
            name: None: the base.
            owned: Whether deleting the anchor deletes it.
            labels: Ours, without their prefix.
        """
        made: Manifest = {
            "name": name or self.base,
            "namespace": self.namespace,
            "labels": self.labels(policy, **labels),
            "annotations": self.annotations(policy),
        }
        if owned and self.owner_uid is not None:
            made["ownerReferences"] = [
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "name": self.base,
                    "uid": self.owner_uid,
                }
            ]
        return made

    def anchor(self, policy: Policy) -> Manifest:
        """The object that owns all others: who deletes it deletes them."""
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata(policy, owned=False),
            "data": {"name": self.name, "project": self.project, "kind": self.kind.value},
        }
