"""The environment of a pod: made beside another image's Python, it gets the one that is here."""

from __future__ import annotations

import os
import sys
from typing import Dict, Optional

_CONFIG = "pyvenv.cfg"


def fit_environment(variables: Dict[str, str]) -> Optional[str]:
    """Have a virtual environment whose Python is not here use the one that runs this.

    One whose Python is here is left as it is. May be repeated.

    Args:
        variables: ``VIRTUAL_ENV`` names its folder.

    Returns:
        One sentence for the user why it cannot be used; None: it can, or there is none.
    """
    folder = variables.get("VIRTUAL_ENV", "")
    python = os.path.join(folder, "bin", "python")
    if not folder or os.path.exists(python) or not os.path.islink(python):
        return None
    wanted = sorted(
        name for name in os.listdir(os.path.join(folder, "lib")) if name.startswith("python")
    )
    here = "python{}.{}".format(*sys.version_info[:2])
    own = os.path.realpath(sys.executable)
    if here not in wanted:
        return "The environment's packages are for {}, and its image has {} ({}).".format(
            ", ".join(wanted) or "another Python", here, own
        )
    try:
        _link(folder, python, own)
    except OSError as error:
        return "The environment cannot be fitted to the image's Python ({}): {}.".format(own, error)
    return None


def _link(folder: str, python: str, own: str) -> None:
    path = os.path.join(folder, _CONFIG)
    with open(path, encoding="utf-8") as stream:
        lines = stream.read().splitlines()
    made = [
        "home = {}".format(os.path.dirname(own))
        if line.partition("=")[0].strip() == "home"
        else line
        for line in lines
    ]
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("\n".join(made) + "\n")
    # Last, since it is by this that it counts as fitted.
    os.unlink(python)
    os.symlink(own, python)
