"""One module per revision: `rNNNN_what.py` with `upgrade()`."""
