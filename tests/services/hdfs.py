"""HDFS: a real NameNode and a DataNode."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tests.services._hadoop import DATANODE, HADOOP, NAMENODE, Cluster, is_ready
from tests.services._service import Service, free_port

_HTTP, _DN_HTTP, _DN_DATA, _DN_IPC = 1, 2, 3, 4


@contextmanager
def service() -> Iterator[Service]:
    """Run an empty file system whose superuser is whoever runs the tests."""
    port = free_port(offsets=range(5))
    url = f"hdfs://127.0.0.1:{port}"
    with (
        tempfile.TemporaryDirectory(prefix="seafloor-hdfs-") as name,
        closing(Cluster(Path(name))) as cluster,
    ):
        conf = cluster.configure(
            "conf",
            core={
                "fs.defaultFS": url,
                "fs.viewfs.mounttable.mounts.linkFallback": f"{url}/",
            },
            hdfs={
                "dfs.namenode.name.dir": f"file://{name}/nn",
                "dfs.datanode.data.dir": f"file://{name}/dn",
                "dfs.namenode.http-address": f"127.0.0.1:{port + _HTTP}",
                "dfs.datanode.http.address": f"127.0.0.1:{port + _DN_HTTP}",
                "dfs.datanode.address": f"127.0.0.1:{port + _DN_DATA}",
                "dfs.datanode.ipc.address": f"127.0.0.1:{port + _DN_IPC}",
            },
        )
        cluster.run(conf, NAMENODE, "-format", "-nonInteractive")
        namenode = cluster.start(conf, "namenode", NAMENODE)
        cluster.start(conf, "datanode", DATANODE)
        namenode.wait_until(lambda: is_ready(port + _HTTP))
        yield Service(
            name=HADOOP,
            url=url,
            env={"HADOOP_CONF_DIR": str(conf)},
            note="viewfs://mounts is its root; HADOOP_USER_NAME says who you are",
        )
