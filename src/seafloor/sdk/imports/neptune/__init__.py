"""What neptune-exporter wrote: Parquet files of attributes, and the files of runs."""
