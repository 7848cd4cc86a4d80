"""What wandb keeps: a folder for each run, with a log of records and the run's files."""
