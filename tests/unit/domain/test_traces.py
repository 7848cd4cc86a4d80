"""Traces that were made elsewhere: what of them is refused."""

from __future__ import annotations

import pytest

from seafloor.domain.errors import InvalidValue
from seafloor.domain.traces import check_trace
from seafloor.testing.metadata_records import assessment, trace


def test_trace__with_two_assessments_of_one_id__is_refused() -> None:
    check_trace(trace(assessments=(assessment(1), assessment(2))))
    with pytest.raises(InvalidValue, match="same id"):
        check_trace(trace(assessments=(assessment(1), assessment(1, name="other"))))
