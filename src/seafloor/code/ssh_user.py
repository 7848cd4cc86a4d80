"""A name for the user id that we run as, where it has none: ssh does nothing without.

Clusters give pods ids that no image knows. ``nss_wrapper`` answers for the password file; it is
loaded into what git starts, and nothing else.
"""

from __future__ import annotations

import atexit
import functools
import os
import pwd
import tempfile
from pathlib import Path
from typing import Final

_FOLDERS: Final = ("/usr/lib", "/usr/lib64", "/usr/local/lib")
_LIBRARY: Final = "libnss_wrapper.so"


@functools.cache
def ssh_user_variables(home: str) -> tuple[tuple[str, str], ...]:
    """Variables by which programs find a name for this process's user; none where it has one.

    Also none where the library is missing: what ssh says then is told by ``git_errors``.

    Args:
        home: Where ssh looks for its settings, if it may.
    """
    user, group = os.geteuid(), os.getegid()
    try:
        pwd.getpwuid(user)
    except KeyError:
        library = _library()
    else:
        return ()
    if library is None:
        return ()
    folder = home if ":" not in home and "\n" not in home else "/"
    passwd = _kept(f"seafloor:x:{user}:{group}::{folder}:/bin/sh\n", "passwd")
    groups = _kept(f"seafloor:x:{group}:\n", "group")
    return (
        ("LD_PRELOAD", str(library)),
        ("NSS_WRAPPER_PASSWD", str(passwd)),
        ("NSS_WRAPPER_GROUP", str(groups)),
    )


def _library() -> Path | None:
    found = (
        path
        for folder in _FOLDERS
        for pattern in (_LIBRARY, f"*/{_LIBRARY}")
        for path in Path(folder).glob(pattern)
    )
    return next(found, None)


def _kept(content: str, name: str) -> Path:
    """A file of ours alone until this process ends."""
    handle, path = tempfile.mkstemp(prefix=f"seafloor-{name}-")
    with os.fdopen(handle, "w") as file:
        file.write(content)
    atexit.register(Path(path).unlink, missing_ok=True)
    return Path(path)
