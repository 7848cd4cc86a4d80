"""Bringing here what other programs kept: sources, what they are read as, and the importer."""
