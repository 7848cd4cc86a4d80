"""Runs as pods: made of the pure manifests, followed by a watch, told of in the user's words."""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from seafloor.domain.code import CodeSource
from seafloor.domain.environments import Environment
from seafloor.domain.errors import (
    ClusterUnavailable,
    Conflict,
    Forbidden,
    NotFound,
    PodRejected,
    SeafloorError,
)
from seafloor.domain.ids import WorkloadId
from seafloor.domain.members import MAIN, members_of
from seafloor.domain.specs import ExperimentSpec
from seafloor.environments.build import EnvironmentCache
from seafloor.launch.kubernetes import rules
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.container_reader import ContainerReader
from seafloor.launch.kubernetes.identity import (
    ATTEMPT_LABEL,
    ID_LABEL,
    KEEP_ANNOTATION,
    PLACE_LABEL,
    TASK_LABEL,
    Start,
)
from seafloor.launch.kubernetes.manifest import Manifest
from seafloor.launch.kubernetes.names import claim_name, label_value
from seafloor.launch.kubernetes.observed import Anchor, Metadata, Pod
from seafloor.launch.kubernetes.pod_events import PodEvents
from seafloor.launch.kubernetes.pod_logs import PodLogs
from seafloor.launch.kubernetes.policy import Policy, ServerRules
from seafloor.launch.kubernetes.request import PodRequest, identify
from seafloor.launch.kubernetes.setup_logs import SetupLogs
from seafloor.launch.kubernetes.status import (
    PodObservation,
    ended_at_s,
    has_agent,
    observation_of,
    unanswered,
)
from seafloor.launch.kubernetes.watch_cache import WatchCache
from seafloor.launch.kubernetes.workload import Rendered, render
from seafloor.launch.protocol import (
    EnvironmentLockRef,
    Prepared,
    TaskAbsent,
    TaskAlive,
    TaskEnded,
    TaskKey,
    TaskLaunch,
    TaskLost,
    TaskObservation,
    TaskPreparing,
)
from seafloor.stores.logs.protocol import LogStore

TOKEN_KEY: Final = "token"  # noqa: S105  # the name of an entry
_TOKENS: Final = ("SEAFLOOR_TOKEN", "MLFLOW_TRACKING_TOKEN")
_QUOTA: Final = "exceeded quota"
_QUOTA_RETRY_S: Final = 20.0
_GOING_RETRY_S: Final = 3.0
_RELEASE_AGAIN_S: Final = 20.0
_NO_AGENT: Final = (
    "this run has no agent, as {why}: its log is read from the cluster, standard output and "
    "standard error as one; its outputs and tf.events files are not collected"
)
_LOG_WITHIN_S: Final = 15.0
_GONE_MAX: Final = 1000
_DELETED: Final = (
    "The pod is gone: somebody deleted it, or its node; so nobody can say how the command ended."
)


class _Seen(msgspec.Struct, frozen=True):
    """What was last said of a pod, and of which state of it."""

    version: str
    told: int
    observation: PodObservation


