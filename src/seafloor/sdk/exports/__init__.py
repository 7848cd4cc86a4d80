"""A folder of Parquet files with all that a server shows of experiments and runs."""
