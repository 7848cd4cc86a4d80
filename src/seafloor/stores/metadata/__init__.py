"""Small records: projects, experiments, workloads, attempts, environments, models."""
