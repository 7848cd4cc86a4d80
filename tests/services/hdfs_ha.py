"""HDFS as a pair: two NameNodes, a JournalNode, a DataNode, and ways to break them."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

from tests.services._hadoop import (
    ADMIN,
    DATANODE,
    HA_ADMIN,
    HADOOP,
    JOURNALNODE,
    NAMENODE,
    Cluster,
    is_ready,
    jmx,
)
from tests.services._service import Daemon, Service, accepts, free_port

NAMES = ("nn1", "nn2")
NAMESERVICE = "ns1"
_START_TIMEOUT_S = 180.0
_RPC = {"nn1": 0, "nn2": 1}
_HTTP = {"nn1": 2, "nn2": 3}
_JOURNAL_RPC, _JOURNAL_HTTP, _DN_DATA, _DN_HTTP, _DN_IPC = 4, 5, 6, 7, 8


class Pair:
    """A running pair; nn1 is the active one at first.

    Args:
        folder: Of the pair's own; it exists.
        settings: Added to hdfs-site.xml.
    """

    url = f"hdfs://{NAMESERVICE}"

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None) -> None:
        self._port = free_port(offsets=range(9))
        self._cluster = Cluster(folder)
        self._configs = {
            name: self._cluster.configure(
                name,
                core={
                    "fs.defaultFS": self.url,
                    "fs.viewfs.mounttable.mounts.linkFallback": f"{self.url}/",
                },
                hdfs={**self._hdfs_settings(folder, name), **(settings or {})},
            )
            for name in NAMES
        }
        self.conf = self._configs["nn1"]
        self.namenodes: dict[str, Daemon] = {}

    def _hdfs_settings(self, folder: Path, name: str) -> dict[str, str]:
        address = {offset: f"127.0.0.1:{self._port + offset}" for offset in range(9)}
        both: dict[str, str] = {}
        for each in NAMES:
            both[f"dfs.namenode.rpc-address.{NAMESERVICE}.{each}"] = address[_RPC[each]]
            both[f"dfs.namenode.http-address.{NAMESERVICE}.{each}"] = address[_HTTP[each]]
        return {
            **both,
            "dfs.nameservices": NAMESERVICE,
            f"dfs.ha.namenodes.{NAMESERVICE}": ",".join(NAMES),
            "dfs.ha.namenode.id": name,
            f"dfs.client.failover.proxy.provider.{NAMESERVICE}": "org.apache.hadoop.hdfs.server."
            "namenode.ha.ConfiguredFailoverProxyProvider",
            "dfs.namenode.shared.edits.dir": f"qjournal://{address[_JOURNAL_RPC]}/{NAMESERVICE}",
            "dfs.ha.fencing.methods": "shell(/bin/true)",
            "dfs.ha.tail-edits.period": "1",
            "dfs.journalnode.edits.dir": str(folder / "journal"),
            "dfs.journalnode.rpc-address": address[_JOURNAL_RPC],
            "dfs.journalnode.http-address": address[_JOURNAL_HTTP],
            "dfs.namenode.name.dir": f"file://{folder}/{name}-state",
            "dfs.datanode.data.dir": f"file://{folder}/dn",
            "dfs.datanode.address": address[_DN_DATA],
            "dfs.datanode.http.address": address[_DN_HTTP],
            "dfs.datanode.ipc.address": address[_DN_IPC],
        }

    def start(self) -> None:
        """Return once nn1 is active, nn2 stands by and both know the DataNode."""
        cluster = self._cluster
        journal = cluster.start(self.conf, "journal", JOURNALNODE)
        journal.wait_until(lambda: accepts(self._port + _JOURNAL_RPC))
        cluster.run(self.conf, NAMENODE, "-format", "-nonInteractive")
        self.namenodes["nn1"] = cluster.start(self._configs["nn1"], "nn1", NAMENODE)
        self.namenodes["nn1"].wait_until(
            lambda: self.state("nn1") == "standby", timeout_s=_START_TIMEOUT_S
        )
        cluster.run(self._configs["nn2"], NAMENODE, "-bootstrapStandby", "-nonInteractive")
        self.namenodes["nn2"] = cluster.start(self._configs["nn2"], "nn2", NAMENODE)
        cluster.start(self.conf, "datanode", DATANODE)
        self.make_active("nn1")
        for name in NAMES:
            self._wait_ready(name)

    def state(self, name: str) -> str:
        """``active``, ``standby``, or empty when it does not answer."""
        status = jmx(self._port + _HTTP[name], "service=NameNode,name=NameNodeStatus")
        return str(status.get("State", ""))

    def active(self) -> str:
        """The name of the active one."""
        return next(name for name in NAMES if self.state(name) == "active")

    def ensure_active(self) -> None:
        """Have one of them be active, whatever was left behind."""
        if not any(self.state(name) == "active" for name in NAMES):
            self.make_active(NAMES[0])

    def other(self, name: str) -> str:
        """The other one."""
        return next(each for each in NAMES if each != name)

    def kill(self, name: str) -> None:
        """End a NameNode with -9."""
        self.namenodes[name].kill()

    def pause(self, name: str) -> None:
        """Stop a NameNode without ending it: its connections stay open and mute."""
        self.namenodes[name].pause()

    def resume(self, name: str) -> None:
        """Let a paused one go on."""
        self.namenodes[name].signal(signal.SIGCONT)

    def make_active(self, name: str) -> None:
        """Let one take over; the other is dead, standing by, or fenced off by the journal."""
        self._cluster.run(self.conf, HA_ADMIN, "-transitionToActive", "--forceactive", name)
        self.namenodes[name].wait_until(
            lambda: self.state(name) == "active", timeout_s=_START_TIMEOUT_S
        )

    def make_standby(self, name: str) -> None:
        """Let the active one step back: until the other takes over nobody is active."""
        self._cluster.run(self.conf, HA_ADMIN, "-transitionToStandby", name)

    def restart(self, name: str) -> None:
        """Start a NameNode that was killed; it stands by."""
        self.namenodes[name].restart()
        self._wait_ready(name)

    def admin(self, *command: str) -> str:
        """Run ``hdfs dfsadmin``."""
        return self._cluster.run(self.conf, ADMIN, *command)

    def close(self) -> None:
        """End all."""
        self._cluster.close()

    def _wait_ready(self, name: str) -> None:
        self.namenodes[name].wait_until(
            lambda: is_ready(self._port + _HTTP[name]), timeout_s=_START_TIMEOUT_S
        )


@contextmanager
def pair(*, settings: Mapping[str, str] | None = None) -> Iterator[Pair]:
    """Run a pair of the caller's own, to be broken."""
    with (
        tempfile.TemporaryDirectory(prefix="seafloor-hdfs-ha-") as name,
        closing(Pair(Path(name), settings=settings)) as running,
    ):
        running.start()
        yield running


@contextmanager
def service() -> Iterator[Service]:
    """Run a pair for those who only use it; who breaks one takes ``pair``."""
    with pair() as running:
        yield Service(
            name=f"{HADOOP}, an HA pair",
            url=running.url,
            env={"HADOOP_CONF_DIR": str(running.conf)},
            note="viewfs://mounts is its root",
        )
