"""What uv says, of this and of older versions, in words for the user."""

from __future__ import annotations

import pytest

from seafloor.domain.errors import SourceError, StoreFull
from seafloor.environments.uv_command import UvEnded
from seafloor.environments.uv_errors import MESSAGE_CHARS_MAX, error_of

UNKNOWN = """\
warning: Failed to inspect Python interpreter from search path at `/opt/python3.9`
  cause: Querying Python at `/opt/python3.9` failed with exit status exit status: 127

         [stderr]
         python3.9: command not found
error: No solution found when resolving dependencies
  cause: Because whale was not found in the package registry and you require whale, we can \
conclude that your requirements are unsatisfiable.
"""
UNKNOWN_AS_A_TREE = """\
  × No solution found when resolving dependencies:
  ╰─▶ Because whale was not found in the package registry and you require
      whale, we can conclude that your requirements are unsatisfiable.
"""
TWO_STEPS = """\
error: No solution found when resolving dependencies
  cause: Because whale==2 depends on krill>=1 and you require whale==2, we can conclude that \
you require krill>=1.
         And because you require krill<1, we can conclude that your requirements are \
unsatisfiable.

hint: Perhaps something else.
"""
DNS = """\
error: Request failed after 3 retries in 7.4s
  cause: Failed to fetch: https://captain:hunter2@index.example/simple/six/
  cause: error sending request for url (https://captain:hunter2@index.example/simple/six/)
  cause: client error (Connect)
  cause: dns error
  cause: failed to lookup address information: Name or service not known
"""
OFFLINE = """\
error: No solution found when resolving dependencies
  cause: Because six was not found in the cache and you require six, we can conclude that your \
requirements are unsatisfiable.

hint: Packages were unavailable because the network was disabled. When the network is disabled, \
registry packages may only be read from the cache.
"""
FULL = """\
error: Failed to install: whale-1.0-py3-none-any.whl (whale==1.0)
  cause: failed to copy file from /a to /b: No space left on device (os error 28)
"""


def said(stderr: str) -> str:
    error = error_of(UvEnded(1, "", stderr), doing="The requirements cannot be met")
    assert isinstance(error, SourceError)
    assert error.field == "pip"
    return error.message


@pytest.mark.parametrize("stderr", [UNKNOWN, UNKNOWN_AS_A_TREE])
def test_error__unknown_package__is_one_sentence(stderr: str) -> None:
    assert said(stderr) == (
        "The requirements cannot be met: whale was not found in the package registry "
        "and you require whale."
    )


def test_error__contradiction__keeps_the_steps() -> None:
    assert said(TWO_STEPS) == (
        "The requirements cannot be met: whale==2 depends on krill>=1 and you require whale==2, "
        "we can conclude that you require krill>=1. And because you require krill<1."
    )


@pytest.mark.parametrize("stderr", [DNS, OFFLINE])
def test_error__out_of_reach__can_be_tried_again(stderr: str) -> None:
    error = error_of(UvEnded(2, "", stderr), doing="")
    assert error.message.startswith("Seafloor could not reach the package index")
    assert error.retry_after_s is not None
    for hidden in ("captain", "hunter2", "index.example"):
        assert hidden not in error.message
        assert hidden not in (error.detail or "")


def test_error__no_space__is_store_full() -> None:
    assert isinstance(error_of(UvEnded(2, "", FULL), doing=""), StoreFull)


def test_error__silent__still_says_something() -> None:
    assert said("") == "The requirements cannot be met: uv did not say why."


def test_error__endless__is_cut_in_the_middle() -> None:
    message = said("error: begins\n" + "  cause: and so on\n" * 1_000 + "  cause: ends\n")
    assert len(message) < MESSAGE_CHARS_MAX + 100
    assert "begins" in message
    assert message.endswith("ends.")
