"""How long a connection may be idle."""

from __future__ import annotations

from seafloor.boot.serve import KEEP_ALIVE_S


def test_keep_alive__of_an_idle_connection__is_minutes() -> None:
    """mlflow's client does not send a creation again when its idle connection was closed.

    Between two calls of a training lie minutes; uvicorn's own five seconds would end it.
    """
    assert KEEP_ALIVE_S >= 300
