"""Secrets in a folder: who can read them, what is refused, and what Kubernetes mounts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from seafloor.domain.errors import InvalidValue, LimitExceeded, NotFound, StoreError
from seafloor.domain.secrets import VALUE_BYTES_MAX
from seafloor.stores.secrets.folder import FolderSecrets


@pytest.fixture
def kept(tmp_path: Path) -> FolderSecrets:
    return FolderSecrets(tmp_path / "data" / "secrets")


def test_put__then_get__gives_the_bytes_to_us_alone(kept: FolderSecrets, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        kept.put("forge", "token", b"one\n")
        kept.put("forge", "token", b"\0two")
        kept.put("forge", "ca.crt", b"x")
    finally:
        os.umask(before)
    assert dict(kept.get("forge")) == {"ca.crt": b"x", "token": b"\0two"}
    root = tmp_path / "data" / "secrets"
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root, *root.rglob("*"))}
    assert modes == {"secrets": 0o700, "forge": 0o700, "token": 0o600, "ca.crt": 0o600}
    assert kept.list() == {"forge": ("ca.crt", "token")}


def test_remove__key_by_key__the_last_takes_the_secret(kept: FolderSecrets) -> None:
    for key in ("a", "b"):
        kept.put("forge", key, b"x")
    kept.remove("forge", "a")
    assert kept.list() == {"forge": ("b",)}
    kept.remove("forge", "b")
    assert kept.list() == {}
    kept.put("forge", "a", b"x")
    kept.remove("forge")
    with pytest.raises(NotFound, match="seafloor secret set forge"):
        kept.get("forge")
    with pytest.raises(NotFound):
        kept.remove("forge")


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "A", "/etc", "a\0b"])
def test_put__name_that_is_none__is_refused(kept: FolderSecrets, name: str) -> None:
    for call in (lambda: kept.get(name), lambda: kept.put(name, "k", b"v")):
        with pytest.raises(InvalidValue):
            call()
    assert kept.list() == {}


@pytest.mark.parametrize("key", ["", "..", ".data", "a/b", "a\nb", "k" * 254])
def test_put__key_that_is_none__is_refused(kept: FolderSecrets, key: str) -> None:
    with pytest.raises(InvalidValue):
        kept.put("forge", key, b"v")
    assert kept.list() == {}


def test_put__value_of_no_size_or_too_much__is_refused(kept: FolderSecrets) -> None:
    with pytest.raises(InvalidValue):
        kept.put("forge", "k", b"")
    with pytest.raises(LimitExceeded):
        kept.put("forge", "k", b"x" * (VALUE_BYTES_MAX + 1))
    assert kept.list() == {}


def test_get__as_kubernetes_mounts_it__is_read_through_its_links(
    kept: FolderSecrets, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / "secrets" / "mounted"
    real = folder / "..2026_11_28"
    real.mkdir(parents=True)
    (real / "token").write_bytes(b"v")
    (folder / "..data").symlink_to(real.name)
    (folder / "token").symlink_to("..data/token")
    assert dict(kept.get("mounted")) == {"token": b"v"}
    assert kept.list() == {"mounted": ("token",)}


def test_get__cannot_be_read__is_told_without_a_value(kept: FolderSecrets, tmp_path: Path) -> None:
    kept.put("forge", "token", b"value")
    (tmp_path / "data" / "secrets" / "forge" / "loop").symlink_to("loop")
    assert dict(kept.get("forge")) == {"token": b"value"}
    (tmp_path / "data" / "secrets" / "other").write_bytes(b"no folder")
    with pytest.raises(NotFound):
        kept.get("other")
    with pytest.raises(StoreError, match='secret "other"'):
        kept.put("other", "k", b"v")
