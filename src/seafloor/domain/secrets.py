"""Secrets: values that are used by their name and never shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final, NoReturn

from seafloor.domain.errors import InvalidValue, LimitExceeded, NotFound
from seafloor.domain.names import check_slug

VALUE_BYTES_MAX: Final = 1 << 20
_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}\Z")


class Secret(Mapping[str, bytes]):
    """The values of one secret, by their keys.

    It shows its name only, and is neither pickled nor encoded.
    """

    def __init__(self, name: str, values: Mapping[str, bytes]) -> None:
        self.name = name
        self._values = dict(values)

    def __getitem__(self, key: str) -> bytes:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("A secret does not leave the process that reads it.")

    def text(self, key: str) -> str | None:
        """A value of one line, without its end; None when there is no such key.

        Raises:
            InvalidValue: it is not one line of UTF-8.
        """
        value = self._values.get(key)
        if value is None:
            return None
        try:
            found = value.decode().strip("\r\n")
        except UnicodeDecodeError:
            found = "\n"
        if not found.isprintable():
            # Its cause would show the value.
            raise InvalidValue(
                f'The key "{key}" of the secret "{self.name}" is not one line of text: set it anew '
                f"with `seafloor secret set {self.name} {key}`.",
                field="secret",
            ) from None
        return found


def no_secrets(name: str) -> NoReturn:
    """Be where no secrets are kept: NotFound."""
    raise NotFound(f'There is no secret "{name}" here.', field="secret")


def check_secret_name(name: str) -> str:
    """Check that a text can be the name of a secret; InvalidValue."""
    return check_slug(name, field="secret")


def check_secret_key(key: str) -> str:
    """Check that a text can be a key, as Kubernetes has them.

    Raises:
        InvalidValue: it cannot.
    """
    if not _KEY.match(key):
        raise InvalidValue(
            f'"{key[:60]}" is no key of a secret: use letters, digits, "-", "_" and ".".',
            field="key",
        )
    return key


def check_secret_value(value: bytes) -> bytes:
    """Check the size of a value; InvalidValue, LimitExceeded."""
    if not value:
        raise InvalidValue("The value is empty.", field="value")
    if len(value) > VALUE_BYTES_MAX:
        raise LimitExceeded(f"A value has at most {VALUE_BYTES_MAX} bytes.", field="value")
    return value
