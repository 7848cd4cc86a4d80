from __future__ import annotations

from pathlib import Path

import pytest

from seafloor.code.git_submodules import join_url
from seafloor.code.git_url import check_folder, check_ref, parse_git_url, url_for_people
from seafloor.domain.errors import InvalidValue, LimitExceeded


@pytest.mark.parametrize(
    ("url", "text", "folder"),
    [
        ("https://example.com/team/digits.git", "https://example.com/team/digits.git", "digits"),
        ("https://example.com/team/digits/", "https://example.com/team/digits/", "digits"),
        (" https://example.com/digits ", "https://example.com/digits", "digits"),
        ("http://127.0.0.1:8080/digits.git", "http://127.0.0.1:8080/digits.git", "digits"),
        ("https://user@example.com/digits.git", "https://example.com/digits.git", "digits"),
        ("ssh://git@example.com:22/digits.git", "ssh://git@example.com:22/digits.git", "digits"),
        ("git@example.com:team/digits.git", "git@example.com:team/digits.git", "digits"),
        ("example.com:digits.git", "example.com:digits.git", "digits"),
        ("git@[::1]:digits", "git@[::1]:digits", "digits"),
        ("git://example.com/digits.git", "git://example.com/digits.git", "digits"),
        ("file:///srv/digits.git", "file:///srv/digits.git", "digits"),
        ("/srv/git/digits.git", "/srv/git/digits.git", "digits"),
        ("/home/me/digits/.git", "/home/me/digits/.git", "digits"),
        ("https://example.com/über.git", "https://example.com/über.git", "über"),
    ],
)
def test_parse_git_url__accepted_form__is_kept_and_names_the_folder(
    url: str, text: str, folder: str
) -> None:
    parsed = parse_git_url(url)

    assert (parsed.text, parsed.folder) == (text, folder)


def test_parse_git_url__relative_path__becomes_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert parse_git_url("work/digits").text == str(tmp_path / "work/digits")
    assert parse_git_url("./a:b/digits").text == str(tmp_path / "a:b/digits")


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("", "empty"),
        ("-uexec", 'begin with "-"'),
        ("--upload-pack=touch x", 'begin with "-"'),
        ("ext::sh -c 'touch x'", "transport helper"),
        ("fd::17", "transport helper"),
        ("https://me:secret@example.com/digits.git", "holds a password"),
        ("ssh://me:secret@example.com/digits.git", "holds a password"),
        ("https://example.com/digits.git?token=secret", "token"),
        ("https://example.com/digits.git#main", "name a branch"),
        ("htps://example.com/digits", 'Did you mean "https"?'),
        ("ftp://example.com/digits", "not a way"),
        ("https:///digits", "names no host"),
        ("ssh://-oProxyCommand=x/digits", "names no host"),
        ("https://[bad/digits", "not a valid URL"),
        ("https://example.com/", "cannot be the name of a folder"),
        ("https://example.com/..", "cannot be the name of a folder"),
        ("https://example.com/.git", "cannot be the name of a folder"),
        ("https://example.com/.localized", "cannot be the name of a folder"),
        ("https://example.com/a\nb", "control characters"),
    ],
)
def test_parse_git_url__what_no_one_should_fetch__is_refused_with_the_fix(
    url: str, words: str
) -> None:
    with pytest.raises(InvalidValue) as raised:
        parse_git_url(url)

    assert words in raised.value.message
    assert "secret" not in raised.value.message
    assert raised.value.field == "code.url"


def test_parse_git_url__too_long__is_refused() -> None:
    with pytest.raises(LimitExceeded):
        parse_git_url("https://example.com/" + "a" * 3000)


@pytest.mark.parametrize(
    "ref", ["main", "v1.2", "feature/x", "refs/heads/x", "deadbeef", "a" * 40, "größe", "HEAD"]
)
def test_check_ref__name_that_git_can_have__passes(ref: str) -> None:
    assert check_ref(ref) == ref


@pytest.mark.parametrize(
    "ref",
    [
        *("", "-x", "--upload-pack=x", "a b", "a..b", "a~1", "a^", "a:b", "a?", "a*", "[a", "a\\b"),
        *("@{u}", "a//b", "/a", "a/", ".a", "a/.b", "a.lock", "a.", "a\x7f", "a\n"),
        *("a\udcff", "a\x85"),
    ],
)
def test_check_ref__name_that_git_cannot_have__is_refused(ref: str) -> None:
    with pytest.raises(InvalidValue) as raised:
        check_ref(ref)

    assert raised.value.field == "code.ref"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".git", "-x", "a\0b"])
def test_check_folder__no_plain_name__is_refused(name: str) -> None:
    with pytest.raises(InvalidValue):
        check_folder(name)


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://token@example.com/a.git", "https://example.com/a.git"),
        ("https://me:token@example.com:8443/a.git?x=1", "https://example.com:8443/a.git"),
        ("ssh://git:secret@example.com/a.git", "ssh://git@example.com/a.git"),
        ("git@example.com:a.git", "git@example.com:a.git"),
        ("/srv/a.git", "/srv/a.git"),
    ],
)
def test_url_for_people__configured_remote__loses_its_secrets(url: str, kept: str) -> None:
    assert url_for_people(url) == kept


@pytest.mark.parametrize(
    ("parent", "relative", "joined"),
    [
        ("https://example.com/a/b.git", "../c.git", "https://example.com/a/c.git"),
        ("https://example.com/a/b.git", "../../c.git", "https://example.com/c.git"),
        ("https://example.com/a/b.git", "./c", "https://example.com/a/b.git/c"),
        ("git@example.com:a/b.git", "../c.git", "git@example.com:a/c.git"),
        ("/srv/git/b", "../c", "/srv/git/c"),
        ("file:///srv/git/b", "../c", "file:///srv/git/c"),
    ],
)
def test_join_url__relative_submodule__is_resolved_as_git_does(
    parent: str, relative: str, joined: str
) -> None:
    assert join_url(parent, relative) == joined
