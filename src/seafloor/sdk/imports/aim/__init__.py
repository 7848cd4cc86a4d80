"""What Aim keeps: a repository ``.aim``, which only Aim itself can read."""
