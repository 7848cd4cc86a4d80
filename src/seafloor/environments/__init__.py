"""Dependency sets: lock and build, cached by digest.

``lock.lock_environment`` makes exact versions of what a user asks for; ``build.EnvironmentCache``
makes the folder of a lock, once, and shares it between runs and processes. Nothing here knows a
database.
"""
