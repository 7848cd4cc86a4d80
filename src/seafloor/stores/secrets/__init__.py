"""Secrets: values that are used by their name and never shown."""
