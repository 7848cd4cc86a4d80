"""A real Hadoop 2.7.4 without its distribution: the jars, and a folder in which daemons run.

PySpark's last sdist with the servers' jars has nearly all of it; Debian has the two missing pieces
(Jersey 1, commons-daemon). It runs on Java 17 with a few modules opened.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
import tarfile
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from tests.services._service import Daemon, Missing, made_once

HADOOP = "Hadoop 2.7.4"
NAMENODE = "org.apache.hadoop.hdfs.server.namenode.NameNode"
DATANODE = "org.apache.hadoop.hdfs.server.datanode.DataNode"
JOURNALNODE = "org.apache.hadoop.hdfs.qjournal.server.JournalNode"
HA_ADMIN = "org.apache.hadoop.hdfs.tools.DFSHAAdmin"
ADMIN = "org.apache.hadoop.hdfs.tools.DFSAdmin"

_PYSPARK = "3.0.1"
_JARS = (
    *("hadoop-hdfs-2", "hadoop-common-2", "hadoop-auth-2", "hadoop-annotations-2", "jetty-6"),
    *("jetty-util-6", "jetty-sslengine-6", "guava-14", "protobuf-java-2", "htrace-core-3.1"),
    *("javax.servlet-api-3.1", "netty-all-4.1", "xercesImpl", "xml-apis", "leveldbjni"),
    *("commons-cli-1.2", "commons-codec", "commons-collections-3", "commons-compress"),
    *("commons-configuration", "commons-digester", "commons-beanutils", "commons-io"),
    *("commons-lang-2", "commons-lang3", "commons-logging", "commons-math3", "commons-net"),
    *("commons-httpclient", "log4j-1.2", "slf4j-api", "slf4j-log4j12", "jackson-core-asl"),
    *("jackson-mapper-asl", "xmlenc", "apacheds-i18n", "apacheds-kerberos-codec", "api-asn1"),
    *("api-util", "curator-client", "curator-framework", "curator-recipes", "zookeeper", "gson"),
    *("httpclient-4", "httpcore-4", "stax-api", "activation", "jaxb-api"),
)
_DEBIAN_JARS = ("commons-daemon", "jersey1-core", "jersey1-server", "jersey1-servlet", "jsr311-api")
_DEBIAN = Path("/usr/share/java")
_WEB_PARTS = ("hdfs", "datanode", "secondary", "journal", "static")
_OPENED = (
    *(f"java.base/{name}" for name in ("java.lang", "java.util", "java.nio", "java.net")),
    *("java.base/sun.nio.ch", "java.base/java.io", "java.security.jgss/sun.security.krb5"),
)
_LOG4J = """\
log4j.rootLogger=INFO,c
log4j.appender.c=org.apache.log4j.ConsoleAppender
log4j.appender.c.target=System.err
log4j.appender.c.layout=org.apache.log4j.PatternLayout
log4j.appender.c.layout.ConversionPattern=%d %p %c{2}: %m%n
"""

SETTINGS: Mapping[str, str] = {
    "dfs.replication": "1",
    "dfs.namenode.datanode.registration.ip-hostname-check": "false",
    "dfs.namenode.safemode.extension": "0",
    "dfs.namenode.safemode.min.datanodes": "1",
    "dfs.namenode.acls.enabled": "true",
    # State lies in a temporary folder and outlives its daemons, killed or not, but no machine.
    "dfs.namenode.edits.noeditlogchannelflush": "true",
    "dfs.heartbeat.interval": "1",
    "dfs.namenode.handler.count": "32",
}
"""What all clusters of the tests are set to (hdfs-site.xml)."""


class Cluster:
    """A folder with what Hadoop's programs need, and ways to run them.

    Args:
        folder: Of the cluster's own; it exists.

    Raises:
        Missing: Java or Debian's jars are not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemons: list[Daemon] = []
        self._jars = _jars()
        for part in _WEB_PARTS:
            web = folder / "webroot/webapps" / part / "WEB-INF"
            web.mkdir(parents=True)
            (web / "web.xml").write_text("<web-app/>")

    def configure(self, name: str, *, core: Mapping[str, str], hdfs: Mapping[str, str]) -> Path:
        """Write a folder of settings, as HADOOP_CONF_DIR names one."""
        conf = self.folder / name
        conf.mkdir()
        (conf / "core-site.xml").write_text(_site(core))
        (conf / "hdfs-site.xml").write_text(_site({**SETTINGS, **hdfs}))
        (conf / "log4j.properties").write_text(_LOG4J)
        return conf

    def run(self, conf: Path, *command: str) -> str:
        """Run a program to its end and give its output; RuntimeError when it fails."""
        ran = subprocess.run(
            [*self._java(conf), *command], capture_output=True, text=True, check=False, timeout=120
        )
        if ran.returncode:
            raise RuntimeError(f"{command} ended with {ran.returncode}:\n{ran.stderr[-3000:]}")
        return ran.stdout + ran.stderr

    def start(self, conf: Path, name: str, *command: str) -> Daemon:
        """Start a daemon; ``close`` ends it."""
        running = Daemon([*self._java(conf), *command], self.folder / f"{name}.log")
        self.daemons.append(running)
        return running

    def close(self) -> None:
        """End all daemons."""
        for running in reversed(self.daemons):
            running.kill()

    def _java(self, conf: Path) -> list[str]:
        opened: list[str] = []
        for package in _OPENED:
            opened += ["--add-opens", f"{package}=ALL-UNNAMED"]
        opened += ["--add-exports", "java.security.jgss/sun.security.krb5=ALL-UNNAMED"]
        return [
            *("java", "-Xmx384m", "-XX:+UseSerialGC", "-XX:-UsePerfData"),
            # They live for minutes: a second compiler takes more than its code saves.
            "-XX:TieredStopAtLevel=1",
            *("-Djava.net.preferIPv4Stack=true", f"-Dhadoop.log.dir={self.folder}", *opened),
            *("-cp", f"{conf}:{self.folder / 'webroot'}:{self._jars}/*"),
        ]


