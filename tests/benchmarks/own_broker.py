"""A Kafka broker for the length of a benchmark."""

import contextlib
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from infra.kafka.broker import Broker, BrokerConfig
from infra.stack.toolchain import resolve, tools_directory


@contextlib.asynccontextmanager
async def own_broker() -> AsyncIterator[Broker]:
    """Start a broker on free ports, with its data in a directory that goes with it."""
    tools = resolve(tools_directory(), monitoring=False)
    if tools.java is None or tools.kafka is None:
        message = "a benchmark needs Java and Kafka's jars: run `make setup`"
        raise RuntimeError(message)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        broker = Broker(
            BrokerConfig(
                port=free_port(),
                controller_port=free_port(),
                directory=Path(folder),
                java=tools.java,
                jars=tools.kafka,
            )
        )
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
