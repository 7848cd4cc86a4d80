"""Which NameNode of a pair is asked first.

hdfs-native asks them in the order of hdfs-site.xml, and the next one only once one refused or is
not there: behind one that is silent it would never come to the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

_NAMENODES = "dfs.ha.namenodes."


class Pairs:
    """The NameNodes of all name services in the settings, in a changing order.

    Args:
        config_dir: Where hdfs-site.xml is, if there is one. What cannot be read is left to
            hdfs-native, which says so.
    """

    def __init__(self, config_dir: str) -> None:
        self._namenodes = dict(_pairs(Path(config_dir) / "hdfs-site.xml"))

    def rotate(self) -> None:
        """Ask the next one first from now on."""
        self._namenodes = {
            name: [*namenodes[1:], namenodes[0]] for name, namenodes in self._namenodes.items()
        }

    def settings(self) -> dict[str, str]:
        """The order, as settings that come before those of the file."""
        return {name: ",".join(namenodes) for name, namenodes in self._namenodes.items()}


def _pairs(file: Path) -> Iterator[tuple[str, list[str]]]:
    try:
        # The administrator's own file, which also says whom to trust.
        root = ElementTree.parse(file).getroot()  # noqa: S314
    except (OSError, ElementTree.ParseError):
        return
    for setting in root.iter("property"):
        name = setting.findtext("name", "").strip()
        namenodes = setting.findtext("value", "").split(",")
        if name.startswith(_NAMENODES) and all(namenodes):
            yield name, [namenode.strip() for namenode in namenodes]
