"""Malicious and broken archives: each is refused with its reason, and leaves nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from archive_corpus import Bad, corpus
from archive_world import Place, sha256_of
from seafloor.code import localize as localizing
from seafloor.code.extract import ExtractRules
from seafloor.code.localize import archive_rules
from seafloor.domain.code import ArchiveCode
from seafloor.domain.errors import InvalidValue, LimitExceeded

CORPUS = list(corpus())
MiB = 1 << 20


def small_rules(source: ArchiveCode) -> ExtractRules:
    """Those of archives, with limits that a test reaches."""
    whole = archive_rules(source)
    return ExtractRules(
        what=whole.what,
        field=whole.field,
        size_bytes_max=32 * MiB,
        files_max=2000,
        ratio_max=whole.ratio_max,
        ratio_free_bytes=8 * MiB,
        links_anywhere=whole.links_anywhere,
    )


def test_corpus__is_large_and_every_case_is_another() -> None:
    assert len(CORPUS) >= 200
    assert len({bad.name for bad in CORPUS}) == len(CORPUS)
    assert len({sha256_of(bad.make()[0]) for bad in CORPUS}) > 0.97 * len(CORPUS)


@pytest.mark.parametrize("bad", CORPUS, ids=lambda bad: bad.name)
def test_localize__bad_archive__is_refused_with_its_reason_and_leaves_nothing(
    bad: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localizing, "archive_rules", small_rules)
    content, reason = bad.make()
    place = Place(tmp_path / "place")
    path = tmp_path / "kept" / "digits.bin"
    path.parent.mkdir()
    path.write_bytes(content)
    (tmp_path / "place").mkdir()
    outside = _outside(tmp_path)
    source = ArchiveCode(path.as_uri(), "digits", sha256=sha256_of(content))

    with pytest.raises((InvalidValue, LimitExceeded)) as raised:
        place.localize(source)

    assert re.search(reason, raised.value.message), raised.value.message
    assert path.as_uri() in raised.value.message
    assert place.names() == {".localize.lock"}
    assert _outside(tmp_path) == outside


def _outside(root: Path) -> set[str]:
    """What lies where an archive could write to, if it wrote outside its folder."""
    near = {str(path) for path in root.rglob("evil*")}
    tops = {path.name for path in root.iterdir() if path.name != "place"}
    return near | tops | {str(path) for path in Path("/tmp").glob("evil*")}
