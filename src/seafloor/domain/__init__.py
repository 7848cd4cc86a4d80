"""Values and rules, one file per noun. No I/O, no clock."""
