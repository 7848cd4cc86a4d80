"""A node of a Kubernetes: containerd, kubelet, a network of pods, and a DNS for them.

It lives in namespaces of its own for processes and mounts, whose first process is ours: when that
ends, however it does, the kernel ends every container, shim and mount of the node. On the machine
itself there are a bridge and a group of processes of the slot's name, which whoever takes the slot
next removes if nobody could before.

A cluster has one node, and for the time of a test a second one on the same bridge.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from tests.services._debian_image import debian_image
from tests.services._kubernetes_plane import Plane
from tests.services._podman import Podman
from tests.services._seafloor_image import seafloor_image
from tests.services._service import Missing, Refused, cache_folder, free_port

NAME: Final = "node1"
SECOND: Final = "node2"
TAINT: Final = "seafloor-tests/second"
"""Of the second node: only pods that tolerate it come there, those of other tests do not."""

_SHARES: Final[Mapping[str, tuple[int, int]]] = {NAME: (2, 127), SECOND: (128, 254)}
"""The last numbers of the addresses of a node's pods."""

SLOTS: Final = 8
_PLUGINS: Final = Path("/usr/lib/cni")
_PREFIX: Final = "seafloor-kubernetes"
_SANDBOX: Final = "localhost/seafloor-sandbox:1"
_BARE: Final = "localhost/seafloor-bare:1"
_READY_S: Final = 300.0
_GONE_S: Final = 180.0
# What a kubelet insists on, and otherwise sets for the whole machine.
_KERNEL: Final[Mapping[str, str]] = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
_OWN_FOLDERS: Final = ("/run", "/var/lib", "/var/log", "/opt")
"""Where the programs of a node write to, whatever their settings say."""


class Slot:
    """One of the places for clusters on this machine: networks, a bridge, a group of processes."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.name = f"{_PREFIX}-{number}"
        self.bridge = f"sfk{number}"
        self._pods = f"10.{200 + number}.0"
        self.gateway = f"{self._pods}.1"
        self.services = f"10.{220 + number}.0.0/24"
        self.api = f"10.{220 + number}.0.1"

    def addresses(self, node: str) -> dict[str, str]:
        """Of the pods of a node, as the network's programs want it: all are of one network."""
        first, last = _SHARES[node]
        return {
            "subnet": f"{self._pods}.0/24",
            "rangeStart": f"{self._pods}.{first}",
            "rangeEnd": f"{self._pods}.{last}",
            "gateway": self.gateway,
        }

    def clear(self) -> None:
        """Remove what is there of the slot. Safe to repeat."""
        if Path("/sys/class/net", self.bridge).exists():
            _ip("link", "delete", self.bridge)
        self.remove_groups(self.name)
        for left in Path(tempfile.gettempdir()).glob(f"{self.name}-*"):
            shutil.rmtree(left, ignore_errors=True)

    def make_network(self) -> None:
        """Make the bridge; it has the first address of both networks."""
        _ip("link", "add", "name", self.bridge, "type", "bridge")
        _ip("address", "add", f"{self.gateway}/24", "dev", self.bridge)
        _ip("address", "add", f"{self.api}/32", "dev", self.bridge)
        _ip("link", "set", self.bridge, "up")

    def make_groups(self, name: str) -> None:
        """Make a group, below which a kubelet makes its own."""
        roots = Path("/sys/fs/cgroup")
        controllers = [roots] if (roots / "cgroup.procs").exists() else list(roots.iterdir())
        for controller in controllers:
            if controller.is_dir() and not controller.is_symlink():
                try:
                    (controller / name).mkdir(parents=True, exist_ok=True)
                except OSError as error:
                    raise Refused(f"this machine gives us no groups: {error}") from error

    def remove_groups(self, name: str) -> None:
        """End what runs in a group, and remove it. Safe to repeat."""
        deadline = time.monotonic() + _GONE_S
        roots = Path("/sys/fs/cgroup")
        while groups := [one for one in (roots / name, *roots.glob(f"*/{name}")) if one.exists()]:
            for group in groups:
                _remove_group(group)
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes of {groups[0]} do not end")
            time.sleep(0.05)


@contextmanager
def slot() -> Iterator[Slot]:
    """Take a slot for the time of the context, and leave nothing of it.

    What those left that could not, because they were killed, is removed first.

    Raises:
        Missing: this machine gives us no network.
    """
    mine: list[Slot] = []
    with ExitStack() as locks:
        for number in range(SLOTS):
            one = Slot(number)
            lock = (cache_folder() / f"{one.name}.lock").open("w")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()  # somebody's who runs
                continue
            one.clear()
            if mine:
                lock.close()
            else:
                mine.append(one)
                locks.enter_context(lock)
        if not mine:
            raise Missing(f"{SLOTS} clusters run on this machine already")
        try:
            mine[0].make_network()
            yield mine[0]
        finally:
            mine[0].clear()


