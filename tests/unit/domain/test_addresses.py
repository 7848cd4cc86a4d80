"""What of an address is shown."""

from __future__ import annotations

import pytest

from seafloor.domain.addresses import without_secrets


@pytest.mark.parametrize(
    "text",
    [
        "--index-url http://user:canary@x/",
        "https://canary@host/six-1.0-py3-none-any.whl",
        "git+https://user:canary@host/x.git@v1",
        "six @ https://user:canary@host/six.whl garbage",
        "--index-url=https://user:canary@host:8080/simple",
        "six @ https://host/six.whl?token=canary#sha256=00",
        "https://host?canary",
        "https://user:can/canary@host/x",
        "https://user:can canary@host/x",
        "https://user:can?canary@host/x",
        "https://user:can@canary@host/x",
        "https://:canary@host/x",
        "a @ https://u:canary@a/x ; b @ https://u:canary@b/x",
        "https://conda.anaconda.org/t/canary/team",
        "https://conda.anaconda.org/t/canary",
    ],
)
def test_without_secrets__a_secret_in_an_address__is_gone(text: str) -> None:
    assert "canary" not in without_secrets(text)
    assert "…" in without_secrets(text)


@pytest.mark.parametrize(
    "text",
    [
        "six>=1.16,<2 ; python_version < '3'",
        "six @ https://host:8080/six.whl#sha256=00",
        "git+https://host/x.git@v1",
        "git+https://host:443/x.git@v1",
        "team@host:x.git",
        "what? //no",
    ],
)
def test_without_secrets__no_secret__is_left_as_it_is(text: str) -> None:
    assert without_secrets(text) == text
