"""Settings as they are shown: what is in effect, and no password."""

from __future__ import annotations

from pathlib import Path

import pytest

from seafloor.boot.settings import load


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
