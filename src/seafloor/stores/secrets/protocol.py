"""What keeps secrets must do."""

from __future__ import annotations

from typing import Protocol

from seafloor.domain.secrets import Secret


class Secrets(Protocol):
    """Secrets by name. Blocking."""

    def get(self, name: str) -> Secret:
        """Read one.

        Raises:
            NotFound: there is none of that name.
            StoreError: it cannot be read.
        """
        ...
