"""pyarrow, which is large: loaded when an export is written or read."""

from __future__ import annotations

import importlib
from types import ModuleType

from seafloor.domain.errors import NotSupported


def arrow(module: str = "") -> ModuleType:
    """Load pyarrow, or a module of it (``.parquet``).

    Raises:
        NotSupported: it is not installed.
    """
    try:
        return importlib.import_module(f"pyarrow{module}")
    except ImportError as error:
        raise NotSupported(
            "Exports are Parquet files, and pyarrow is not installed: "
            "run `pip install 'seafloor[parquet]'`."
        ) from error
