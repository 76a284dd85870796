"""One trace from the socket to the browser, across Kafka: see docs/tracing.md."""
