"""Kubernetes 1.20.2, built once per machine from Debian's source package with Debian's Go.

There is no binary of an API server in any registry of packages; Debian's source package has the
whole tree with all it needs, so that the build reaches for nothing else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.services._service import Missing, made_once

VERSION: Final = "1.20.2"
PROGRAMS: Final = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet")

_COMMIT: Final = "faecb196815e248d3ecfb03c680a4507229c2a56"
_SUITE: Final = "bookworm"
_GO: Final = Path("/usr/lib/go-1.19/bin")
_LOWEST_PRIORITY: Final = 19
# Whatever the build and the control plane need, and the package that brings it.
_NEEDED: Final[Mapping[str, str]] = {
    "etcd": "etcd-server",
    "make": "make",
    "rsync": "rsync",
    "dpkg-source": "dpkg-dev",
    "openssl": "openssl",
}


def kubernetes_programs() -> Path:
    """The folder of the programs; four minutes the first time, and 3 GB that it gives back.

    Raises:
        Missing: this machine cannot build them; with what would lift it.
    """
    missing = [package for name, package in _NEEDED.items() if shutil.which(name) is None]
    folder = made_once(f"kubernetes-{VERSION}", lambda folder: _build(folder, missing))
    if shutil.which("etcd") is None:
        raise Missing("apt-get install etcd-server")
    return folder


def _build(folder: Path, missing: Sequence[str]) -> None:
    if not _GO.exists():
        missing = [*missing, "golang-1.19-go"]
    if missing:
        raise Missing(f"apt-get install {' '.join(missing)}")
    work = folder.parent / "work"  # goes when the folder is made
    work.mkdir()
    _tell("fetching the source package")
    tree = _source(work)
    # Where Go expects the tree that it is part of.
    gopath = tree / ".go"
    inside = gopath / "src/k8s.io/kubernetes"
    inside.parent.mkdir(parents=True)
    inside.symlink_to("../../..")
    home = work / "home"
    home.mkdir()
    _tell("building it: three minutes on two free cores, this once")
    what = " ".join(f"cmd/{program}" for program in PROGRAMS)
    _run(["make", f"WHAT={what}"], work / "log", cwd=inside, env=_go(gopath, home))
    for program in PROGRAMS:
        shutil.copy2(tree / "_output/local/go/bin" / program, folder / program)
    _tell("built")


def _source(work: Path) -> Path:
    """Fetch Debian's source with lists of our own: the machine's settings stay as they are."""
    lists, cache, parts = work / "lists", work / "cache", work / "sources"
    for made in (lists / "partial", cache / "archives/partial", parts):
        made.mkdir(parents=True)
    (parts / "source.list").write_text(f"deb-src {_mirror()} {_SUITE} main\n")
    apt = [
        *("apt-get", "-q", "-o", "Dir::Etc::SourceList=/dev/null"),
        *("-o", f"Dir::Etc::SourceParts={parts}", "-o", f"Dir::State::Lists={lists}"),
        *("-o", f"Dir::Cache={cache}", "-o", "APT::Sandbox::User="),
    ]
    log = work / "log"
    try:
        _run([*apt, "update"], log, cwd=work)
        _run([*apt, "source", "--download-only", "kubernetes"], log, cwd=work)
    except RuntimeError as error:
        raise Missing(f"the source package of kubernetes from Debian: {error}") from error
    (described,) = work.glob(f"kubernetes_*{VERSION}*.dsc")
    _run(["dpkg-source", "--no-check", "-x", described.name, "tree"], log, cwd=work)
    return work / "tree"


def _mirror() -> str:
    """Where apt has its packages from."""
    asked = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    sites = [line.split(" ") for line in asked.stdout.splitlines()]
    found = [site for site, release in sites if release == _SUITE]
    if not found:
        raise Missing(f"Kubernetes is built on Debian {_SUITE}, and apt knows no mirror of it")
    return found[0]


def _go(gopath: Path, home: Path) -> dict[str, str]:
    return {
        "GOPATH": str(gopath),
        "HOME": str(home),
        "PATH": f"{_GO}:/usr/bin:/bin",
        "CGO_ENABLED": "0",
        # Nothing here uses providers of clouds, nor docker: a third of what there is to compile.
        "GOFLAGS": "-tags=providerless,dockerless",
        "GOPROXY": "off",
        "FORCE_HOST_GO": "y",
        "KUBE_GIT_VERSION": f"v{VERSION}",
        "KUBE_GIT_COMMIT": _COMMIT,
        "KUBE_GIT_TREE_STATE": "clean",
        "KUBE_GIT_MAJOR": "1",
        "KUBE_GIT_MINOR": "20",
    }


def _run(
    command: Sequence[str], log: Path, *, cwd: Path, env: Mapping[str, str] | None = None
) -> None:
    with log.open("ab") as out:
        ended = subprocess.run(
            ["nice", "-n", str(_LOWEST_PRIORITY), *command],
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if ended.returncode:
        tail = log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}:\n{tail}")


def _tell(what: str) -> None:
    print(f"kubernetes {VERSION}: {what}", file=sys.stderr, flush=True)