class KubernetesLauncher:
    """The launcher of one cluster. One process at a time may drive a place.

    It keeps nothing in memory that matters: what it says comes from the cluster's own objects, of
    which it has a copy that a watch keeps up to date.

    Args:
        cluster: Closed by whoever made it.
        policy: The administrator's.
        place: Whose tasks these are; objects of other places are not touched.
        url: Where pods reach the server, unless the policy says it.
        on_change: Called when an object changed.
        environments: Builds and stores the packages that pods fetch.
        logs: Where the logs go of pods without our agent, and of what prepares a pod; None: they
            stay with the cluster.
    """

    def __init__(
        self,
        cluster: Cluster,
        policy: Policy,
        *,
        place: str,
        url: str,
        on_change: Callable[[], None],
        environments: EnvironmentCache,
        logs: LogStore | None = None,
    ) -> None:
        self._cluster = cluster
        self._policy = policy
        self._place = label_value(place)
        self._environments = environments
        self.url = policy.server.url or url
        self._namespace = policy.namespaces[0]
        namespaces = [one for one in policy.namespaces if not set(one) & set("*?[")]
        selector = f"{PLACE_LABEL}={self._place}"
        self._pods: WatchCache[TaskKey, Pod] = WatchCache(
            cluster,
            "Pod",
            msgspec.json.Decoder(Pod),
            key_of=_key_of,
            namespaces=namespaces,
            selector=selector,
            on_change=on_change,
            on_gone=self._remember,
        )
        self._anchors: WatchCache[TaskKey, Anchor] = WatchCache(
            cluster,
            "ConfigMap",
            msgspec.json.Decoder(Anchor),
            key_of=_key_of,
            namespaces=namespaces,
            selector=selector,
            on_change=on_change,
        )
        self._events = PodEvents(cluster, on_change=on_change)
        self._logs: PodLogs | None = None
        self._setups: SetupLogs | None = None
        if logs is not None:
            reader, pod_of = ContainerReader(cluster, logs), self._pods.get
            self._logs = PodLogs(reader, pod_of=pod_of, on_change=on_change)
            self._setups = SetupLogs(reader, logs, pod_of=pod_of, on_change=on_change)
        self._seen: dict[TaskKey, _Seen] = {}
        self._released_s: dict[TaskKey, float] = {}
        self._gone: dict[TaskKey, Pod] = {}

    @property
    def pod_lists(self) -> int:
        """How often pods were listed, rather than watched."""
        return self._pods.lists

    def admit(
        self,
        spec: ExperimentSpec,
        code: CodeSource | None,
        environments: Mapping[str, Environment],
        volumes: Collection[str] = (),
    ) -> tuple[str, ...]:
        """Refuse, before anything is written, what could not be started here.

        Args:
            environments: Those that the server has, by their references in the spec.
            volumes: Names of those that Seafloor made.

        Returns:
            Warnings.

        Raises:
            Forbidden: the policy refuses it; the message names the rule.
            InvalidValue, NotSupported: it cannot be a pod.
        """
        start = Start(run_id="0" * 32, attempt=1, place=self._place)
        request = PodRequest(
            spec=spec,
            code=code,
            namespace=self._namespace,
            images=_images(environments),
            kernels=_kernels(environments),
            claims={name: claim_name(name, start.run_id, 1) for name in volumes},
            start=start,
        )
        return render(request, self._policy_for(request, token=False)).warnings

    def names_environment(self, reference: str) -> bool:
        """Whether the policy says which image an environment is."""
        name, _, _ = reference.partition("@")
        return bool({reference, name} & self._policy.environments.keys())

    async def prepare(self, launch: TaskLaunch, *, progress: Callable[[str], None]) -> Prepared:
        """Check that a pod can be made of it, and have its packages stored where pods fetch them.

        Raises:
            Forbidden, InvalidValue, NotSupported: it cannot.
            SourceError, StoreFull, StoreUnavailable: see ``EnvironmentCache.store``.
        """
        begun_s = time.monotonic()
        for image in _main_images(self._render(launch, None)):
            why = rules.no_agent_because(self._policy, image)
            if why is not None:
                progress(_NO_AGENT.format(why=why))
                break
        kernels = _kernels(launch.environments)
        for reference, environment in launch.environments.items():
            if rules.stored_kernel(self._policy, reference, kernels) is not None:
                await self._environments.store(environment, progress)
        return Prepared(None, None, time.monotonic() - begun_s, here=False)

    async def start(self, launch: TaskLaunch) -> None:
        """Make the objects of a task, each of them once, however often this is repeated.

        Of several tasks all or none: when the cluster does not let all of them in, those that it
        did are withdrawn. Their agents have not begun the commands, and wait to be told to.

        Raises:
            PodRejected: the cluster does not take them; the message says why.
            ClusterUnavailable: it does not answer, or its quota is used up for now.
        """
        anchor, *_ = self._render(launch, None).manifests
        try:
            made = self._anchors.put(await self._cluster.apply(anchor))
            rendered = self._render(launch, made.metadata.uid)
            if launch.token is not None:
                secret = _token_secret(rendered.manifests[0], made, launch.token)
                await self._cluster.put(secret)
            pods = [await self._create(one) for one in rendered.manifests[1:]]
        except Forbidden as error:
            if _QUOTA in error.message:
                if launch.spec.tasks:
                    await self._withdraw(launch)
                raise ClusterUnavailable(
                    f"The quota of the namespace {self._namespace} is used up: {error.message}.",
                    # Of several that take each other's room one must come first.
                    retry_after_s=_QUOTA_RETRY_S * random.uniform(0.5, 1.5),  # noqa: S311
                ) from error
            raise PodRejected(
                f"The cluster does not let Seafloor start it: {error.message}."
            ) from error
        except NotFound as error:
            raise PodRejected(f"The cluster has no place for it: {error.message}.") from error
        if launch.spec.tasks and any(pod and pod.metadata.deletion_timestamp for pod in pods):
            raise ClusterUnavailable(
                "Pods of the try before are not gone yet.", retry_after_s=_GOING_RETRY_S
            )

    async def _create(self, manifest: Manifest) -> Pod | None:
        content = await self._cluster.create(manifest)
        return self._pods.put(content) if manifest["kind"] == "Pod" else None

    async def _withdraw(self, launch: TaskLaunch) -> None:
        """Delete the pods of a launch whose commands have not begun, as their agents wait.

        Without an agent they begin at once: such stay, and wait for the others in their own way.
        """
        key = launch.key
        for member in members_of(launch.spec.tasks):
            one = replace(key, task=member.name)
            pod = self._pods.get(one)
            if pod is not None and has_agent(pod):
                await self.stop(one)

    async def observe(self, key: TaskKey) -> TaskObservation:
        """Say how a task fares; see the protocol. Cost: a look into a dictionary.

        Raises:
            ClusterUnavailable: the cluster was not read since this launcher was made.
        """
        await self._pods.synced()
        pod = self._pods.get(key)
        if pod is None:
            return self._after_its_pod(key)
        events = self._events.of(pod)
        version = pod.metadata.resource_version  # which no other pod has either
        seen = self._seen.get(key)
        if seen is None or (seen.version, seen.told) != (version, len(events)):
            seen = self._seen[key] = _Seen(version, len(events), observation_of(pod, events))
        observation = seen.observation
        if isinstance(observation, TaskAlive | TaskPreparing):
            observation = unanswered(pod, time.time()) or observation
        return self._with_log(key, pod, observation)

    def _remember(self, key: TaskKey, pod: Pod) -> None:
        """Keep for a while how a pod ended that went at once, before anybody looked."""
        if key not in self._released_s:
            self._gone[key] = pod
            while len(self._gone) > _GONE_MAX:
                del self._gone[next(iter(self._gone))]

    def _after_its_pod(self, key: TaskKey) -> TaskObservation:
        pod = self._gone.get(key)
        seen = None if pod is None else observation_of(pod, gone=True)
        if isinstance(seen, TaskEnded):
            reading = any(one.is_reading(key) for one in (self._logs, self._setups) if one)
            return msgspec.structs.replace(seen, delivered=not reading)
        return seen if isinstance(seen, TaskLost) else TaskAbsent(_DELETED)

    def _with_log(self, key: TaskKey, pod: Pod, seen: PodObservation) -> PodObservation:
        """Have read what no agent delivers; the task is not delivered before that is done."""
        if self._logs is None or self._setups is None:
            return seen
        read = [self._setups.follow(key, pod), self._logs.follow(key, pod)]
        if all(read) or not isinstance(seen, TaskEnded):
            return seen
        problem = self._logs.problem(key)
        ending = seen.ending
        if problem is not None:
            said = f"{ending.reason} " if ending.reason else ""
            reason = f"{said}The end of its log could not be read. {problem}"
            ending = replace(ending, reason=reason)
        return replace(seen, ending=ending, delivered=False)

    async def tasks(self) -> tuple[TaskKey, ...]:
        """The tasks that have objects here and that nobody wants kept."""
        await self._pods.synced()
        await self._anchors.synced()
        known = {*self._pods.keys(), *self._anchors.keys()}
        self._released_s = {key: at for key, at in self._released_s.items() if key in known}
        # Of what was looked at once more when it was released, or went without that.
        self._seen = {key: seen for key, seen in self._seen.items() if key in known}
        for logs in (self._logs, self._setups):
            if logs is not None:
                logs.keep(known)
        # Where pods have names of their own they stand for the anchor, which goes with the last.
        pods = self._pods.keys()
        several = {(one.workload_id, one.attempt) for one in pods if one.task != MAIN}
        kept = self._kept(known)
        for key in kept:  # nobody observes these
            pod = self._pods.get(key)
            if self._setups is not None and pod is not None:
                self._setups.follow(key, pod)
        return tuple(
            key
            for key in known
            if (key.task != MAIN or (key.workload_id, key.attempt) not in several)
            and not self._is_released(key)
            and key not in kept
            and not self._is_left_to_its_node(key)
        )

    def _kept(self, known: Collection[TaskKey]) -> set[TaskKey]:
        """Those that ended, of attempts whose time after the end of the last is not over yet."""
        ended_s: dict[TaskKey, float] = {}
        keep_s: dict[TaskKey, float] = {}
        for key in known:
            anchor, pod = self._anchors.get(replace(key, task=MAIN)), self._pods.get(key)
            said = "" if anchor is None else anchor.metadata.annotations.get(KEEP_ANNOTATION, "")
            at_s = None if pod is None or not said.isdecimal() else ended_at_s(pod)
            if at_s is not None:
                ended_s[key], keep_s[key] = at_s, float(said)
        last_s: dict[TaskKey, float] = {}
        for key, at_s in ended_s.items():
            attempt = replace(key, task=MAIN)
            last_s[attempt] = max(at_s, last_s.get(attempt, at_s))
        now_s = time.time()
        return {key for key in keep_s if now_s < last_s[replace(key, task=MAIN)] + keep_s[key]}

    def _is_left_to_its_node(self, key: TaskKey) -> bool:
        """Whether all was told to go, so that only its node, or that node's end, can remove it."""
        anchor, pod = self._anchors.get(replace(key, task=MAIN)), self._pods.get(key)
        return anchor is None and pod is not None and pod.metadata.deletion_timestamp is not None

    async def stop(self, key: TaskKey) -> None:
        """Have the pod end: SIGTERM to its command, after the grace SIGKILL. Returns at once."""
        pod = self._pods.get(key)
        if pod is not None:
            await self._cluster.delete("Pod", pod.metadata.namespace, pod.metadata.name)

    async def salvage(self, key: TaskKey) -> None:
        """Read the rest of what the cluster has the logs of; what else a pod had, went with it."""
        logs = [one for one in (self._logs, self._setups) if one is not None]
        await asyncio.gather(*(one.finish(key, within_s=_LOG_WITHIN_S) for one in logs))

    async def keep(self, key: TaskKey) -> str:  # noqa: ARG002  # of the protocol
        """Keep nothing: what a pod had, went with it."""
        return ""

    async def forget(self, workload_id: WorkloadId) -> None:
        """Have what still lives of a workload end; what has ended goes by itself.

        Raises:
            ClusterUnavailable: pods of it are known, and it cannot be told that they are to go.
        """
        known = self._pods.keys()
        for key in [one for one in known if one.workload_id == workload_id]:
            if await self._lives(key):
                await self.stop(key)

    async def is_forgotten(self, key: TaskKey) -> bool:
        """Whether no task of the attempt lives that nobody has told to go.

        Of one that ended, the cluster has what its command printed, and nobody delivers more.
        """
        return not any([await self._lives(one) for one in self._family(key)])

    async def _lives(self, key: TaskKey) -> bool:
        pod = self._pods.get(key)
        if pod is None or pod.metadata.deletion_timestamp is not None:
            return False
        return isinstance(await self.observe(key), TaskAlive | TaskPreparing)

    def whereabouts(self, key: TaskKey) -> str:
        """How ``kubectl`` finds its objects."""
        return f"configmap,pod -n {self._namespace} -l {ID_LABEL}={key.workload_id}"

    async def release(self, key: TaskKey) -> None:
        """Delete the anchor, and with it everything of an attempt whose other tasks ended too.

        While one of them lives, only the pod of this one is deleted.

        Raises:
            Conflict: it still runs.
        """
        if isinstance(await self.observe(key), TaskAlive | TaskPreparing):
            raise Conflict("The task still runs: stop it first.")
        if self._is_released(key):  # with another task of its attempt
            return
        family = self._family(key)
        others = [await self.observe(one) for one in family if one != key]
        pod, anchor = self._pods.get(key), self._anchors.get(replace(key, task=MAIN))
        if any(isinstance(one, TaskAlive | TaskPreparing) for one in others):
            family, anchor = (key,), None
        if self._setups is not None:
            await self._setups.close_logs(family)
        for one in family:
            self._released_s[one] = time.monotonic()
        kept = anchor or pod
        if kept is not None:
            kind = "ConfigMap" if anchor is not None else "Pod"
            try:
                await self._cluster.delete(kind, kept.metadata.namespace, kept.metadata.name)
            except SeafloorError:
                self._released_s = {k: at for k, at in self._released_s.items() if k not in family}
                raise
        for one in family:
            self._forget(one)

    def _forget(self, key: TaskKey) -> None:
        self._seen.pop(key, None)
        if self._logs is not None:
            self._logs.forget(key)
        self._gone.pop(key, None)

    def _is_released(self, key: TaskKey) -> bool:
        since_s = time.monotonic() - self._released_s.get(key, -_RELEASE_AGAIN_S)
        return since_s < _RELEASE_AGAIN_S

    def _family(self, key: TaskKey) -> tuple[TaskKey, ...]:
        """All pods of an attempt that has several tasks; of another only the task itself."""
        if key.task == MAIN:
            return (key,)
        same, pods = (key.workload_id, key.attempt), self._pods.keys()
        return tuple(one for one in pods if (one.workload_id, one.attempt) == same)

    async def close(self) -> None:
        """Stop following the cluster. Pods go on."""
        for logs in (self._logs, self._setups):
            if logs is not None:
                await logs.close()
        await self._pods.close()
        await self._anchors.close()
        await self._events.close()

    def _render(self, launch: TaskLaunch, owner_uid: str | None) -> Rendered:
        given = {
            name: value
            for name, value in launch.env.items()
            if name not in launch.spec.env and name not in _TOKENS
        }
        request = PodRequest(
            spec=replace(launch.spec, run_name=launch.name or None),
            code=launch.code,
            namespace=self._namespace,
            images=_images(launch.environments),
            kernels=_kernels(launch.environments),
            claims={
                one.name: claim_name(one.name, one.volume_id, one.content) for one in launch.volumes
            },
            owner_uid=owner_uid,
            start=Start(
                run_id=launch.key.workload_id,
                attempt=launch.key.attempt,
                place=self._place,
                env=given,
            ),
        )
        return render(request, self._policy_for(request, token=launch.token is not None))

    def _policy_for(self, request: PodRequest, *, token: bool) -> Policy:
        """The policy, with the server as this run reaches it: its token is its own."""
        base = identify(request, self._policy).base
        server = ServerRules(
            url=self.url, token=f"{base}/{TOKEN_KEY}" if token else self._policy.server.token
        )
        return replace(self._policy, server=server)


