"""Code in a pod: the volume ``code-dir`` at ``/code``, filled before the command starts.

What lies there is the same whoever fills it: ``/code/<folder>`` is the code.
"""

from __future__ import annotations

from typing import Final, assert_never

from seafloor.domain.cluster_specs import SecretRef
from seafloor.domain.code import ArchiveCode, CodeSource, GitCode, ImageCode, SnapshotCode
from seafloor.domain.errors import InvalidValue, NotSupported
from seafloor.domain.url_prefix import parse_url_prefix
from seafloor.domain.volumes import CODE_PATH
from seafloor.launch.kubernetes.localizer import localizer
from seafloor.launch.kubernetes.manifest import Manifest, literal, variable
from seafloor.launch.kubernetes.parts import Parts
from seafloor.launch.kubernetes.policy import Policy
from seafloor.launch.kubernetes.resources import init_resources
from seafloor.launch.kubernetes.rules import refuse
from seafloor.launch.kubernetes.rules import secret as check_secret
from seafloor.launch.kubernetes.secrets import FILE_MODE, secret_variable
from seafloor.launch.kubernetes.security import container_security
from seafloor.launch.kubernetes.server import server_variables

VOLUME: Final = "code-dir"
GIT_CONTAINER: Final = "git-localize"
CODE_CONTAINER: Final = "code-localize"
_MOUNT: Final[Manifest] = {"name": VOLUME, "mountPath": CODE_PATH}
_SSH_PATH: Final = "/etc/git-secret"
_SSH_KEYS: Final = [
    {"key": "ssh-privatekey", "path": "ssh"},
    {"key": "known_hosts", "path": "known_hosts"},
]
"""Of a Secret, by the names that Kubernetes and our own secrets have; the files by git-sync's."""

_FAILURES_MAX: Final = 3
_REMOTE: Final = ("https://", "http://", "git://")
_DATA_PATH: Final = "/seafloor/data"
_SECRET_MODE: Final = 0o444
"""Whoever runs in the container that fetches may read them; no other container has them."""


def code_parts(code: CodeSource | None, policy: Policy) -> Parts:
    """The volume, what fills it, and where the command starts.

    Raises:
        InvalidValue: pods cannot reach it, or it is not named by what it holds.
        Forbidden: the policy does not say what is needed for it.
    """
    match code:
        case None:
            return Parts()
        case ImageCode(path=path):
            return Parts(working_dir=path)
        case GitCode():
            _check_remote(code.url, ("/", "file://"))
            if code.sparse:
                raise NotSupported(
                    "Pods get repositories whole: leave `sparse` out.", field="code.sparse"
                )
            # git-sync knows one secret.
            by_localizer = policy.git.by_localizer or code.secrets
            filled = _by_localizer(code, policy) if by_localizer else _git_sync(code, policy)
            where = CODE_PATH
        case SnapshotCode():
            filled = _snapshot(code, policy)
            where = "/".join(filter(None, (CODE_PATH, code.folder, code.subfolder)))
        case ArchiveCode():
            _check_remote(code.url, ("file://",))
            filled = _archive(code, policy)
            where = CODE_PATH
        case _:
            assert_never(code)
    volumes, container = filled
    return Parts(
        volumes=({"name": VOLUME, "emptyDir": {}}, *volumes),
        init_containers=(container,),
        mounts=(_MOUNT,),
        env=(variable("SEAFLOOR_CODE_DIR", CODE_PATH),),
        working_dir=where,
    )


_Filled = tuple[tuple[Manifest, ...], Manifest]
"""Further volumes, and the container that fills ``/code``."""


def _check_remote(url: str, local: tuple[str, ...]) -> None:
    if url.startswith(local):
        raise InvalidValue(
            f"{url} is on this machine, where pods do not come: give the address of a server.",
            field="code.url",
        )


