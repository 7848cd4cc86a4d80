"""Tries whether commands can have their code at ``/code`` here, and share it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from seafloor.app.store_checks import StoreCheck
from seafloor.boot.settings import Settings
from seafloor.launch.local.code_mounts import why_no_layers, why_no_mount

_INSTEAD = "Commands use $SEAFLOOR_CODE_DIR, or paths from their working folder."
_ALLOW = (
    "Allow user namespaces (sysctl kernel.unprivileged_userns_clone=1, "
    "kernel.apparmor_restrict_unprivileged_userns=0, user.max_user_namespaces above 0), give the "
    "container the right to mount, or leave /code empty."
)
_LAYERS = "That takes overlayfs (Linux 5.11 or newer) and a data folder on a disk of its own."


def check_code(settings: Settings) -> list[StoreCheck]:
    """Try both in folders beside the data, which are removed again."""
    if not settings.launch.mount_code:
        return [StoreCheck("/code", "ok", f"launch.mount_code is off. {_INSTEAD}")]
    why = why_no_mount()
    if why:
        return [StoreCheck("/code", "warn", f"cannot be mounted: {why}. {_INSTEAD}", _ALLOW)]
    mounted = StoreCheck("/code", "ok", "commands have their code there")
    place = settings.data_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryDirectory(prefix=".seafloor-probe-", dir=place) as folder:
            why = why_no_layers(Path(folder, "trees"), Path(folder, "work"))
    except OSError as error:
        why = str(error)
    if why:
        said = f"every run writes its code's files itself: no layers ({why})"
        return [mounted, StoreCheck("/code: shared", "warn", said, _LAYERS)]
    said = "runs of the same code share its files, and write into layers of their own"
    return [mounted, StoreCheck("/code: shared", "ok", said)]
