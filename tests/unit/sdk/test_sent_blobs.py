"""The bytes of what many records refer to are sent once."""

from __future__ import annotations

import hashlib
from pathlib import Path
from unittest import mock

import pytest

from scripted_server import Answer, Asked, ScriptedServer
from seafloor.domain.errors import StoreUnavailable
from seafloor.domain.ids import Sha256
from seafloor.domain.media import Blob, Image, MediaRecord
from seafloor.sdk import media
from seafloor.sdk.client import Client
from seafloor.sdk.courier import Account, Courier, Parcel
from seafloor.sdk.media import SentBlobs
from seafloor.sdk.transport import TransportOptions
from seafloor.sdk.wal import LoggedMedia

ONCE = TransportOptions(connect_s=60.0, read_s=60.0, repeat_s=0.0)
RUN_ID = "0" * 32


def blob_of(data: bytes) -> Blob:
    return Blob(Sha256(hashlib.sha256(data).hexdigest()), "png", len(data))


def taking(asked: Asked) -> Answer:
    if asked.method == "PUT":
        sha256, format_ = asked.path.rpartition("/")[2].split(".")
        size_bytes = len(asked.body)
        stored = {"sha256": sha256, "format": format_, "size_bytes": size_bytes, "created": True}
        return Answer(200, stored)
    return Answer(200, {"records_written": 1, "records_repeated": 0})


def put_bodies(server: ScriptedServer) -> list[bytes]:
    return [asked.body for asked in server.asked if asked.method == "PUT"]


@pytest.fixture
def client(scripted: ScriptedServer) -> Client:
    scripted.answer = taking
    return Client(scripted.url, "", options=ONCE)


def test_bring__one_picture_at_many_steps__is_sent_once(
    scripted: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    courier = Courier(client, RUN_ID, tmp_path, Account())
    (tmp_path / "large").write_bytes(b"large")

    def parcel(first: int) -> Parcel:
        made = Parcel()
        for step in range(first, first + 3):
            for data, kept in ((b"small", b"small"), (b"large", None)):
                record = MediaRecord("a", step, 1, Image(1, 1), blob_of(data))
                made.media.append(LoggedMedia(record, kept, None if kept else "large"))
        return made

    courier.bring(parcel(0))
    courier.bring(parcel(3))
    assert put_bodies(scripted) == [b"small", b"large"]
    appended = [asked.json for asked in scripted.asked if asked.method == "POST"]
    steps = [record["step"] for one in appended for record in one["records"]]
    assert steps == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert courier.account.media == 12


def test_put__refused__is_sent_again(scripted: ScriptedServer, client: Client) -> None:
    blobs = SentBlobs(client.media, RUN_ID)
    scripted.answer = lambda _asked: Answer(503)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            blobs.put(blob_of(b"a").name, b"a")
    scripted.answer = taking
    for _ in range(2):
        blobs.put(blob_of(b"a").name, b"a")
    assert put_bodies(scripted) == [b"a"] * 3


def test_put__more_than_are_remembered__the_oldest_is_sent_once_more(
    scripted: ScriptedServer, client: Client
) -> None:
    with mock.patch.object(media, "_NAMES_MAX", 2):
        blobs = SentBlobs(client.media, RUN_ID)
        for data in (b"a", b"b", b"b", b"c", b"c", b"a"):
            blobs.put(blob_of(data).name, data)
    assert put_bodies(scripted) == [b"a", b"b", b"c", b"a"]
