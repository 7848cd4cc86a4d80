"""The SQL store beside the model, driven at random, on every database."""

from __future__ import annotations

from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, settings
from tests.databases import database_in

from conftest import real_service
from seafloor.testing.metadata_store_machine import MetadataStoreMachine
from seafloor.testing.metadata_worlds import open_sql_store, put_sql_metric

_EXAMPLES = {"sqlite": 50, "postgresql": 15, "mariadb": 15}


@pytest.mark.parametrize("kind", _EXAMPLES)
def test_machine__beside_the_model__all_answers_are_equal(kind: str) -> None:
    if kind != "sqlite":
        real_service(kind)  # skips here, where it is known to be a skip

    class Machine(MetadataStoreMachine):
        make_store = staticmethod(open_sql_store)
        put_metric = staticmethod(put_sql_metric)
        prepared = staticmethod(partial(database_in, kind=kind, service=real_service))

    Machine.TestCase.settings = settings(
        max_examples=_EXAMPLES[kind],
        stateful_step_count=40,
        deadline=None,
        # An example takes long there: it is shown as it was found, not made smaller.
        phases=tuple(Phase) if kind == "sqlite" else (Phase.reuse, Phase.generate),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    Machine.TestCase().runTest()
