"""What the log itself tells about the pipeline, for Prometheus to scrape."""
