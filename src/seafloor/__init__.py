"""Seafloor: where everything that machine-learning work produces comes to rest.

The names below are loaded on first use, so that ``import seafloor`` costs next to nothing in a
training script.
"""

from __future__ import annotations

import importlib

__version__ = "0.1.0"

TYPE_CHECKING = False
"""True to type checkers, by its name; the one of ``typing`` would load a dozen modules."""

if TYPE_CHECKING:
    from seafloor.sdk.client import Client as Client
    from seafloor.sdk.tracking import Run as Run
    from seafloor.sdk.tracking import active_run as active_run
    from seafloor.sdk.tracking import end_run as end_run
    from seafloor.sdk.tracking import log_artifact as log_artifact
    from seafloor.sdk.tracking import log_artifacts as log_artifacts
    from seafloor.sdk.tracking import log_audio as log_audio
    from seafloor.sdk.tracking import log_histogram as log_histogram
    from seafloor.sdk.tracking import log_image as log_image
    from seafloor.sdk.tracking import log_metric as log_metric
    from seafloor.sdk.tracking import log_metrics as log_metrics
    from seafloor.sdk.tracking import log_param as log_param
    from seafloor.sdk.tracking import log_params as log_params
    from seafloor.sdk.tracking import log_table as log_table
    from seafloor.sdk.tracking import log_text as log_text
    from seafloor.sdk.tracking import set_tag as set_tag
    from seafloor.sdk.tracking import set_tags as set_tags
    from seafloor.sdk.tracking import start_run as start_run

_HOMES = {
    "log_text": "seafloor.sdk.tracking",
    "log_table": "seafloor.sdk.tracking",
    "log_image": "seafloor.sdk.tracking",
    "log_histogram": "seafloor.sdk.tracking",
    "log_audio": "seafloor.sdk.tracking",
    "Client": "seafloor.sdk.client",
    "Run": "seafloor.sdk.tracking",
    "active_run": "seafloor.sdk.tracking",
    "end_run": "seafloor.sdk.tracking",
    "log_artifact": "seafloor.sdk.tracking",
    "log_artifacts": "seafloor.sdk.tracking",
    "log_metric": "seafloor.sdk.tracking",
    "log_metrics": "seafloor.sdk.tracking",
    "log_param": "seafloor.sdk.tracking",
    "log_params": "seafloor.sdk.tracking",
    "set_tag": "seafloor.sdk.tracking",
    "set_tags": "seafloor.sdk.tracking",
    "start_run": "seafloor.sdk.tracking",
}

__all__ = [
    "Client",
    "Run",
    "__version__",
    "active_run",
    "end_run",
    "log_artifact",
    "log_artifacts",
    "log_audio",
    "log_histogram",
    "log_image",
    "log_metric",
    "log_metrics",
    "log_param",
    "log_params",
    "log_table",
    "log_text",
    "set_tag",
    "set_tags",
    "start_run",
]


def __getattr__(name: str) -> object:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'seafloor' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
