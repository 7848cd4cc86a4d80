"""Rendered runs as Pods of podman: in every CI run, also where no cluster can be.

The same Pods run on a node in ``tests/kube/cluster``. Podman knows neither groups of file systems
nor networks of pods: containers have this machine's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.kube.coded_runs import EXIT_CODE, SOURCES, CodedRuns, coded_runs
from tests.services._podman import Podman
from tests.services._seafloor_image import seafloor_image
from tests.services._service import Missing, Service

from missing import skip_missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
USER = 54_321


class Pods:
    """Pods of podman, removed with what belongs to them.

    Args:
        podman: What runs them.
        folder: Of the test's own.
    """

    def __init__(self, podman: Podman, folder: Path) -> None:
        self._podman, self._folder = podman, folder
        self._pods: list[str] = []
        self._secrets: list[str] = []

    def add_secret(self, secret: dict[str, Any]) -> None:
        """Keep a Secret in the form in which this podman reads it."""
        name, file = secret["metadata"]["name"], self._folder / "secret.json"
        file.write_text(json.dumps(secret["data"]))
        self._podman.run("secret", "create", name, str(file))
        self._secrets.append(name)

    def run(self, manifest: dict[str, Any]) -> tuple[int, str, str]:
        """Run a Pod to its end; give its exit code, its output, and why it did not start."""
        # Podman 4.3 refuses annotations of more than 63 characters, which are usual.
        metadata = {**manifest["metadata"], "annotations": {}}
        file = self._folder / "pod.yaml"
        file.write_text(json.dumps({**manifest, "metadata": metadata}))
        name = metadata["name"]
        self._pods.append(name)
        played = self._podman.run("kube", "play", "--network=host", str(file), check=False)
        if played.returncode:
            return played.returncode, "", played.stderr
        code = self._podman.run("wait", f"{name}-main").stdout
        return int(code), self._podman.run("logs", f"{name}-main").stdout, ""

    def close(self) -> None:
        """Remove them."""
        for name in self._pods:
            self._podman.run("pod", "rm", "--force", "--time=0", name, check=False)
        for name in self._secrets:
            self._podman.run("secret", "rm", name)


@pytest.fixture(scope="module")
def podman() -> Podman:
    try:
        return seafloor_image()[0]
    except Missing as error:
        skip_missing("containers", error)


@pytest.fixture(scope="module")
def runs(
    podman: Podman, service: Callable[[str], Service], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CodedRuns]:
    """Servers of code, which containers with this machine's network reach as we do."""
    _, name = seafloor_image()
    digest = podman.run("image", "inspect", "--format={{.Digest}}", name).stdout.strip()
    image = f"{name.rpartition(':')[0]}@{digest}"
    with coded_runs(
        tmp_path_factory.mktemp("coded"),
        host="127.0.0.1",
        image=image,
        seafloor=image,
        service=service,
    ) as made:
        yield made


@pytest.fixture
def pods(podman: Podman, tmp_path: Path) -> Iterator[Pods]:
    made = Pods(podman, tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("source", SOURCES)
def test_run__its_code_from_each_source__is_what_the_source_has(
    runs: CodedRuns, pods: Pods, source: str
) -> None:
    manifests = runs.render(runs.run(source), security={"run_as_user": USER, "fs_group": USER})
    pods.add_secret(runs.secret())
    code, printed, said = pods.run(manifests[-1])
    assert code == EXIT_CODE, said or printed
    runs.check(source, printed, user=USER)


def test_run__its_code_is_not_there__does_not_start(runs: CodedRuns, pods: Pods) -> None:
    spec = runs.run("archive")
    spec["experiment"]["code"]["sha256"] = "0" * 64
    pods.add_secret(runs.secret())
    code, printed, said = pods.run(runs.render(spec)[-1])
    assert (code != 0, printed) == (True, ""), said
    print(said)
