"""A code source in, a folder and a receipt out."""
