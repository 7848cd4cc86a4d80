"""Names, keys and paths that users give."""

from __future__ import annotations

import posixpath
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import CallerError, InvalidValue, LimitExceeded
from seafloor.domain.names import check_key, check_name, check_path, check_slug


@pytest.mark.parametrize("text", ["a", "größe 東京 🦀", "x" * 256, "a\u00a0b", "'\"<>&%"])
def test_check_name__of_any_unicode__accepts_it(text: str) -> None:
    assert check_name(text) == unicodedata.normalize("NFC", text)


def test_check_name__typed_on_two_systems__is_one_name() -> None:
    assert check_name("u\u0308") == check_name("\u00fc")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "blank"),
        ("  ", "blank"),
        (" a", "begin or end with a space"),
        ("a\u2003", "begin or end with a space"),
        ("a\nb", "control characters"),
        ("a\0", "control characters"),
        ("\ud800", "control characters"),
    ],
)
def test_check_name__of_what_is_none__says_why(text: str, words: str) -> None:
    with pytest.raises(InvalidValue, match=words):
        check_name(text)


@pytest.mark.parametrize(
    ("check", "length"), [(check_name, 257), (check_slug, 257), (check_key, 251)]
)
def test_check__of_a_text_too_long__says_how_long_it_may_be(check: object, length: int) -> None:
    assert callable(check)
    with pytest.raises(LimitExceeded, match=f"at most {length - 1} characters"):
        check("x" * length)


@pytest.mark.parametrize(
    ("text", "near"),
    [("Team A", "team-a"), ("ümlaut x", "umlaut-x"), ("a/b", "a-b"), ("-x-", "x"), ("a\n", "a")],
)
def test_check_slug__of_what_is_none__offers_one(text: str, near: str) -> None:
    with pytest.raises(InvalidValue, match=f'"{near}" would do'):
        check_slug(text)


@given(st.text(max_size=40))
def test_check_slug__of_any_text__offers_only_what_it_accepts(text: str) -> None:
    try:
        check_slug(text)
    except InvalidValue as error:
        _, _, offer = error.message.partition('"-". "')
        if offer:
            assert check_slug(offer.removesuffix('" would do.'))


@pytest.mark.parametrize("text", ["loss", "train/loss", "a b", "größe", "a.b-c:d_e", "x" * 250])
def test_check_key__of_mlflows_keys__accepts_them(text: str) -> None:
    assert check_key(text) == text


@pytest.mark.parametrize(
    "text", ["", "a//b", "/a", "a/", ".", "..", "../a", "a/../b", "./a", "a%", "a\n"]
)
def test_check_key__of_what_would_be_another_path__is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        check_key(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/a", "a/", "a//b", ".", "..", "a/../b", "./a", "a/.", "C:/x", "c:x", "a\\b"),
        *("a\0b", "a\nb", "\x7f", "\ud800", "/", "//"),
    ],
)
def test_check_path__of_what_escapes__is_refused(text: str) -> None:
    with pytest.raises(InvalidValue):
        check_path(text)


def test_check_path__of_parts_too_long__is_refused_by_bytes() -> None:
    assert check_path("é" * 127)
    with pytest.raises(LimitExceeded):
        check_path("é" * 128)
    with pytest.raises(LimitExceeded):
        check_path("/".join(["x" * 200] * 6))


@given(st.text(max_size=30) | st.lists(st.sampled_from(["a", "..", ".", "", "b c"])).map("/".join))
def test_check_path__of_what_it_accepts__stays_inside(text: str) -> None:
    try:
        accepted = check_path(text)
    except CallerError:
        return
    joined = posixpath.normpath(posixpath.join("/data/run", accepted))
    assert joined == f"/data/run/{accepted}"
