"""Behaviour put around an object store: each wrapper is an object store too."""
