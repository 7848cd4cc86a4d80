"""What databases say, in our words: what passes is told to be repeated, and nothing is a bug."""

from __future__ import annotations

import pytest

from seafloor.domain.errors import SeafloorError, StoreError, StoreUnavailable
from seafloor.stores.metadata.sql import mariadb, postgresql


class Refused(Exception):
    """An error of a driver: its number stands first, or in ``sqlstate``."""

    sqlstate: str | None = None


@pytest.mark.parametrize("code", [1037, 1038, 1041, 1180, 1205, 1206, 1213, 1637, 1969, 3024])
def test_mariadb__what_passes__is_to_be_repeated(code: int) -> None:
    error = mariadb.meaning(Refused(code, "said"), "detail")
    assert isinstance(error, StoreUnavailable)
    assert error.retry_after_s


@pytest.mark.parametrize("code", [1045, 1129, 1130, 1142, 1146, 1820, 1862, 3118, 4151])
def test_mariadb__what_an_operator_mends__says_what(code: int) -> None:
    assert_says_what(mariadb.meaning(Refused(code, "said"), "detail"))


@pytest.mark.parametrize("state", ["28P01", "3D000", "42501", "42P01", "53400"])
def test_postgresql__what_an_operator_mends__says_what(state: str) -> None:
    refused = Refused("said")
    refused.sqlstate = state
    assert_says_what(postgresql.meaning(refused, "detail"))


def assert_says_what(error: SeafloorError) -> None:
    assert isinstance(error, StoreError)
    assert ":" in error.message, error.message
