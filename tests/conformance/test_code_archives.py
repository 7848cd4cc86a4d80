"""One archive in every place: the same content, the same layout, a receipt of what lies there."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from tests.services._service import Service
from tests.services.gcs import make_bucket

from archive_world import (
    ArchiveServer,
    Place,
    Served,
    expected_tree,
    make_archive,
    sha256_of,
)
from git_world import LAYOUT, tree_of
from seafloor.boot.archives import remote_opener
from seafloor.code.archive import ArchiveRequest, resolve_archive
from seafloor.domain.code import ArchiveCode, SyncMode
from seafloor.domain.errors import SourceError
from seafloor.stores.objects.open import open_objects

MODES = {
    "s3": SyncMode.S3,
    "gcs": SyncMode.GS,
    "azure": SyncMode.ABFS,
    "hdfs": SyncMode.HDFS,
    "http": SyncMode.HTTP,
    "file": SyncMode.FILE,
}


class Store:
    """A place that archives lie in."""

    def __init__(self, url: str, mode: SyncMode, variables: dict[str, str]) -> None:
        self.url = url
        self.mode = mode
        self.variables = variables
        self.server: ArchiveServer | None = None

    def put(self, name: str, content: bytes) -> None:
        if self.server is not None:
            self.server.files[f"/{name}"] = Served(content, etag=f'"{sha256_of(content)[:8]}"')
        elif self.mode is SyncMode.FILE:
            path = Path(self.url.removeprefix("file://"), name)
            path.unlink(missing_ok=True)
            path.write_bytes(content)
        else:
            asyncio.run(self._put(name, content))

    async def _put(self, name: str, content: bytes) -> None:
        store = open_objects(self.url, self.variables)
        await store.put(name, content)
        await store.close()

    def resolve(self, name: str, sha256: str | None = None) -> ArchiveCode:
        request = ArchiveRequest(f"{self.url}/{name}", self.mode, sha256)
        return resolve_archive(request, remote_opener(self.variables))


@pytest.fixture(params=list(MODES))
def store(
    request: pytest.FixtureRequest, service: Callable[[str], Service], tmp_path: Path
) -> Iterator[Store]:
    kind: str = request.param
    folder = uuid.uuid4().hex
    with contextlib.ExitStack() as stack:
        if kind == "file":
            (tmp_path / "kept").mkdir()
            yield Store((tmp_path / "kept").as_uri(), MODES[kind], {})
        elif kind == "http":
            server = stack.enter_context(ArchiveServer())
            made = Store(server.url, MODES[kind], {})
            made.server = server
            yield made
        else:
            running = service(kind)
            url = running.url.replace("az://", "abfs://")
            if kind == "gcs":
                make_bucket(running.env["STORAGE_EMULATOR_HOST"], f"b{folder}")
                url = f"gs://b{folder}"
            yield Store(f"{url}/{folder}", MODES[kind], running.env)


@pytest.mark.parametrize("form", ["tar.gz", "zip"])
def test_localize__archive_in_every_place__is_the_same_folder_with_a_receipt(
    store: Store, form: str, tmp_path: Path
) -> None:
    content = make_archive(form)
    store.put(f"digits.{form}", content)
    place = Place(tmp_path / "place", store.variables)

    source = store.resolve(f"digits.{form}")
    receipt = place.localize(source)

    assert source.folder == "digits"
    assert source.size_bytes == len(content)
    assert tree_of(place.code / "digits") == expected_tree()
    assert place.names() == LAYOUT
    assert (receipt.kind, receipt.url) == ("archive", f"{store.url}/digits.{form}")
    assert (receipt.sha256, receipt.etag) == (sha256_of(content), source.etag)
    assert not receipt.cached
    assert place.localize(source, code=tmp_path / "again").cached


def test_localize__archive_that_changed_since_submission__is_refused_with_both_values(
    store: Store, tmp_path: Path
) -> None:
    store.put("digits.tar.gz", make_archive("tar.gz"))
    source = store.resolve("digits.tar.gz")
    store.put("digits.tar.gz", make_archive("tar.gz", {"other.py": b"other"}))
    place = Place(tmp_path / "place", store.variables)

    with pytest.raises(SourceError, match="has changed since the run was submitted") as raised:
        place.localize(source)

    now = store.resolve("digits.tar.gz")
    for said in (source.etag, now.etag, f"{source.size_bytes} bytes", f"{now.size_bytes} bytes"):
        assert said is not None
        assert said in raised.value.message
    assert place.names() == {".localize.lock"}
    assert place.localize(now).files == 2


def test_localize__archive_of_another_sha256__is_refused_with_both_values(
    store: Store, tmp_path: Path
) -> None:
    content = make_archive("tar.gz")
    store.put("digits.tar.gz", content)
    place = Place(tmp_path / "place", store.variables)
    wrong = sha256_of(b"something else")

    with pytest.raises(SourceError) as raised:
        place.localize(store.resolve("digits.tar.gz", wrong))

    assert wrong in raised.value.message
    assert sha256_of(content) in raised.value.message
    assert store.url in raised.value.message
    assert place.names() == {".localize.lock"}
    # What it is known by is its content: it may be put there again, whenever and as often.
    source = store.resolve("digits.tar.gz", sha256_of(content))
    assert place.localize(msgspec.structs.replace(source, etag="another")).files == 6


def test_resolve_archive__nothing_there__says_so_with_the_address(store: Store) -> None:
    with pytest.raises(SourceError) as raised:
        store.resolve("missing.tar.gz")

    assert f"{store.url}/missing.tar.gz".removeprefix("file://") in raised.value.message
    assert raised.value.field == "code.url"
