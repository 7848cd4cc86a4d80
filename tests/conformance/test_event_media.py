"""Media of tf.events files: as each kind of writer writes them, each record once."""

from __future__ import annotations

import io
import wave
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import HistogramProto, Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto

from seafloor.domain.errors import StoreUnavailable
from seafloor.domain.media import BINS_MAX, Audio, Histogram, Image, MediaRecord, Text
from seafloor.sdk.logged_media import take_audio, take_image
from seafloor.stores.events import media as event_media
from seafloor.stores.events.media import EventMedia
from seafloor.stores.events.protocol import EventFileKey
from seafloor.stores.events.tfrecord import encode_frame
from seafloor.stores.media.protocol import MediaQuery
from seafloor.stores.media.store import ObjectMediaStore
from seafloor.stores.objects.local import LocalObjectStore
from seafloor.testing.event_worlds import SharedEventWorld, SpoolEventWorld
from seafloor.testing.media_store_suite import ONE, all_of, bytes_of
from seafloor.testing.object_fault import Fault, FaultObjectStore, Moment, Operation

KEY = EventFileKey(ONE, 1, "train/events.out")
PNG = take_image(np.arange(24, dtype=np.uint8).reshape(2, 4, 3)).data or b""
WAV = take_audio([0.0, 0.5] * 400, 8_000).data or b""


