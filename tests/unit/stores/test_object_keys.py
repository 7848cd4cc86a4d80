"""Arguments that every object store checks alike, and streams that can be begun again."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.stores.objects.keys import (
    ancestors,
    check_listing,
    check_object_key,
    check_range,
    is_below,
)
from seafloor.stores.objects.streams import is_replayable, tapped
from seafloor.testing.object_cases import BAD_KEYS, ODD_KEYS, stream_of


@pytest.mark.parametrize("key", ODD_KEYS)
def test_check_object_key__odd__is_the_key(key: str) -> None:
    assert check_object_key(key) == key


@pytest.mark.parametrize("key", BAD_KEYS)
def test_check_object_key__bad__names_the_field(key: str) -> None:
    with pytest.raises((InvalidValue, LimitExceeded)) as caught:
        check_object_key(key, field="code.key")
    assert caught.value.field == "code.key"


def test_check_object_key__reserved_name_deeper__is_fine() -> None:
    assert check_object_key("a/.seafloor-tmp/b")
    assert check_object_key(".seafloor-tmp2/b")


@pytest.mark.parametrize(
    ("folder", "limit", "cursor", "field"),
    [
        ("a/", 1, None, "folder"),
        ("a", 0, None, "limit"),
        ("a", 1001, None, "limit"),
        ("a", 1, "", "cursor"),
        ("a", 1, "a", "cursor"),
        ("a", 1, "ab/c", "cursor"),
    ],
)
def test_check_listing__bad_argument__names_the_field(
    folder: str, limit: int, cursor: str | None, field: str
) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_listing(folder, limit=limit, cursor=cursor)
    assert caught.value.field == field


def test_check_listing__good_arguments__pass() -> None:
    check_listing("", limit=1, cursor=None)
    check_listing("", limit=1000, cursor="anything")
    check_listing("a", limit=5, cursor="a/b")


def test_check_range__bounds() -> None:
    check_range(start=0, length=0)
    check_range(start=10**15, length=None)
    for start, length, field in ((-1, None, "start"), (0, -1, "length")):
        with pytest.raises(InvalidValue) as caught:
            check_range(start=start, length=length)
        assert caught.value.field == field


def test_is_below__siblings_by_prefix__are_not() -> None:
    assert is_below("a/b", "a")
    assert is_below("a", "")
    assert not is_below("ab/c", "a")
    assert not is_below("a", "a")


def test_ancestors__from_the_outermost() -> None:
    assert ancestors("a") == []
    assert ancestors("a/b/c") == ["a", "a/b"]


class Chunks:
    """A stream that can be begun again."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"1"
        yield b"2"


async def test_tapped__stream_of_either_kind__stays_of_its_kind() -> None:
    seen: list[bytes] = []
    again = tapped(Chunks(), seen.append)
    assert is_replayable(again)
    for _ in range(2):
        assert [chunk async for chunk in again] == [b"1", b"2"]
    once = tapped(stream_of([b"3"]), seen.append)
    assert not is_replayable(once)
    assert [chunk async for chunk in once] == [b"3"]
    assert [chunk async for chunk in once] == []
    assert seen == [b"1", b"2", b"1", b"2", b"3"]