class Node:
    """A node of a control plane, whose programs become parts of it.

    The first one's are ``node``, ``containerd`` and ``kubelet``; the second one's end in ``2``.
    Killing ``node`` is to the others as if the machine lost its power.

    Args:
        plane: It runs.
        slot: Whose networks it takes.
        name: ``NAME`` or ``SECOND``.

    Raises:
        Missing: this machine runs no containers.
    """

    def __init__(self, plane: Plane, slot: Slot, *, name: str = NAME) -> None:
        self._plane, self._slot, self.name = plane, slot, name
        self._folder = plane.folder / name
        self._group = f"{slot.name}/{name}"
        self._socket = self._folder / "containerd.sock"
        self._kubelet_port = free_port()
        self.debian = self.bare = self.seafloor = ""

    def start(self) -> None:
        """Start it; return when it is ready for pods and knows the images."""
        self._folder.mkdir()
        self._slot.make_groups(self._group)
        self._write_settings()
        holder = self._plane.run(self._part("node"), self._holder())
        try:
            holder.wait_until((self._folder / "mounted").exists, timeout_s=_READY_S)
        except RuntimeError as error:
            raise Refused(f"this machine gives us no namespaces: {error}") from error
        namespaces = f"/proc/{holder.process.pid}/ns"
        inside = [
            *("nsenter", f"--mount={namespaces}/mnt", f"--pid={namespaces}/pid_for_children", "--")
        ]
        settings = self._folder / "containerd.toml"
        command = [*inside, "containerd", f"--config={settings}"]
        containerd = self._plane.run(self._part("containerd"), command)
        containerd.wait_until(self._answers, timeout_s=_READY_S)
        self._import_images()
        kubelet = self._plane.run(self._part("kubelet"), [*inside, *self._kubelet()])
        kubelet.wait_until(self._is_ready, timeout_s=_READY_S)

    def close(self) -> None:
        """End it: the first process of its namespace, and so all others. Safe to repeat."""
        for part in map(self._part, ("kubelet", "containerd", "node")):
            if part in self._plane.parts:
                self._plane.kill(part)

    def remove(self) -> None:
        """End it and take it out of the cluster; nothing is left of it. Safe to repeat."""
        self.close()
        self._slot.remove_groups(self._group)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._plane.kubernetes.remove(f"/api/v1/nodes/{self.name}")

    def _part(self, program: str) -> str:
        return program if self.name == NAME else f"{program}{self.name[-1]}"

    def _holder(self) -> list[str]:
        """Its first process: makes the mounts, says which it is, and waits."""
        lines = ["set -eu"]
        for number, path in enumerate(_OWN_FOLDERS):
            own = self._folder / f"own-{number}"
            own.mkdir()
            lines.append(f"mount --bind {own} {path}")
        for number, (name, value) in enumerate(_KERNEL.items()):
            (self._folder / f"kernel-{number}").write_text(value)
            lines.append(f"mount --bind {self._folder}/kernel-{number} /proc/sys/{name}")
        lines += [f"touch {self._folder}/mounted", "exec sleep infinity"]
        script = self._folder / "holder.sh"
        script.write_text("\n".join(lines))
        return [
            *("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child"),
            *("--mount-proc", "sh", str(script)),
        ]

    def _write_settings(self) -> None:
        network = self._folder / "network"
        network.mkdir()
        (network / "10-pods.conflist").write_text(json.dumps(self._network()))
        (self._folder / "containerd.toml").write_text(
            _CONTAINERD.format(
                folder=self._folder, socket=self._socket, sandbox=_SANDBOX, plugins=_PLUGINS
            )
        )
        (self._folder / "resolv.conf").write_text("")
        (self._folder / "kubelet.json").write_text(json.dumps(self._kubelet_settings()))

    def _network(self) -> dict[str, Any]:
        """Pods are on the bridge, and reach each other and this machine by it."""
        return {
            "cniVersion": "0.4.0",
            "name": self._slot.name,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": self._slot.bridge,
                    "ipam": {
                        "type": "host-local",
                        "dataDir": str(self._folder / "addresses"),
                        "ranges": [[self._slot.addresses(self.name)]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                    },
                }
            ],
        }

    def _kubelet_settings(self) -> dict[str, Any]:
        return {
            "kind": "KubeletConfiguration",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "address": self._slot.gateway,
            "port": self._kubelet_port,
            "readOnlyPort": 0,
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._group}",
            "enforceNodeAllocatable": [],
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "maxOpenFiles": 16384,
            "makeIPTablesUtilChains": False,
            "clusterDNS": [self._slot.gateway],
            "clusterDomain": "cluster.local",
            "resolvConf": str(self._folder / "resolv.conf"),
            # Images cannot be fetched again; a disk that others fill evicts nobody.
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "100Mi"},
            "nodeStatusUpdateFrequency": "4s",
            "nodeLeaseDurationSeconds": 16,
            "eventRecordQPS": 0,
        }

    def _kubelet(self) -> list[str]:
        return [
            str(self._plane.programs / "kubelet"),
            f"--config={self._folder / 'kubelet.json'}",
            f"--kubeconfig={self._plane.kubeconfig}",
            f"--root-dir={self._folder / 'kubelet'}",
            f"--cert-dir={self._folder / 'kubelet-certificates'}",
            f"--volume-plugin-dir={self._folder / 'volume-plugins'}",
            f"--hostname-override={self.name}",
            *([f"--register-with-taints={TAINT}=:NoSchedule"] if self.name == SECOND else []),
            f"--node-ip={self._slot.gateway}",
            "--container-runtime=remote",
            f"--container-runtime-endpoint=unix://{self._socket}",
        ]

    def _answers(self) -> bool:
        return self._socket.exists() and self._ctr("version").returncode == 0

    def _is_ready(self) -> bool:
        try:
            node = self._plane.kubernetes.call("GET", f"/api/v1/nodes/{self.name}")
        except OSError:
            return False
        conditions = {one["type"]: one["status"] for one in node["status"].get("conditions", ())}
        taints = [one for one in node["spec"].get("taints", ()) if one["key"] != TAINT]
        return conditions.get("Ready") == "True" and not taints

    def _ctr(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["ctr", f"--address={self._socket}", "--namespace=k8s.io", *arguments],
            capture_output=True,
            text=True,
            check=False,
        )

    def _import_images(self) -> None:
        """Bring the images in, and name them by digest too."""
        podman, debian = debian_image()
        _, seafloor = seafloor_image()
        # What holds a pod's namespaces is any process that waits.
        _derive(podman, _SANDBOX, debian, 'CMD ["sleep", "infinity"]')
        _derive(podman, _BARE, debian, "RUN rm /usr/bin/python3*")
        archive = self._plane.folder / "images.tar"
        names = (debian, seafloor, _SANDBOX, _BARE)
        if not archive.exists():  # else the first node left it for this one
            podman.run("save", "--quiet", "--multi-image-archive", f"--output={archive}", *names)
        self._checked("images", "import", str(archive))
        named: dict[str, str] = {}
        for name in names:
            digest = self._digest(name)
            by_digest = f"{name.rpartition(':')[0]}@{digest}"
            self._checked("images", "tag", name, by_digest)
            named[name] = by_digest
        self.debian, self.bare, self.seafloor = named[debian], named[_BARE], named[seafloor]

    def _digest(self, name: str) -> str:
        lines = self._checked("images", "list", f"name=={name}").splitlines()
        return next(word for word in lines[-1].split() if word.startswith("sha256:"))

    def _checked(self, *arguments: str) -> str:
        done = self._ctr(*arguments)
        if done.returncode:
            raise RuntimeError(f"ctr {' '.join(arguments)}: {done.stderr[-3000:]}")
        return done.stdout