class World:
    """Event files and media in one folder."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.events = (SpoolEventWorld if kind == "spool" else SharedEventWorld)(folder)
        self.objects = FaultObjectStore(LocalObjectStore(folder / "media"))
        self.store = ObjectMediaStore(self.events.below.database, self.objects)
        self.restart()

    def restart(self) -> None:
        """Forget how far was read."""
        self.reader = EventMedia(self.events.store, self.store)

    async def send(self, content: bytes, piece_bytes: int = 1 << 20) -> None:
        """Append a file as an agent does: what fails is sent again."""
        for at in range(0, len(content), piece_bytes):
            piece = content[at : at + piece_bytes]
            while True:
                await self.events.store.append(KEY, offset=at, data=piece)
                try:
                    await self.reader.catch_up(KEY)
                except StoreUnavailable:
                    continue
                break

    async def records(self, tag: str) -> list[MediaRecord]:
        return await all_of(self.store, MediaQuery(f"train/{tag}"))


@pytest.fixture(params=["spool", "shared"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    world = World(tmp_path, request.param)
    await world.events.open()
    yield world
    await world.objects.close()
    await world.events.close()


def framed(*values: Summary.Value, step: int = 3, wall_time: float = 1_700_000_000.5) -> bytes:
    """A record of a file."""
    event = Event(wall_time=wall_time, step=step, summary=Summary(value=values))
    return encode_frame(event.SerializeToString())


def tensor_value(tag: str, plugin: str, **tensor: object) -> Summary.Value:
    """A value as TensorFlow 2 writes it."""
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin))
    return Summary.Value(tag=tag, metadata=metadata, tensor=TensorProto(**tensor))


def written_by_tensorboardx(folder: Path) -> bytes:
    with SummaryWriter(str(folder)) as writer:
        for step in range(3):
            writer.add_scalar("loss", 1.0, step)
            writer.add_histogram("weights", np.linspace(-1, 1, 1_000) * (step + 1), step)
            writer.add_text("note", f"said {step}", step)
            image = Summary.Image(height=2, width=4, colorspace=3, encoded_image_string=PNG)
            summary = Summary(value=[Summary.Value(tag="picture", image=image)])
            writer.file_writer.add_summary(summary, step)
    (file,) = folder.iterdir()
    return file.read_bytes()


@pytest.mark.parametrize("piece_bytes", [1 << 20, 700])
async def test_read__a_file_of_summary_writer__is_there_once(
    world: World, tmp_path: Path, piece_bytes: int
) -> None:
    content = written_by_tensorboardx(tmp_path / "written")
    await world.send(content, piece_bytes)
    world.restart()
    await world.reader.catch_up(KEY)
    await world.events.store.finish(ONE, 1)
    await world.reader.finish(ONE, 1)
    pictures = await world.records("picture")
    assert [(one.step, one.content) for one in pictures] == [(n, Image(4, 2)) for n in range(3)]
    assert pictures[0].blob is not None
    assert await bytes_of(world.store, pictures[0].blob.name) == PNG
    notes = await world.records("note/text_summary")
    assert [(one.step, one.content) for one in notes] == [
        (step, Text(f"said {step}")) for step in range(3)
    ]
    weights = await world.records("weights")
    assert [one.step for one in weights] == [0, 1, 2]
    for step, one in enumerate(weights):
        assert isinstance(one.content, Histogram)
        assert sum(one.content.counts) == 1_000
        assert one.content.edges[0] == pytest.approx(-step - 1)
        assert one.content.edges[-1] == pytest.approx(step + 1)
    series = (await world.store.series(ONE)).series
    assert [(one.key, one.records) for one in series] == [
        ("train/note/text_summary", 3),
        ("train/picture", 3),
        ("train/weights", 3),
    ]


async def test_read__values_of_tensorflow_2__are_read_too(world: World) -> None:
    edges = [[0.0, 0.5, 3.0], [0.5, 1.0, 4.0]]
    content = framed(
        tensor_value("i", "images", dtype=7, string_val=[b"4", b"2", PNG, PNG]),
        tensor_value("h", "histograms", dtype=2, double_val=np.ravel(edges).tolist()),
        tensor_value("h2", "histograms", dtype=1, tensor_content=np.float32(edges).tobytes()),
        tensor_value("t", "text", dtype=7, string_val=[b"a", b"b"]),
        tensor_value("long", "text", dtype=7, string_val=[b"long" * 5_000]),
        tensor_value("s", "audio", dtype=7, string_val=[WAV, b"label"]),
        tensor_value("p", "pr_curves", dtype=1, float_val=[1.0, 2.0, 3.0]),
        Summary.Value(tag="scalar", simple_value=1.0),
    )
    await world.send(content)
    assert [(one.place, one.content) for one in await world.records("i")] == [
        (0, Image(4, 2)),
        (1, Image(4, 2)),
    ]
    whole = Histogram((0.0, 0.5, 1.0), (3.0, 4.0))
    assert [one.content for one in await world.records("h")] == [whole]
    assert [one.content for one in await world.records("h2")] == [whole]
    assert [one.content for one in await world.records("t")] == [Text("a\nb")]
    (long,) = await world.records("long")
    assert long.blob is not None
    assert await bytes_of(world.store, long.blob.name) == b"long" * 5_000
    (sound,) = await world.records("s")
    assert sound.blob is not None
    assert (sound.time_ms, sound.blob.format) == (1_700_000_000_500, "wav")
    assert len((await world.store.series(ONE)).series) == 6


async def test_read__a_sound_and_odd_values__are_kept_as_far_as_they_can_be(world: World) -> None:
    sound = Summary.Audio(
        sample_rate=8_000.0, num_channels=1, length_frames=800, encoded_audio_string=WAV
    )
    many = HistogramProto(
        min=0, max=4_000, bucket_limit=np.arange(1.0, 2_001.0) * 2, bucket=[1.0] * 2_000
    )
    wide = HistogramProto(min=-1, max=1, bucket_limit=[-1, 0, 1.797e308], bucket=[1, 2, 3])
    none = HistogramProto()
    await world.send(
        framed(
            Summary.Value(tag="sound", audio=sound),
            Summary.Value(tag="many", histo=many),
            Summary.Value(tag="wide", histo=wide),
            Summary.Value(tag="none", histo=none),
            Summary.Value(tag="what", image=Summary.Image(encoded_image_string=b"nothing")),
            tensor_value("torn", "histograms", dtype=1, float_val=[1.0, 2.0]),
            tensor_value("few", "images", dtype=7, string_val=[b"x"]),
        )
    )
    (heard,) = await world.records("sound")
    assert heard.content == Audio(8_000, 1, 100)
    assert heard.blob is not None
    with wave.open(io.BytesIO(await bytes_of(world.store, heard.blob.name))) as file:
        assert file.getnframes() == 800
    (joined,) = await world.records("many")
    assert isinstance(joined.content, Histogram)
    assert len(joined.content.counts) == 500 <= BINS_MAX
    assert (sum(joined.content.counts), joined.content.edges[::500]) == (2_000, (0.0, 4_000.0))
    (found,) = await world.records("wide")
    assert found.content == Histogram((-1.0, -1.0, 0.0, 1.0), (1.0, 2.0, 3.0))
    assert len((await world.store.series(ONE)).series) == 3


async def test_read__a_damaged_record__what_is_before_it_is_there(world: World) -> None:
    good = framed(tensor_value("t", "text", dtype=7, string_val=[b"good"]))
    bad = bytearray(framed(tensor_value("t", "text", dtype=7, string_val=[b"bad"]), step=4))
    bad[-1] ^= 1
    await world.send(good + bad)
    await world.send(good + bad + good)
    assert [one.content for one in await world.records("t")] == [Text("good")]


async def test_read__a_record_longer_than_a_window__is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_media, "_WINDOW_BYTES", 4_000)
    parts = [
        framed(tensor_value("t", "text", dtype=7, string_val=[b"x" * size]), step=step)
        for step, size in enumerate((10, 9_000, 20, 3_000, 30))
    ]
    await world.send(b"".join(parts), 1_000)
    assert [one.step for one in await world.records("t")] == [0, 2, 3, 4]


@pytest.mark.parametrize("moment", Moment)
async def test_read__the_object_store_fails__all_is_there_once_in_the_end(
    world: World, tmp_path: Path, moment: Moment
) -> None:
    content = written_by_tensorboardx(tmp_path / "written")
    away = Fault(StoreUnavailable("away"), operation=Operation.PUT, moment=moment)
    world.objects.plant(away)
    await world.send(content)
    assert world.objects.calls.count(Operation.PUT) == 2
    assert [one.step for one in await world.records("picture")] == [0, 1, 2]


async def test_read__the_run_is_deleted__is_made_up_for_later(world: World) -> None:
    content = framed(tensor_value("t", "text", dtype=7, string_val=[b"kept"]))
    metadata = world.events.below.metadata
    await metadata.workload_set_deleted(ONE, deleted_ns=1)
    await world.send(content)
    assert await world.records("t") == []
    await metadata.workload_set_deleted(ONE, deleted_ns=None)
    await world.reader.finish(ONE, 1)
    assert len(await world.records("t")) == 1
