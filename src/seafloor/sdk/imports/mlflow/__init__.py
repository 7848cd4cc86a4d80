"""What MLflow keeps: in a database, behind a tracking server, in a folder of files."""