def jmx(port: int, bean: str) -> dict[str, Any]:
    """What a daemon says of itself; empty while it does not answer."""
    url = f"http://127.0.0.1:{port}/jmx?qry=Hadoop:{bean}"
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            beans: list[dict[str, Any]] = json.load(answer)["beans"]
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    return beans[0] if beans else {}


def is_ready(http_port: int) -> bool:
    """Whether a NameNode has a DataNode and takes writes."""
    state = jmx(http_port, "service=NameNode,name=FSNamesystemState")
    return state.get("NumLiveDataNodes") == 1 and state.get("FSState") == "Operational"


def _site(settings: Mapping[str, str]) -> str:
    properties = "".join(
        f"<property><name>{escape(name)}</name><value>{escape(value)}</value></property>\n"
        for name, value in settings.items()
    )
    return f"<configuration>\n{properties}</configuration>\n"


def _jars() -> Path:
    if shutil.which("java") is None:
        raise Missing("apt-get install default-jre-headless")
    missing = [name for name in _DEBIAN_JARS if not (_DEBIAN / f"{name}.jar").exists()]
    if missing:
        raise Missing(
            "apt-get install libjersey1-core-java libjersey1-server-java "
            f"libjersey1-servlet-java libcommons-daemon-java (no {', '.join(missing)}.jar)"
        )
    return made_once(f"hadoop-2.7.4-pyspark-{_PYSPARK}", _collect)


def _collect(folder: Path) -> None:
    """Fill a folder with the jars."""
    wanted = tuple(f"pyspark-{_PYSPARK}/deps/jars/{name}" for name in _JARS)
    download = folder.parent / "download"
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
    fetched = subprocess.run(
        [*command, "-d", str(download), f"pyspark=={_PYSPARK}"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    if fetched.returncode:
        raise Missing(f"pyspark {_PYSPARK}'s sdist (204 MB) from PyPI: {fetched.stderr[-500:]}")
    with tarfile.open(download / f"pyspark-{_PYSPARK}.tar.gz") as archive:
        for member in archive:
            if member.isfile() and member.name.startswith(wanted) and member.name.endswith(".jar"):
                content = archive.extractfile(member)
                assert content is not None
                with (folder / Path(member.name).name).open("wb") as jar:
                    shutil.copyfileobj(content, jar)
    for name in _DEBIAN_JARS:
        shutil.copyfile(_DEBIAN / f"{name}.jar", folder / f"{name}.jar")
