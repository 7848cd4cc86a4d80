from __future__ import annotations

import random

import pytest

from seafloor.code.leaks import SCANNED_BYTES_MAX, Leak, LeakScan

# Put together here, so that no scanner takes this file for one that leaks.
_SECRETS = {
    "an access key of AWS": "AKIA" + "QRSTUVWX234567AB",
    "a token of GitHub": "github_" + "pat_" + "a1" * 30,
    "a token of GitLab": "glpat" + "-" + "x" * 20,
    "a token of Hugging Face": "hf" + "_" + "aB" * 17,
    "a token of Slack": "xoxb" + "-" + "1" * 24,
    "an API key of Google": "AIza" + "b" * 35,
    "an API key of a model": "sk-" + "ant-" + "c" * 40,
    "a token of npm": "npm" + "_" + "d" * 36,
    "a token of PyPI": "pypi-" + "AgEIcHlwaS5vcmc" + "e" * 50,
    "a key of Stripe": "sk" + "_live_" + "f" * 24,
    "an account key of Azure": "Account" + "Key=" + "g" * 86 + "==",
    "a private key": "-----BEGIN RSA PRIVATE " + "KEY-----",
}


def _scan(*blocks: bytes) -> list[Leak]:
    scan = LeakScan()
    for block in blocks:
        scan.feed(block)
    return scan.found


@pytest.mark.parametrize("kind", _SECRETS)
def test_leak_scan__known_form__is_found_with_its_line(kind: str) -> None:
    assert _scan(f"a\nb\nkey: {_SECRETS[kind]}\n".encode()) == [Leak(3, kind)]


@pytest.mark.parametrize(
    "text",
    [
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_short",
        "risk-proj-" + "a" * 50,
        "self._hf_token = read()",
        "PRIVATE KEY",
        "-----BEGIN PUBLIC KEY-----",
        "AccountKey=<your key>",
    ],
)
def test_leak_scan__what_only_resembles_one__is_left_alone(text: str) -> None:
    assert _scan(text.encode()) == []


def test_leak_scan__binary_file__is_not_looked_at() -> None:
    assert _scan(b"\0" + _SECRETS["a token of npm"].encode()) == []


def test_leak_scan__file_in_any_pieces__gives_the_same() -> None:
    lines = ["x" * 700, *_SECRETS.values(), "", _SECRETS["a token of npm"]]
    content = "\n".join(lines).encode()
    whole = _scan(content)
    assert len(whole) == len(_SECRETS) + 1
    rng = random.Random(5)
    for _ in range(50):
        cuts = sorted(rng.sample(range(len(content)), 6))
        ends = zip([0, *cuts], [*cuts, len(content)], strict=True)
        assert _scan(*(content[begin:end] for begin, end in ends)) == whole


def test_leak_scan__beyond_the_bound__is_not_looked_at() -> None:
    block = b"line\n" * (1 << 20)
    blocks = [block] * (SCANNED_BYTES_MAX // len(block) + 1)
    assert _scan(*blocks, _SECRETS["a token of npm"].encode()) == []
