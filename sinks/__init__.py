"""From the topics to those who look: ClickHouse for history, Prometheus for now."""
