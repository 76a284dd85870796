"""A Kafka broker on free ports, for the tests and the benchmarks alike."""

import socket
from pathlib import Path

from infra.kafka.broker import Broker, BrokerConfig
from infra.stack.toolchain import Toolchain


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def broker_in(directory: Path, tools: Toolchain) -> Broker:
    """Return a broker, not started, on free ports with its data in a directory."""
    if tools.java is None or tools.kafka is None:
        message = "Java and Kafka's jars are needed: run `make tools`"
        raise RuntimeError(message)
    return Broker(
        BrokerConfig(
            port=free_port(),
            controller_port=free_port(),
            directory=directory,
            java=tools.java,
            jars=tools.kafka,
        )
    )
