"""TFRecord frames, the events in them, and the keys of their tags: pure."""

from __future__ import annotations

import math
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboardX.proto.tensor_pb2 import TensorProto
from tensorboardX.proto.tensor_shape_pb2 import TensorShapeProto

from seafloor.domain.names import check_key
from seafloor.stores.events.event_proto import Scalar, decode_event
from seafloor.stores.events.scalars import key_of, read_batches
from seafloor.stores.events.tfrecord import (
    DECODED_BYTES_MAX,
    BadFrame,
    encode_frame,
    masked_crc,
    read_frames,
)
from seafloor.testing.event_records import (
    event,
    event_file,
    field_bytes,
    field_float,
    field_varint,
    scalar,
    scalar_record,
    tensor_value,
)
from seafloor.wire.protobuf import BadMessage

FLOAT, DOUBLE, INT32, UINT8, INT64, BOOL, BFLOAT16, HALF, UINT64 = 1, 2, 3, 4, 9, 10, 14, 19, 23


def frames_of(data: bytes) -> list[bytes | None]:
    found = read_frames(lambda at, size: data[at : at + size], start=0, end=len(data))
    return [frame.data for frame in found]


def test_masked_crc__the_known_sum__is_masked() -> None:
    crc = 0xE3069283  # of "123456789", the check value of CRC-32C
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@given(st.lists(st.binary(max_size=300)), st.data())
def test_frames__cut_anywhere__are_the_whole_ones(datas: list[bytes], draw: st.DataObject) -> None:
    whole = b"".join(encode_frame(data) for data in datas)
    cut = draw.draw(st.integers(0, len(whole)))
    found = frames_of(whole[:cut])
    assert found == datas[: len(found)]
    assert len(b"".join(encode_frame(data) for data in datas[: len(found) + 1])) > cut or (
        len(found) == len(datas)
    )


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=4), st.data())
def test_frames__one_bit_wrong__is_told(datas: list[bytes], draw: st.DataObject) -> None:
    whole = bytearray(b"".join(encode_frame(data) for data in datas))
    bit = draw.draw(st.integers(0, len(whole) * 8 - 1))
    whole[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BadFrame):
        frames_of(bytes(whole))


def test_frames__longer_than_is_decoded__is_checked_only() -> None:
    huge = bytes(DECODED_BYTES_MAX + 1)
    assert frames_of(encode_frame(huge) + encode_frame(b"next")) == [None, b"next"]
    damaged = bytearray(encode_frame(huge))
    damaged[1_000_000] ^= 1
    with pytest.raises(BadFrame):
        frames_of(bytes(damaged))


def test_event__a_claimed_length_of_exabytes__waits_and_takes_no_memory() -> None:
    length = struct.pack("<Q", 1 << 60)
    head = length + struct.pack("<I", masked_crc(length))
    assert frames_of(head + bytes(1_000)) == []


def decoded(value: bytes) -> list[Scalar]:
    return list(decode_event(event(1, value)).scalars)


def oracle_event(**tensor: Any) -> bytes:
    """An event with one tensor, encoded by the library that writers use."""
    value = Summary.Value(
        tag="t",
        tensor=TensorProto(**tensor),
        metadata=SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="scalars")),
    )
    return Event(wall_time=1.5, step=-3, summary=Summary(value=[value])).SerializeToString()


def bfloat16_bits(value: float) -> int:
    return struct.unpack("<I", struct.pack("<f", value))[0] >> 16


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        ({"dtype": FLOAT, "float_val": [0.1]}, float(np.float32(0.1))),
        ({"dtype": FLOAT, "tensor_content": np.float32(0.1).tobytes()}, float(np.float32(0.1))),
        ({"dtype": DOUBLE, "double_val": [0.1]}, 0.1),
        ({"dtype": DOUBLE, "tensor_content": struct.pack("<d", 0.1)}, 0.1),
        ({"dtype": HALF, "half_val": [15360]}, 1.0),
        ({"dtype": HALF, "tensor_content": np.float16(0.25).tobytes()}, 0.25),
        ({"dtype": BFLOAT16, "half_val": [bfloat16_bits(-3.0)]}, -3.0),
        ({"dtype": BFLOAT16, "tensor_content": bfloat16_bits(2.5).to_bytes(2, "little")}, 2.5),
        ({"dtype": INT32, "int_val": [-7]}, -7.0),
        ({"dtype": INT64, "int64_val": [-(1 << 53)]}, -float(1 << 53)),
        ({"dtype": INT64, "tensor_content": struct.pack("<q", -5)}, -5.0),
        ({"dtype": UINT8, "tensor_content": b"\xff"}, 255.0),
        ({"dtype": BOOL, "bool_val": [True]}, 1.0),
    ],
)
def test_event__a_scalar_tensor__is_its_number(tensor: dict[str, Any], value: float) -> None:
    for shape in (None, TensorShapeProto(), TensorShapeProto(dim=[TensorShapeProto.Dim(size=1)])):
        found = decode_event(oracle_event(**tensor, tensor_shape=shape))
        assert found.scalars == (Scalar("t", value),)
        assert (found.step, found.wall_time_s) == (-3, 1.5)


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": FLOAT, "float_val": [0.1, 0.2]},
        {"dtype": 7, "string_val": [b"text"]},
        {"dtype": FLOAT, "tensor_content": bytes(8)},
        {
            "dtype": FLOAT,
            "float_val": [0.5],
            "tensor_shape": TensorShapeProto(dim=[TensorShapeProto.Dim(size=64)]),
        },
    ],
)
def test_event__any_other_tensor__is_no_scalar(tensor: dict[str, Any]) -> None:
    found = decode_event(oracle_event(**tensor))
    assert (found.scalars, found.others) == ((), 1)


