"""The variables of a command: few of the server's, none of its secrets, and the launch's."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from seafloor.environments.build import BuiltEnvironment
from seafloor.launch.local.folders import AttemptFolders
from seafloor.launch.protocol import TaskLaunch

INHERITED: Final = (
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",  # where drivers of accelerators are
    "CUDA_HOME",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
)
"""What a command inherits by name, besides ``PATH`` and every ``LC_…``."""

_PATH_DEFAULT: Final = "/usr/local/bin:/usr/bin:/bin"


def command_variables(
    launch: TaskLaunch,
    folders: AttemptFolders,
    built: BuiltEnvironment | None,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """All variables of a command; those of the launch win.

    Args:
        built: The environment it runs in; None: the Python that this server is run by.
        inherited: The server's own variables.
    """
    made = {
        name: value
        for name, value in inherited.items()
        if name in INHERITED or name.startswith("LC_")
    }
    prefix = _own_prefix() if built is None else built.path
    bin_dir = Path(sys.executable).parent if built is None else built.python_path.parent
    made["PATH"] = os.pathsep.join((str(bin_dir), inherited.get("PATH") or _PATH_DEFAULT))
    if prefix is not None:
        is_conda = (prefix / "conda-meta").is_dir()
        made["CONDA_PREFIX" if is_conda else "VIRTUAL_ENV"] = str(prefix)
    made["SEAFLOOR_CODE_DIR"] = str(folders.code)
    made["SEAFLOOR_OUTPUT_DIR"] = str(folders.written_to(folders.output))
    made["SEAFLOOR_EVENTS_DIR"] = str(folders.written_to(folders.events))
    made["SEAFLOOR_HOME"] = str(folders.client)
    return {**made, **launch.env}


def _own_prefix() -> Path | None:
    """The virtual environment that this server runs in, None when it is none."""
    return Path(sys.prefix) if sys.prefix != sys.base_prefix else None
