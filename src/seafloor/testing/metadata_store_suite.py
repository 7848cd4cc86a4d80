"""What every metadata store must do. Subclass ``MetadataStoreSuite`` and give ``make_store``.

Searches are in ``metadata_search_suite``; stores that outlive their process subclass
``DurableMetadataStoreSuite`` too.
"""

from __future__ import annotations

import pytest

from seafloor.domain.errors import (
    StoreUnavailable,
)
from seafloor.stores.metadata.protocol import MetadataStore
from seafloor.testing.metadata_experiment_cases import (
    EnvironmentCases,
    ExperimentCases,
    ProjectCases,
)
from seafloor.testing.metadata_model_cases import ManifestCases, ModelCases
from seafloor.testing.metadata_run_cases import AttemptCases, LabelCases, WorkloadCases
from seafloor.testing.metadata_task_cases import TaskCases
from seafloor.testing.metadata_trace_cases import (
    TraceCases,
    TraceEndCases,
    TraceSearchCases,
)
from seafloor.testing.metadata_trace_content_cases import TraceContentCases
from seafloor.testing.metadata_volume_cases import VolumeCases


class MetadataStoreSuite(
    ProjectCases,
    ExperimentCases,
    WorkloadCases,
    AttemptCases,
    LabelCases,
    EnvironmentCases,
    ModelCases,
    TraceCases,
    TraceEndCases,
    TraceSearchCases,
    TraceContentCases,
    ManifestCases,
    TaskCases,
    VolumeCases,
):
    """True of every metadata store."""

    async def test_check__open__answers(self, store: MetadataStore) -> None:
        await store.check()

    async def test_close__twice__then_nothing_is_answered(self, store: MetadataStore) -> None:
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable):
            await store.check()
