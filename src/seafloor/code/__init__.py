"""A code source in, a folder and a receipt out.

``git.resolve_git`` and ``snapshot.take_snapshot`` make an immutable source of what the user named;
``localize.localize`` makes the folder of it. Everything here is synchronous: the server calls it in
a thread, the light client directly.
"""
