"""The SQL store beside the model, driven at random."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from seafloor.testing.metadata_store_machine import MetadataStoreMachine
from seafloor.testing.metadata_worlds import open_sql_store, put_sql_metric


class SqlMetadataStoreMachine(MetadataStoreMachine):
    make_store = staticmethod(open_sql_store)
    put_metric = staticmethod(put_sql_metric)


SqlMetadataStoreMachine.TestCase.settings = settings(
    max_examples=50,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
TestSqlMetadataStoreMachine = SqlMetadataStoreMachine.TestCase
