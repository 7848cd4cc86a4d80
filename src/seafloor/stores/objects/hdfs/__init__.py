"""Objects as files of HDFS."""
