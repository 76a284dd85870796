"""How Prometheus is configured: what it scrapes, under which job names."""
