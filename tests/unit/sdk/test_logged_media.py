"""What ``log_…`` makes of what a script has: the small parts, and the bytes."""

from __future__ import annotations

import json
import math
import struct
import wave
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.domain.media import Audio, Histogram, Image, MediaRecord, Table, Text, check_media
from seafloor.sdk.logged_media import (
    Taken,
    take_audio,
    take_histogram,
    take_image,
    take_table,
    take_text,
)

CHANNELS = {0: 1, 2: 3, 6: 4}


def pixels_of(png: bytes) -> np.ndarray[Any, Any]:
    """Read a PNG of ours as the standard says: every chunk checked, every filter undone."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, chunks = 8, dict[bytes, bytes]()
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        name, content = png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        (crc,) = struct.unpack_from(">I", png, at + 8 + length)
        assert crc == zlib.crc32(name + content)
        chunks[name] = content
        at += 12 + length
    assert [*chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, bits, colour, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert (bits, rest) == (8, [0, 0, 0])
    channels = CHANNELS[colour]
    packed = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8)
    rows = packed.reshape(height, 1 + width * channels)
    assert set(rows[:, 0].tolist()) == {1}
    differences = rows[:, 1:].reshape(height, width, channels)
    return np.cumsum(differences, axis=1, dtype=np.uint8)


def image_of(value: object) -> np.ndarray[Any, Any]:
    taken = take_image(value)
    assert taken.data is not None
    pixels = pixels_of(taken.data)
    assert taken.content == Image(pixels.shape[1], pixels.shape[0])
    assert_kept(taken)
    return pixels


def assert_kept(taken: Taken) -> None:
    """The server takes it."""
    check_media(MediaRecord("k", 0, 0, taken.content, taken.blob))
    assert (taken.data is None) is (taken.blob is None)
    if taken.data is not None and taken.blob is not None:
        assert taken.blob.size_bytes == len(taken.data)


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4), (1, 1), (300, 2, 3)])
def test_image__bytes_of_any_shape__are_kept_exactly(shape: tuple[int, ...]) -> None:
    made = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(image_of(made), made.reshape(*shape[:2], -1))
    assert np.array_equal(image_of(made[::-1, ::-1]), made[::-1, ::-1].reshape(*shape[:2], -1))


def test_image__channels_first__is_turned() -> None:
    made = np.random.default_rng(2).integers(0, 256, (3, 20, 10)).astype(np.uint8)
    assert np.array_equal(image_of(made), np.moveaxis(made, 0, 2))


def test_image__of_floats_booleans_and_others__becomes_bytes() -> None:
    floats = np.array([[0.0, 0.5, 1.0], [-3.0, 7.0, math.nan], [math.inf, -math.inf, 0.2]])
    assert image_of(floats)[..., 0].tolist() == [[0, 128, 255], [0, 255, 0], [255, 0, 51]]
    assert image_of(floats.astype(np.float16))[0, 1, 0] == 128
    assert image_of(np.array([[True, False]]))[..., 0].tolist() == [[255, 0]]
    assert image_of(np.array([[0, 255]], np.int64))[..., 0].tolist() == [[0, 255]]
    with pytest.raises(InvalidValue, match="0 to 255"):
        take_image(np.array([[0, 256]]))


class Tensor:
    """A tensor of torch, as far as it shows: of a gradient, and on a device."""

    def __init__(self, values: Any, *, ready: int = 0) -> None:
        self.values, self.ready = values, ready

    def detach(self) -> Tensor:
        return Tensor(self.values, ready=1)

    def cpu(self) -> Tensor:
        return Tensor(self.values, ready=self.ready + 1)

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        if self.ready < 2:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad.")
        return np.asarray(self.values)


def test_tensor__of_a_gradient_on_a_device__is_read() -> None:
    assert image_of(Tensor([[0.0, 1.0]]))[..., 0].tolist() == [[0, 255]]
    taken = take_histogram(Tensor([1.0, 2.0]), bins=2, edges=None, counts=None)
    assert taken.content == Histogram((1.0, 1.5, 2.0), (1.0, 1.0))


class Picture:
    """A PIL image, as far as it shows."""

    mode = "CMYK"

    def __init__(self, mode: str = "CMYK") -> None:
        self.mode = mode

    def convert(self, mode: str) -> Picture:
        return Picture(mode)

    def save(self, target: BytesIO, **options: str) -> None:
        assert (self.mode, options) == ("RGB", {"format": "PNG"})
        target.write(take_image(np.zeros((2, 3, 3), np.uint8)).data or b"")


def test_image__of_pil__is_saved_by_it() -> None:
    assert image_of(Picture()).shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("content", "format_", "size"),
    [
        (b"GIF89a\x03\x00\x02\x00", "gif", (3, 2)),
        (b"\xff\xd8\xff\xe0\0\4ab\xff\xc2\0\x0b\x08\0\2\0\3\1", "jpeg", (3, 2)),
        (b"\xff\xd8\xff\xe0\0\4ab", "jpeg", (None, None)),
        (b"RIFF....WEBPVP8X" + bytes(8) + b"\2\0\0\1\0\0", "webp", (3, 2)),
        (b"RIFF....WEBPVP8L\0\0\0\0\x2f\2\x40\0\0" + bytes(9), "webp", (3, 2)),
        (b"RIFF....WEBPVP8 \0\0\0\0\0\0\0\x9d\1\x2a\3\0\2\0", "webp", (3, 2)),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "svg", (None, None)),
        (b"\n<?xml version='1.0'?>\n<svg/>", "svg", (None, None)),
    ],
)
def test_image__bytes_or_file__keeps_them_and_says_their_size(
    tmp_path: Path, content: bytes, format_: str, size: tuple[int | None, int | None]
) -> None:
    file = tmp_path / "picture"
    file.write_bytes(content)
    for given in (content, bytearray(content), file, str(file)):
        taken = take_image(given)
        assert taken.data == content
        assert taken.blob is not None
        assert (taken.blob.format, taken.content) == (format_, Image(*size))
        assert_kept(taken)


@pytest.mark.parametrize(
    "bad",
    [
        *(b"MZ", b"<html>", "/no/such/file", Path("/"), None, 3, np.array([["a"]])),
        *(np.zeros(shape) for shape in ((2, 2, 2), (4,), (0, 4), (2, 2, 3, 1))),
        np.zeros((2, 2), complex),
    ],
    ids=repr,
)
def test_image__of_something_else__is_refused(bad: object) -> None:
    with pytest.raises(InvalidValue):
        take_image(bad)


@pytest.mark.parametrize("form", [list, np.array, lambda found: np.array(found, np.float32)])
def test_histogram__of_values__counts_each_once(form: Any) -> None:
    values = [0.0, 0.25, 0.25, 0.5, 0.75, 1.0, math.nan, math.inf, -math.inf]
    taken = take_histogram(form(values), bins=4, edges=None, counts=None)
    assert taken.content == Histogram((0.0, 0.25, 0.5, 0.75, 1.0), (1.0, 2.0, 1.0, 2.0), 3)
    assert_kept(taken)


@pytest.mark.parametrize("form", [list, np.array])
@pytest.mark.parametrize(
    "values",
    [[], [math.nan], [7.0] * 3, [1e308, -1e308, 0.0], [5e-324, 0.0], [1e300] * 2, [True, 3, -2]],
)
def test_histogram__of_odd_values__can_be_kept_and_counts_all(form: Any, values: list[Any]) -> None:
    taken = take_histogram(form(values), bins=10, edges=None, counts=None)
    assert_kept(taken)
    assert isinstance(taken.content, Histogram)
    assert sum(taken.content.counts) + taken.content.odd == len(values)


def test_histogram__of_many_values__is_as_numpy_counts_them() -> None:
    values = np.random.default_rng(3).normal(size=5_000)
    counts, edges = np.histogram(values, bins=64)
    whole = take_histogram(values, bins=64, edges=None, counts=None).content
    assert whole == Histogram(tuple(edges.tolist()), tuple(map(float, counts.tolist())))
    assert take_histogram(None, bins=64, edges=edges, counts=counts).content == whole


def test_histogram__of_something_else__is_refused() -> None:
    for values in ("abc", ["a"], 3, object(), np.array(["a"]), [[1, 2], [3]]):
        with pytest.raises(InvalidValue):
            take_histogram(values, bins=4, edges=None, counts=None)
    for bins in (0, 513):
        with pytest.raises(InvalidValue):
            take_histogram([1.0], bins=bins, edges=None, counts=None)
    for values, edges, counts in ((None, None, None), ([1], [1], [1]), (None, [1], None)):
        with pytest.raises(InvalidValue):
            take_histogram(values, bins=4, edges=edges, counts=counts)


class Frame:
    """A data frame of pandas, as far as it shows."""

    columns = ("a", 2)

    def itertuples(self, *, index: bool, name: None) -> Any:
        assert index is False
        return iter([(1, "x"), (np.float64(0.5), None)])


class Rows:
    """A data frame of polars, as far as it shows."""

    columns = ("a", 2)

    def iter_rows(self) -> Any:
        return iter([(1, "x"), (0.5, None)])


@pytest.mark.parametrize(
    "table",
    [
        {"a": [1, 0.5], 2: ("x", None)},
        {"a": np.array([1, 0.5]), 2: np.array(["x", None], object)},
        [{"a": 1, 2: "x"}, {"a": 0.5}],
        iter([{"a": 1, 2: "x"}, {"a": np.float32(0.5)}]),
        Frame(),
        Rows(),
    ],
)
def test_table__in_any_form__is_columns_and_rows(table: object) -> None:
    taken = take_table(table)
    assert taken.content == Table(("a", "2"), 2)
    assert json.loads(taken.data or b"") == {"columns": ["a", "2"], "data": [[1, "x"], [0.5, None]]}
    assert_kept(taken)


def test_table__what_json_has_no_form_for__becomes_a_text() -> None:
    cells = [math.nan, math.inf, -math.inf, 1 << 70, (1 << 53) + 1, True, {"x": 1}, "half \ud800"]
    data = json.loads(take_table({"c": cells}).data or b"")["data"]
    assert [cell for (cell,) in data] == [
        *("NaN", "Infinity", "-Infinity", str(1 << 70), (1 << 53) + 1, True, "{'x': 1}", "half ?")
    ]
    assert take_table({}).content == Table((), 0)
    assert take_table([]).content == Table((), 0)


def test_table__of_something_else__is_refused() -> None:
    for table in ("abc", 3, [[1, 2]], {"a": [1], "b": [1, 2]}, {"a": "text"}, {"a": 3}):
        with pytest.raises(InvalidValue):
            take_table(table)


def test_text__short_or_long__is_in_the_record_or_beside_it() -> None:
    assert take_text("hällo\n").content == Text("hällo\n")
    assert take_text(3.5).content == Text("3.5")
    assert take_text("half \ud800").content == Text("half ?")
    for long in ("ü" * 5_000, "x" * 8_193):
        taken = take_text(long)
        assert taken.content == Text()
        assert (taken.data or b"").decode() == long
        assert_kept(taken)


def samples_of(taken: Taken) -> tuple[tuple[int, int], list[int]]:
    assert taken.data is not None
    with wave.open(BytesIO(taken.data)) as file:
        assert file.getsampwidth() == 2
        shape = file.getframerate(), file.getnchannels()
        read = file.readframes(file.getnframes())
    return shape, np.frombuffer(read, "<i2").tolist()


@pytest.mark.parametrize(
    ("audio", "samples"),
    [
        ([0.0, 0.5, -1.0, 9.0, math.nan], [0, 16384, -32767, 32767, 0]),
        (np.array([0.0, 0.5, -1.0, 9.0, math.nan]), [0, 16384, -32767, 32767, 0]),
        (np.array([1, -2], np.int16), [1, -2]),
        (np.array([1 << 16, -(1 << 31)], np.int32), [1, -32768]),
        (np.array([128, 255, 0], np.uint8), [0, 127 << 8, -32768]),
    ],
)
def test_audio__of_samples__is_a_wav_of_them(audio: object, samples: list[int]) -> None:
    taken = take_audio(audio, 8_000)
    assert samples_of(taken) == ((8_000, 1), samples)
    assert taken.content == Audio(8_000, 1, len(samples) * 1000 // 8_000)
    assert_kept(taken)


def test_audio__of_two_channels__is_read_either_way_round() -> None:
    both = np.array([[1, -1], [2, -2], [3, -3]], np.int16)
    expected = ((44_100, 2), [1, -1, 2, -2, 3, -3])
    assert samples_of(take_audio(both, 44_100)) == expected
    assert samples_of(take_audio(both.T, 44_100)) == expected


def test_audio__bytes__are_kept_and_say_what_they_are() -> None:
    wav = take_audio([0.0] * 800, 8_000).data or b""
    for content, format_, said in (
        (wav, "wav", Audio(8_000, 1, 100)),
        (b"RIFF....WAVEfmt ", "wav", Audio()),
        (b"ID3....", "mp3", Audio()),
        (b"\xff\xfb\x90", "mp3", Audio()),
        (b"OggS", "ogg", Audio()),
        (b"fLaC", "flac", Audio()),
    ):
        taken = take_audio(content, None)
        assert taken.blob is not None
        assert (taken.data, taken.blob.format, taken.content) == (content, format_, said)
        assert_kept(taken)


def test_audio__of_something_else__is_refused() -> None:
    for audio in (b"MZ", "/no/such/file", 3, ["a"], np.zeros((2, 2, 2)), np.zeros(3, complex)):
        with pytest.raises(InvalidValue):
            take_audio(audio, 8_000)
    for rate in (None, 0, -1, 1 << 31):
        with pytest.raises(InvalidValue):
            take_audio([0.0], rate)


def test_image__a_file_that_is_too_large__is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seafloor.sdk.logged_media.BLOB_BYTES_MAX", 100)
    file = tmp_path / "large.gif"
    file.write_bytes(b"GIF89a\x03\x00\x02\x00" + bytes(1_000))
    with pytest.raises(LimitExceeded):
        take_image(file)
