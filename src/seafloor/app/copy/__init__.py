"""Copying a whole installation from one place to another: resumable, checked by digest."""
