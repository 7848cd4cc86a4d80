"""Metadata in a SQL database through SQLAlchemy Core: one module per noun."""
