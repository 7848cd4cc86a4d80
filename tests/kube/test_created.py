"""What is made in a cluster while one of its name is on its way out."""

from __future__ import annotations

from typing import Any, cast

import pytest

from seafloor.domain.errors import AlreadyExists, ClusterUnavailable, NotFound
from seafloor.launch.kubernetes.cluster import Cluster
from seafloor.launch.kubernetes.connection import Connection

POD: dict[str, Any] = {"kind": "Pod", "metadata": {"name": "run", "namespace": "ml"}}


class Leaving:
    """A cluster with a pod that goes between a question and the next, some times over.

    Args:
        times: How often.
    """

    url = "https://cluster"

    def __init__(self, times: int) -> None:
        self.times = times
        self.asked: list[str] = []

    async def request(self, method: str, _path: str, **_more: object) -> bytes:
        self.asked.append(method)
        if method == "GET":
            self.times -= 1
            raise NotFound('pods "run" not found')
        if self.times:
            raise AlreadyExists('pods "run" already exists')
        return b"made"


async def test_create__the_one_of_before_goes_meanwhile__is_made() -> None:
    leaving = Leaving(1)
    assert await Cluster(cast("Connection", leaving)).create(POD) == b"made"
    assert leaving.asked == ["POST", "GET", "POST"]


async def test_create__one_that_comes_and_goes__is_to_be_tried_again_later() -> None:
    leaving = Leaving(100)
    with pytest.raises(ClusterUnavailable, match="again and again"):
        await Cluster(cast("Connection", leaving)).create(POD)
    assert leaving.asked == ["POST", "GET"] * 3
