"""Settings as they are shown: what is in effect, and no password."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from seafloor.boot.settings import load
from seafloor.code.cache_bounds import CacheBounds
from seafloor.domain.errors import InvalidValue


@pytest.mark.parametrize(
    ("variables", "metadata", "objects"),
    [
        ({}, "sqlite:///{data}/seafloor.db", "file://{data}/objects"),
        (
            {
                "SEAFLOOR_STORES__METADATA": "postgresql://ann:secret@db/seafloor",
                "SEAFLOOR_STORES__OBJECTS": "s3://bucket/place",
            },
            "postgresql://ann:***@db/seafloor",
            "s3://bucket/place",
        ),
    ],
)
def test_shown__stores__are_where_things_are_kept(
    tmp_path: Path, variables: dict[str, str], metadata: str, objects: str
) -> None:
    settings = load(data_dir=tmp_path, flags={}, variables=variables)
    shown = settings.shown()
    assert shown["stores.metadata"]["value"] == metadata.format(data=tmp_path)
    assert shown["stores.objects"]["value"] == objects.format(data=tmp_path)
    assert (shown["stores.objects"]["origin"] == "default") == (not variables)
    assert "ann:secret" not in str(shown)


def test_load__how_much_code_is_kept__is_said_in_gib_and_0_is_no_limit(tmp_path: Path) -> None:
    (tmp_path / "seafloor.toml").write_text("[code]\narchives_size_max_gib = 0.5\n")
    variables = {"SEAFLOOR_CODE__GIT_SIZE_MAX_GIB": "2", "SEAFLOOR_CODE__TREES_SIZE_MAX_GIB": "0"}
    settings = load(data_dir=tmp_path, flags={}, variables=variables)
    assert settings.code.bounds == CacheBounds(
        git_bytes=2 << 30, archive_bytes=1 << 29, tree_bytes=sys.maxsize
    )
    shown = settings.shown()["code.git_size_max_gib"]
    assert shown == {"value": 2.0, "origin": "SEAFLOOR_CODE__GIT_SIZE_MAX_GIB"}


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "-inf"])
@pytest.mark.parametrize("name", ["CODE__GIT_SIZE_MAX_GIB", "LAUNCH__RECONCILE_INTERVAL_S"])
def test_load__number_that_is_no_amount__is_refused(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(InvalidValue, match=f"SEAFLOOR_{name}: .* must be 0 or more, not"):
        load(data_dir=tmp_path, flags={}, variables={f"SEAFLOOR_{name}": value})
