"""What a bug of ours leaves: a line for the user, and a file with its details for us."""

from __future__ import annotations

import sys
import time
import traceback
from pathlib import Path

from seafloor.domain.errors import SeafloorError
from seafloor.sdk.settings import read_settings


def keep_details(error: Exception) -> str:
    """Write down what a bug left, and say where."""
    mark = f"{time.time_ns() // 1_000_000:x}"
    said = f"seafloor met a bug of its own ({type(error).__name__}), id {mark}"
    details = "".join(traceback.format_exception(error))
    try:
        file = Path(read_settings().home, "crashes", f"{mark}.txt")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{sys.argv}\n{sys.version}\n{details}", encoding="utf-8")
    except (OSError, SeafloorError):
        return f"{said}; its details could not be written: {details.strip().splitlines()[-1]}"
    return f"{said}; please report it with the details in {file}"
