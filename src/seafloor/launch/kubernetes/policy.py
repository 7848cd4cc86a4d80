"""What an administrator allows and sets: one YAML file, read strictly.

``docs/reference/kubernetes-policy.md`` lists every field. The names of rules in refusals are the
paths of these fields.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
import yaml

from seafloor.domain.cluster_specs import parse_secret
from seafloor.domain.errors import InvalidValue
from seafloor.domain.ids import parse_sha256
from seafloor.domain.names import check_slug
from seafloor.domain.quantities import parse_cpu, parse_duration, parse_memory
from seafloor.domain.spec_fields import read_fields
from seafloor.launch.kubernetes.names import PREFIX

GIT_SYNC_IMAGE: Final = "registry.k8s.io/git-sync/git-sync:v4.7.1"


class Amounts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Of one task; None: not said."""

    cpu: int | float | str | None = None
    memory: int | str | None = None
    gpu: int | None = None
    shared_memory: int | str | None = None


class ImageRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which images there are.

    Args:
        allowed: Beginnings of the images that users may name; empty: any.
        digest_required: Whether an environment's image must be named by digest.
        without_python: Beginnings of images that have no python3, which our agent needs: runs in
            them go without it, and their log is read from the cluster.
        default: Of a workload without environment; None: it needs one.
        git_sync: Of git-sync 4.
        seafloor: Of Seafloor itself, which fetches archives, snapshots and kernels; None: there
            are none.
        pull_secrets: Names of Secrets.
        pull_policy: Of every container; None: the cluster's.
    """

    allowed: list[str] = []
    digest_required: bool = True
    without_python: list[str] = []
    default: str | None = None
    git_sync: str = GIT_SYNC_IMAGE
    seafloor: str | None = None
    pull_secrets: list[str] = []
    pull_policy: str | None = None


class KernelRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An archive with what an environment adds to its image.

    Args:
        url: Of a tar or zip that was built to be at ``/seafloor/environment/kernel``.
        sha256: Its digest.
        strip_components: So many parts are taken off the paths in it.
    """

    url: str
    sha256: str
    strip_components: int = 0


class EnvironmentRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What an environment of that name is in the cluster."""

    image: str
    kernel: KernelRule | None = None


class ArchiveRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How archives are reached.

    Args:
        secret: Secret whose entries become variables of what fetches them (AWS_ACCESS_KEY_ID …);
            None: they are open, or the service account's.
    """

    secret: str | None = None


class GitRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How git code comes.

    Args:
        secret: Secret with what the repositories ask for; None: they ask for nothing.
        auth: ``token``: its keys ``username`` and ``password``; ``ssh``: its keys
            ``ssh-privatekey`` and ``known_hosts``.
        sync_timeout: For fetching, "10m".
        localizer: ``git-sync``, or ``seafloor`` for its own image: with LFS and a receipt.
        submodules: What git-sync does of them.
    """

    secret: str | None = None
    auth: str = "token"
    sync_timeout: int | float | str = "10m"
    localizer: str = "git-sync"
    submodules: str = "recursive"

    @property
    def by_localizer(self) -> bool:
        """Whether our own image fetches it."""
        return self.localizer == "seafloor"

    @property
    def sync_timeout_s(self) -> float:
        """Seconds for fetching."""
        return parse_duration(self.sync_timeout, field="git.sync_timeout")


class NodePool(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Nodes of one kind, as the API names these fields in a Pod."""

    node_selector: dict[str, str] = {}
    tolerations: list[dict[str, object]] = []
    affinity: dict[str, object] = {}
    priority_class: str | None = None


class GpuRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Accelerators: what a number of GPUs means, and what else may be asked for."""

    default: str = "nvidia.com/gpu"
    allowed: list[str] = []
    pool: str | None = None


class ResourceRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Amounts.

    Args:
        default: Of a task that does not say.
        maximum: Of a task.
        sizes: Names for amounts.
        init: Of each container that prepares a pod.
    """

    default: Amounts = Amounts(cpu=1, memory="2Gi")
    maximum: Amounts = Amounts()
    sizes: dict[str, Amounts] = {}
    init: Amounts = Amounts(cpu="500m", memory="512Mi")


class StorageRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Volumes, and homes of notebooks.

    Args:
        classes: Storage classes that may be asked for; empty: any.
        default_class: None: the cluster's.
        home_maximum: None: no limit.
        access_mode: Of home volumes.
        volume_maximum: Of a volume; None: no limit.
        snapshot_class: VolumeSnapshotClass of snapshots; None: the cluster's.
    """

    classes: list[str] = []
    default_class: str | None = None
    home_maximum: int | str | None = None
    access_mode: str = "ReadWriteOnce"
    volume_maximum: int | str | None = None
    snapshot_class: str | None = None


class VolumeRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A volume that users may attach.

    Args:
        claim: Name of its PersistentVolumeClaim.
        read_only: Whether nobody may write to it.
    """

    claim: str
    read_only: bool = False


class ConfigMapKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of a ConfigMap."""

    config_map: str
    key: str


class NetworkRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every container gets to reach others."""

    http_proxy: str | None = None
    https_proxy: str | None = None
    no_proxy: str | None = None
    ca_bundle: ConfigMapKey | None = None


class SecurityRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who processes are. Restricted pod security holds in any case.

    Args:
        run_as_user, fs_group: None: the namespace says (OpenShift), or the image.
        read_only_root: Whether the file systems of images are read-only; ``/tmp`` stays writable.
        service_account: None: the namespace's, whose token no container gets.
    """

    run_as_user: int | None = 65532
    fs_group: int | None = 65532
    read_only_root: bool = False
    service_account: str | None = None


class LimitRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How long and how many.

    Args:
        timeout_default, timeout_maximum: Of runs; None: none.
        tasks_maximum: Of a run.
        replicas_maximum: Of a serving.
        clean_up_after: How long a run's objects stay when its last task has ended; None: a server
            removes them at once, and those of no server stay.
    """

    timeout_default: int | float | str | None = None
    timeout_maximum: int | float | str | None = None
    tasks_maximum: int | None = None
    replicas_maximum: int | None = None
    clean_up_after: int | float | str | None = None


class ServerRules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where pods reach Seafloor's server.

    Args:
        url: None: they do not.
        token: ``<secret>/<key>`` of the token they present; None: it asks for none.
    """

    url: str | None = None
    token: str | None = None


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. Every field may be left out.

    Args:
        namespaces: Those allowed, the first being the usual one; shell patterns after it.
        secrets: Shell patterns of the Secrets that users may name; empty: any.
        volumes: Claims by the name in specs; empty: any claim, by its own name. Volumes that
            Seafloor made are had in any case.
        labels, annotations: On every object and pod, whatever else is.
        default_pool: A name of ``node_pools``; None: any node.
    """

    namespaces: list[str] = msgspec.field(default_factory=lambda: ["default"])
    images: ImageRules = ImageRules()
    environments: dict[str, EnvironmentRule] = {}
    git: GitRules = GitRules()
    archives: ArchiveRules = ArchiveRules()
    node_pools: dict[str, NodePool] = {}
    default_pool: str | None = None
    gpus: GpuRules = GpuRules()
    resources: ResourceRules = ResourceRules()
    storage: StorageRules = StorageRules()
    volumes: dict[str, VolumeRule] = {}
    secrets: list[str] = []
    network: NetworkRules = NetworkRules()
    security: SecurityRules = SecurityRules()
    limits: LimitRules = LimitRules()
    server: ServerRules = ServerRules()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


_USER: Final = re.compile(r"//[^/\s]*@")
_CHOICES: Final = {
    "git.auth": ("token", "ssh"),
    "git.localizer": ("git-sync", "seafloor"),
    "git.submodules": ("recursive", "shallow", "off"),
    "images.pull_policy": (None, "Always", "IfNotPresent", "Never"),
    "storage.access_mode": ("ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"),
}


def read_policy(text: str) -> Policy:
    """Read a policy file.

    Raises:
        InvalidValue: it is no YAML, or a field is unknown, of the wrong type or cannot be.
    """
    try:
        data: object = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidValue(f"The policy is not YAML: {' '.join(str(error).split())}") from error
    policy = read_fields({} if data is None else data, Policy, what="A policy")
    if not policy.namespaces:
        raise InvalidValue("Name at least one namespace.", field="namespaces")
    for path, choices in _CHOICES.items():
        value = _at(policy, path)
        if value not in choices:
            known = ", ".join(filter(None, choices))
            raise InvalidValue(f'"{value}" cannot stand here. Known: {known}.', field=path)
    _check_amounts(policy)
    _check_pools(policy)
    for name, environment in policy.environments.items():
        check_slug(name.partition("@")[0], field="environments")
        if environment.kernel is not None:
            parse_sha256(environment.kernel.sha256, field=f"environments.{name}.kernel.sha256")
    _check_urls(policy)
    if policy.server.token is not None:
        parse_secret("SEAFLOOR_TOKEN", policy.server.token)
    for field in ("labels", "annotations"):
        own = [key for key in getattr(policy, field) if key.partition("/")[0] == PREFIX]
        if own:
            raise InvalidValue(f"`{own[0]}` is one of ours: choose another.", field=field)
    return policy


def _check_urls(policy: Policy) -> None:
    """Refuse passwords in addresses, which every manifest would show."""
    network = policy.network
    urls = {"network.http_proxy": network.http_proxy, "network.https_proxy": network.https_proxy}
    urls["server.url"] = policy.server.url
    for name, environment in policy.environments.items():
        if environment.kernel is not None:
            urls[f"environments.{name}.kernel.url"] = environment.kernel.url
    for field, url in urls.items():
        if url is not None and _USER.search(url):
            raise InvalidValue(
                "An address in a policy stands in every manifest: leave user and password out.",
                field=field,
            )


def _at(policy: Policy, path: str) -> object:
    found: object = policy
    for name in path.split("."):
        found = getattr(found, name)
    return found


def _check_amounts(policy: Policy) -> None:
    rules = policy.resources
    named = {"default": rules.default, "maximum": rules.maximum, "init": rules.init}
    named |= {f"sizes.{key}": amounts for key, amounts in rules.sizes.items()}
    for name, amounts in named.items():
        field = f"resources.{name}"
        if amounts.cpu is not None:
            parse_cpu(amounts.cpu, field=f"{field}.cpu")
        if amounts.memory is not None:
            parse_memory(amounts.memory, field=f"{field}.memory")
        if amounts.shared_memory is not None:
            parse_memory(amounts.shared_memory, field=f"{field}.shared_memory")
    for name in ("timeout_default", "timeout_maximum", "clean_up_after"):
        value = getattr(policy.limits, name)
        if value is not None:
            parse_duration(value, field=f"limits.{name}")
    for name in ("home_maximum", "volume_maximum"):
        value = getattr(policy.storage, name)
        if value is not None:
            parse_memory(value, field=f"storage.{name}")
    _ = policy.git.sync_timeout_s


def _check_pools(policy: Policy) -> None:
    for field, pool in (("default_pool", policy.default_pool), ("gpus.pool", policy.gpus.pool)):
        if pool is not None and pool not in policy.node_pools:
            raise InvalidValue(f'There is no pool "{pool}" in node_pools.', field=field)
