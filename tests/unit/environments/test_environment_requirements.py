"""What may stand under ``pip:``, and how the rest is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from seafloor.domain.errors import InvalidValue, LimitExceeded
from seafloor.environments.requirements import REQUIREMENTS_MAX, parse_requirements

SHA256 = "sha256=" + "0" * 64


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("six", "six"),
        ("  six == 1.17.0 ", "six==1.17.0"),
        ("torch>=2,<3", "torch<3,>=2"),
        ("mlflow[extras]>=3", "mlflow[extras]>=3"),
        ('tomli; python_version < "3.11"', 'tomli; python_version < "3.11"'),
        ("a @ git+https://example.com/a.git@v1", "a @ git+https://example.com/a.git@v1"),
        ("a @ git+ssh://git@example.com/a.git", "a @ git+ssh://git@example.com/a.git"),
        (
            f"a @ https://example.com/a-1-py3-none-any.whl#{SHA256}",
            f"a @ https://example.com/a-1-py3-none-any.whl#{SHA256}",
        ),
        (
            f"a @ https://example.com/a-1-py3-none-any.whl?raw=true#{SHA256}",
            f"a @ https://example.com/a-1-py3-none-any.whl?raw=true#{SHA256}",
        ),
    ],
)
def test_parse__acceptable__is_kept(written: str, read: str) -> None:
    assert parse_requirements([written]) == (read,)


@pytest.mark.parametrize(
    ("written", "reason"),
    [
        ("", "is empty"),
        ("   ", "is empty"),
        ("# numpy", "is empty"),
        ("-r requirements.txt", "options are not accepted"),
        ("--index-url https://example.com/simple", "options are not accepted"),
        ("-e .", "options are not accepted"),
        ("six\nrequests", "line break"),
        ("six\0", "line break"),
        ("a" * 3_000, "too long"),
        (f"a @ https://${{AWS_SECRET_ACCESS_KEY}}.x.org/a.whl#{SHA256}", "nothing fills it in"),
        ("a @ git+https://example.com/${HOME}/a", "nothing fills it in"),
        ("a @ git+https://example.com/a@${REF", "nothing fills it in"),
        ("six=1.17", "Write it like"),
        ("six # the compatible", "Write it like"),
        ("two words", "Write it like"),
        ("naïve", "Write it like"),
        ("./dist/a-1-py3-none-any.whl", "must be absolute"),
        ("../a", "must be absolute"),
        ("~/a-1-py3-none-any.whl", "must be absolute"),
        ("a-1-py3-none-any.whl", "must be absolute"),
        ("/nowhere/a-1-py3-none-any.whl", "no such file"),
        ("/nowhere/a.txt", "not named like a wheel"),
        ("a @ file:///nowhere/a-1-py3-none-any.whl", "no such file"),
        ("a @ https://example.com/a-1-py3-none-any.whl", "end it with #sha256"),
        (f"a @ https://example.com/a.whl#{SHA256}0", "end it with #sha256"),
        ("a @ ftp://example.com/a.whl", "must begin with one of: https"),
        ("a @ //example.com/a.whl", "must begin with one of: https"),
        ("a @ https://[::1/a.whl", "cannot be read"),
    ],
)
def test_parse__not_acceptable__says_which_and_why(written: str, reason: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_requirements(["six", written])
    assert reason in caught.value.message
    assert caught.value.field == "pip[1]"
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "url",
    [
        "https://captain:hunter2@example.com/a.whl",
        "https://hunter2@example.com/a.whl",
        "git+https://captain:hunter2@example.com/a.git",
        "git+ssh://git:hunter2@example.com/a.git",
    ],
)
def test_parse__password_in_an_address__is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_requirements([f"a @ {url}"])
    assert "hunter2" not in caught.value.message
    assert "password" in caught.value.message


@pytest.mark.parametrize(
    "url",
    [
        f"https://example.com/a-1-py3-none-any.whl?access_token=hunter2#{SHA256}",
        f"https://example.com/a-1-py3-none-any.whl?X-Amz-Signature=hunter2#{SHA256}",
        f"https://example.com/a-1-py3-none-any.whl?sv=1&sig=hunter2#{SHA256}",
        "git+https://example.com/a.git?private_token=hunter2",
    ],
)
def test_parse__token_in_an_address__is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(InvalidValue, match=r"environments\.secrets") as caught:
        parse_requirements([f"a @ {url}"])
    assert "hunter2" not in caught.value.message


def test_parse__file_here__gets_its_sha256(tmp_path: Path) -> None:
    path = tmp_path / "whale-1.0-py3-none-any.whl"
    path.write_bytes(b"whale")
    pinned = f"whale @ {path.as_uri()}#sha256={hashlib.sha256(b'whale').hexdigest()}"
    assert parse_requirements([str(path)]) == (pinned,)
    assert parse_requirements([f"whale @ {path.as_uri()}"]) == (pinned,)
    assert parse_requirements([pinned]) == (pinned,)
    with pytest.raises(InvalidValue, match="the file's sha256 is"):
        parse_requirements([f"whale @ {path.as_uri()}#{SHA256}"])


def test_parse__folder__is_refused_with_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "whale-1.0.tar.gz"
    folder.mkdir()
    with pytest.raises(InvalidValue, match="Build a wheel of it"):
        parse_requirements([str(folder)])


def test_parse__too_many__is_refused() -> None:
    with pytest.raises(LimitExceeded):
        parse_requirements(["six"] * (REQUIREMENTS_MAX + 1))


@given(st.lists(st.sampled_from(["six", " six", "numpy>=2", "numpy >= 2", "a[b]"])))
def test_parse__order_and_repeats__do_not_matter(lines: list[str]) -> None:
    assert parse_requirements(lines) == parse_requirements([*reversed(lines), *lines])


@given(st.text(max_size=60))
def test_parse__any_text__is_read_or_refused(text: str) -> None:
    try:
        (line,) = parse_requirements([text])
    except InvalidValue:
        return
    assert parse_requirements([line]) == (line,)


@pytest.mark.parametrize(
    "line",
    [
        "https://user:canary@host/six-1.0-py3-none-any.whl",
        "git+https://user:canary@host/x.git",
        "six @ https://user:canary@host/six.whl garbage",
        "--index-url=https://user:canary@host/simple",
        "six @ https://host/six.whl?token=canary#sha256=00",
        "six @ https://user:canary@[host/six.whl",
        f"{'x' * 100} @ https://user:canarycanarycanary@host/six.whl garbage",
    ],
)
def test_parse__refused_with_a_secret_in_its_address__is_shown_without_it(line: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        parse_requirements([line])
    assert "canary" not in str(caught.value)