_Known = Mapping[str, Environment] | Mapping[str, EnvironmentLockRef]


def _images(known: _Known) -> dict[str, str]:
    return {reference: one.image for reference, one in known.items() if one.image is not None}


def _kernels(known: _Known) -> dict[str, str]:
    """The packages of environments; one that is only an image has none."""
    return {
        reference: one.digest for reference, one in known.items() if one.image is None or one.lock
    }


def _main_images(rendered: Rendered) -> list[str]:
    """Of each pod, the image that its command runs in."""
    pods = [one for one in rendered.manifests if one["kind"] == "Pod"]
    return [
        container["image"]
        for pod in pods
        for container in pod["spec"]["containers"]
        if container["name"] == MAIN
    ]


def _token_secret(anchor: Manifest, made: Anchor, token: str) -> Manifest:
    """The Secret with a run's token, owned by its anchor. Never shown to anybody."""
    metadata = made.metadata
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": metadata.name,
            "namespace": metadata.namespace,
            "labels": anchor["metadata"]["labels"],
            "ownerReferences": [
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "name": metadata.name,
                    "uid": metadata.uid,
                }
            ],
        },
        "data": {TOKEN_KEY: base64.b64encode(token.encode()).decode()},
    }


def _key_of(metadata: Metadata) -> TaskKey | None:
    """Of a pod its task; of an anchor the first task, in whose name all are released."""
    labels = metadata.labels
    attempt = labels.get(ATTEMPT_LABEL, "")
    if ID_LABEL not in labels or not attempt.isdecimal():
        return None
    return TaskKey(WorkloadId(labels[ID_LABEL]), int(attempt), labels.get(TASK_LABEL, MAIN))
