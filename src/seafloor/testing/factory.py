"""Making a store by its name, for processes that tests start."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import cast


def store_from(name: str, folder: str) -> object:
    """Call ``module:name`` with a folder."""
    module, _, attribute = name.partition(":")
    make = cast("Callable[[Path], object]", getattr(importlib.import_module(module), attribute))
    return make(Path(folder))