def _git_sync(code: GitCode, policy: Policy) -> _Filled:
    """git-sync 4, once: it fetches this commit only, so that no branch can move under it."""
    rules = policy.git
    over_ssh = not code.url.startswith(_REMOTE)
    arguments = [
        f"--repo={code.url}",
        f"--ref={code.commit}",
        f"--root={CODE_PATH}",
        f"--link={code.folder}",
        "--one-time",
        "--depth=1",
        f"--submodules={rules.submodules}",
        f"--max-failures={_FAILURES_MAX}",
        f"--sync-timeout={max(1, round(rules.sync_timeout_s))}s",
    ]
    mounts = [_MOUNT]
    volumes: tuple[Manifest, ...] = ()
    env: list[Manifest] = []
    secret = _secret(code, policy, over_ssh=over_ssh)
    if secret is not None and over_ssh:
        # ssh asks who the user is, and any user may be ours.
        arguments.append("--add-user")
        mounts.append({"name": "git-secret", "mountPath": _SSH_PATH, "readOnly": True})
        source = {"secretName": secret, "defaultMode": FILE_MODE, "items": _SSH_KEYS}
        volumes = ({"name": "git-secret", "secret": source},)
    elif secret is not None:
        env = [
            secret_variable(f"GITSYNC_{key.upper()}", SecretRef(secret, key))
            for key in ("username", "password")
        ]
    return volumes, {
        "name": GIT_CONTAINER,
        "image": policy.images.git_sync,
        "args": [literal(argument) for argument in arguments],
        "env": env,
        "resources": init_resources(policy),
        "volumeMounts": mounts,
        "securityContext": container_security(policy, writes_root=bool(volumes)),
    }


def _secret(code: GitCode, policy: Policy, *, over_ssh: bool) -> str | None:
    """The Secret that reaches a repository: the spec's, else the policy's if of that kind."""
    if code.secret is not None:
        check_secret(policy, code.secret, field="code.secret")
        return code.secret
    fits = (policy.git.auth == "ssh") == over_ssh
    return policy.git.secret if fits else None


def _by_localizer(code: GitCode, policy: Policy) -> _Filled:
    """Our own image: with LFS, every byte compared with the commit's tree, and a receipt."""
    if not code.url.startswith(_REMOTE):
        raise NotSupported(
            "Over ssh, pods get code by git-sync only: set `git.localizer: git-sync` in the "
            "policy, and leave `secrets` out; or use https.",
            field="code.url",
        )
    source = [f"git+{code.url}@{code.commit}", f"--name={code.folder}"]
    own = _secret(code, policy, over_ssh=False)
    if own is not None:
        source.append(f"--secret={own}")
    for prefix, name in code.secrets.items():
        check_secret(policy, name, field="code.secrets")
        if parse_url_prefix(prefix).scheme == "ssh":
            raise NotSupported(
                f"Pods get submodules by https only, and {prefix} is reached by ssh.",
                field="code.secrets",
            )
        source.append(f"--secret-for={prefix}={name}")
    names = {*code.secrets.values(), *(() if own is None else (own,))}
    return _localized(policy, GIT_CONTAINER, source, sorted(names))


def _snapshot(code: SnapshotCode, policy: Policy) -> _Filled:
    if policy.server.url is None:
        refuse(
            "server.url",
            "A working folder is fetched from a server, and this policy names none: set it, or "
            "use `sync_mode: git`.",
            field="code.sync_mode",
        )
    source = [f"snapshot:{code.sha256}", f"--name={code.folder}"]
    env = list(server_variables(policy))
    return (), localizer(policy, CODE_CONTAINER, source, to=CODE_PATH, mounts=[_MOUNT], env=env)


def _archive(code: ArchiveCode, policy: Policy) -> _Filled:
    if code.sha256 is None:
        raise InvalidValue(
            "For a pod, an archive is named by its `sha256`: what is at its address may be another "
            "when the pod starts.",
            field="code.sha256",
        )
    source = [code.url, f"--name={code.folder}", f"--sha256={code.sha256}"]
    if code.strip_components:
        source.append(f"--strip-components={code.strip_components}")
    if code.secret is not None:
        check_secret(policy, code.secret, field="code.secret")
        source.append(f"--secret={code.secret}")
    return _localized(policy, CODE_CONTAINER, source, [code.secret] if code.secret else [])


def _localized(policy: Policy, name: str, source: list[str], secrets: list[str]) -> _Filled:
    """Our own image, with Secrets where it looks for them: in its data folder."""
    volumes: list[Manifest] = []
    mounts = [_MOUNT]
    for number, secret in enumerate(secrets):
        volume = f"code-secret-{number}"
        where = f"{_DATA_PATH}/secrets/{secret}"
        volumes.append(
            {"name": volume, "secret": {"secretName": secret, "defaultMode": _SECRET_MODE}}
        )
        mounts.append({"name": volume, "mountPath": where, "readOnly": True})
    env = [variable("SEAFLOOR_DATA", _DATA_PATH)] if secrets else []
    container = localizer(policy, name, source, to=CODE_PATH, mounts=mounts, env=env)
    return tuple(volumes), container
