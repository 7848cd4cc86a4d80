"""Everything large: bytes under keys."""
