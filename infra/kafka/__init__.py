"""Apache Kafka: producing by the batch, topics made as declared, one broker on this machine."""