def test_event__tensor_of_another_plugin__is_no_scalar() -> None:
    tensor = field_varint(1, FLOAT) + field_float(5, 1.0)
    assert decoded(tensor_value("pr", tensor, plugin="pr_curves")) == []
    unpacked = field_varint(1, UINT64) + field_varint(17, (1 << 64) - 1)
    assert decoded(tensor_value("n", unpacked)) == [Scalar("n", float((1 << 64) - 1))]


def test_event__unknown_fields__are_skipped() -> None:
    extra = field_varint(99, 5) + field_bytes(100, b"x") + field_float(101, 1.0)
    found = decode_event(extra + event(7, scalar("loss", 2.0) + extra) + extra)
    assert (found.step, found.scalars) == (7, (Scalar("loss", 2.0),))


@given(st.binary(max_size=60))
def test_event__any_bytes__is_read_or_refused(data: bytes) -> None:
    try:
        decode_event(data)
    except BadMessage:
        return


@given(st.binary(max_size=60), st.integers(0, 60))
def test_event__a_good_one_with_noise__is_read_or_refused(noise: bytes, at: int) -> None:
    good = event(7, scalar("loss", 2.0))
    try:
        decode_event(good[:at] + noise + good[at:])
    except BadMessage:
        return


@pytest.mark.parametrize("wall_time_s", [math.nan, math.inf, -math.inf, -5.0, 1e300])
def test_batches__a_time_that_is_none__becomes_one(wall_time_s: float) -> None:
    data = event_file([encode_frame(event(1, scalar("a", 1.0), wall_time_s=wall_time_s))])
    (batch,) = read_batches("e", lambda at, size: data[at : at + size], start=0, end=len(data))
    assert 0 <= batch.points[0].time_ms < 1 << 63
    assert batch.problem is None


def test_batches__a_time__is_the_nearest_millisecond() -> None:
    record = encode_frame(event(1, scalar("a", 1.0), wall_time_s=1_700_000_000.0016))
    data = event_file([record])
    (batch,) = read_batches("e", lambda at, size: data[at : at + size], start=0, end=len(data))
    assert batch.points[0].time_ms == 1_700_000_000_002


def test_batches__many_points__come_in_several() -> None:
    data = event_file(scalar_record(step, "a", 1.0) for step in range(25_000))
    batches = list(read_batches("e", lambda at, size: data[at : at + size], start=0, end=len(data)))
    assert [len(batch.points) for batch in batches] == [10_000, 10_000, 5_000]
    assert sum(batch.records for batch in batches) == 25_001
    assert batches[-1].end == len(data)


@given(st.text(max_size=300), st.sampled_from(["", "train", "a/b"]))
def test_key__any_tag__is_a_key(tag: str, folder: str) -> None:
    key = key_of(folder, tag)
    assert check_key(key) == key
    assert key_of(folder, tag) == key


@pytest.mark.parametrize(
    ("tag", "key"),
    [("loss", "loss"), ("a/b c.d:e-f", "a/b c.d:e-f"), ("ключ", "ключ")],
)
def test_key__a_plain_tag__is_itself(tag: str, key: str) -> None:
    assert key_of("", tag) == key
    assert key_of("run", tag) == f"run/{key}"


def test_key__tags_that_look_alike_afterwards__stay_two() -> None:
    tags = ["a(b", "a[b", "a//b", "a/./b", "a/b/", "../a/b", "x" * 300, "x" * 301, "", "/"]
    assert len({key_of("", tag) for tag in [*tags, "a_b", "a/b"]}) == len(tags) + 2
