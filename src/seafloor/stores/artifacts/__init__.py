"""Files that workloads keep, with their manifest."""
