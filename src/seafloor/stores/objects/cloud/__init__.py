"""Objects in a bucket of S3 or a container of Azure Blob Storage, by obstore."""
