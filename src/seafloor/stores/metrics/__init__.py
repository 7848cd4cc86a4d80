"""Series of points: the journal and the summaries."""
