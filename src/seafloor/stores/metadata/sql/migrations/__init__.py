"""Migrations: numbered, expand first, each safe to apply twice."""