_CONTAINERD: Final = """\
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper"]
[grpc]
address = "{socket}"
[plugins."io.containerd.internal.v1.opt"]
path = "{folder}/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{sandbox}"
restrict_oom_score_adj = true
disable_hugetlb_controller = true
stream_server_address = "127.0.0.1"
netns_mounts_under_state_dir = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{plugins}"
conf_dir = "{folder}/network"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def check_node_programs() -> None:
    """Raises ``Missing`` where a node's programs are not installed."""
    wanted = [package for package in ("containerd", "runc") if shutil.which(package) is None]
    if not (_PLUGINS / "bridge").exists():
        wanted.append("containernetworking-plugins")
    if wanted:
        raise Missing(f"apt-get install {' '.join(wanted)}")
    debian_image()  # what says whether containers run here at all


def _derive(podman: Podman, name: str, base: str, line: str) -> None:
    """Make an image that is another and a line, unless it is there."""
    if podman.has_image(name):
        return
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}-image-") as folder:
        (Path(folder) / "Dockerfile").write_text(f"FROM {base}\n{line}\n")
        podman.run("build", "--quiet", f"--tag={name}", folder)


def _remove_group(group: Path) -> None:
    """End the processes of a group and of those below, and remove what is empty by now."""
    below = sorted((one for one in group.rglob("*") if one.is_dir()), reverse=True)
    for one in (*below, group):
        try:
            for process in (one / "cgroup.procs").read_text().split():
                os.kill(int(process), signal.SIGKILL)
            one.rmdir()
        except (ProcessLookupError, FileNotFoundError):
            continue
        except OSError:
            continue  # not empty yet


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Refused(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
