"""The part of the MLflow REST API that unmodified clients call."""
