"""Wraps every task, everywhere. Standard library only, Python 3.8+."""
