"""What is made of the answers of S3 that say little."""

from __future__ import annotations

import pytest
from obstore.exceptions import BaseError, GenericError, PermissionDeniedError

from seafloor.domain.errors import StoreError, StoreUnavailable
from seafloor.stores.objects.cloud.errors import CloudWords, translated

WORDS = CloudWords(
    bucket='bucket "b"',
    make="make it.",
    rights={"read": "give the right.", "delete": "give the right."},
    credentials="set the key.",
    region="set the region.",
)
HEAD = "Error performing HEAD http://s3.test/b/a in 1ms - Server returned non-2xx status code: "
IN_SUCCESS = (
    "Generic S3 error: Error performing POST http://s3.test/b?delete in 1ms - Server returned "
    'error response: <?xml version="1.0"?><DeleteResult><Error><Key>a</Key><Code>SlowDown</Code>'
    "<Message>m</Message></Error></DeleteResult>"
)


def told(error: BaseError, action: str = "read") -> StoreError:
    with pytest.raises(StoreError) as caught, translated(WORDS, action, "a"):
        raise error
    return caught.value


def test_busy__said_in_an_answer_of_success__is_no_store_that_does_not_answer() -> None:
    error = told(GenericError(IN_SUCCESS), "delete")
    assert isinstance(error, StoreUnavailable)
    assert error.message == 'bucket "b" cannot serve this now (SlowDown): repeat.'


def test_head__refused_without_a_word__names_the_key_and_the_clock() -> None:
    said = f"The operation lacked the necessary privileges to complete for path a: {HEAD}403"
    message = told(PermissionDeniedError(said)).message
    assert "give the right. If that right is there, set the key." in message
    assert "clock" in message


def test_head__bad_request_without_a_word__names_the_token() -> None:
    error = told(GenericError(f"Generic S3 error: {HEAD}400 Bad Request: "))
    assert "expired" in error.message
    assert error.message.endswith("set the key.")
    assert not error.retryable


def test_no_answer__is_a_store_that_does_not_answer() -> None:
    error = told(GenericError("Generic S3 error: error sending request"))
    assert isinstance(error, StoreUnavailable)
    assert "does not answer" in error.message
