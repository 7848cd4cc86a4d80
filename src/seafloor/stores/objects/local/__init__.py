"""Objects as files of a local (or network) folder."""

from seafloor.stores.objects.local.store import LocalObjectStore

__all__ = ["LocalObjectStore"]
