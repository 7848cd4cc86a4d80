"""Dependency sets: lock and build, cached by digest."""
