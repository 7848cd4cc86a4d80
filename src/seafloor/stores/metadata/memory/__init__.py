"""The metadata store in memory: the model that other implementations are compared with."""

from seafloor.stores.metadata.memory.store import MemoryMetadataStore

__all__ = ["MemoryMetadataStore"]
