"""Volumes as folders of this machine: ``<root>/<volume>/<content>/``.

Which content is the current one stands in the volume's record, so that a restore becomes visible by
one change of one row: whoever is killed meanwhile leaves the old content or the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from seafloor.code.removal import remove_tree
from seafloor.domain.errors import NotFound
from seafloor.domain.ids import Sha256, parse_workload_id
from seafloor.launch.local.disk import disk_errors
from seafloor.launch.local.volume_archive import count, make_durable, pack, unpack
from seafloor.launch.volumes import Bytes, Counted, Packing


class LocalVolumes:
    """See ``VolumeFolders``.

    Args:
        root: All below it is Seafloor's.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    def path(self, volume_id: str, content: int) -> Path:
        """See ``VolumeFolders``."""
        return self._of(volume_id) / str(content)

    def make(self, volume_id: str, content: int) -> None:
        """See ``VolumeFolders``."""
        with disk_errors("Making a volume"):
            self._of(volume_id).mkdir(parents=True, exist_ok=True, mode=0o700)
            self.path(volume_id, content).mkdir(exist_ok=True)

    def check(self, volume_id: str, content: int, *, name: str) -> None:
        """See ``VolumeFolders``."""
        path = self.path(volume_id, content)
        if not path.is_dir():
            raise NotFound(
                f'The folder of the volume "{name}" is not on this machine ({path}): with several '
                "servers give all of them one launch.volumes_dir that they share; or restore a "
                "snapshot.",
                field="volumes",
            )

    def count(self, volume_id: str, content: int) -> Counted:
        """See ``VolumeFolders``."""
        with disk_errors("Counting a volume"):
            return count(self.path(volume_id, content))

    def pack(self, volume_id: str, content: int, packing: Packing) -> Iterator[bytes]:
        """See ``VolumeFolders``."""
        with disk_errors("Reading a volume"):
            yield from pack(self.path(volume_id, content), packing)

    def unpack(
        self,
        volume_id: str,
        content: int,
        source: Bytes,
        *,
        sha256: Sha256,
        progress: Callable[[int], None],
    ) -> None:
        """See ``VolumeFolders``."""
        folder = self.path(volume_id, content)
        with disk_errors("Restoring a volume"):
            if folder.exists():
                remove_tree(folder)
            self.make(volume_id, content)
            unpack(source, folder, sha256=sha256, progress=progress)
            make_durable(folder)

    def remove(self, volume_id: str) -> None:
        """See ``VolumeFolders``."""
        folder = self._of(volume_id)
        with disk_errors("Removing a volume"):
            if folder.exists():
                remove_tree(folder)

    def contents(self, volume_id: str) -> frozenset[int]:
        """See ``VolumeFolders``."""
        with disk_errors("Looking at a volume"):
            names = [folder.name for folder in self._of(volume_id).glob("*")]
        return frozenset(int(name) for name in names if name.isdigit())

    def drop(self, volume_id: str, content: int) -> None:
        """See ``VolumeFolders``."""
        folder = self.path(volume_id, content)
        with disk_errors("Tidying a volume"):
            if folder.exists():
                remove_tree(folder)

    def _of(self, volume_id: str) -> Path:
        parse_workload_id(volume_id, field="volume")
        return self._root / volume_id
