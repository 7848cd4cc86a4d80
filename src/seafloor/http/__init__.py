"""The HTTP server: native API, MLflow API, the page."""
