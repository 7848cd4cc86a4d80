"""What clients log to a workload, written as one."""
