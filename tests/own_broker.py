"""A Kafka broker on free ports, for the tests and the benchmarks alike."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable
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


async def stopped(broker: Broker, seconds: float) -> None:
    """Keep a broker's process from running for so long: it is there, and does not answer."""
    assert broker.pid
    os.kill(broker.pid, signal.SIGSTOP)
    await asyncio.sleep(seconds)  # the outage itself, not a wait for something
    os.kill(broker.pid, signal.SIGCONT)


async def killed(broker: Broker, seconds: float) -> None:
    """Take a broker away without a word, and start it again after so long."""
    await broker.kill()
    await asyncio.sleep(seconds)
    await broker.start()


async def restarted(broker: Broker, seconds: float) -> None:
    """End a broker in order, in which it gives up its leadership, and start it again."""
    await broker.stop()
    await asyncio.sleep(seconds)
    await broker.start()


Outage = Callable[[Broker, float], Awaitable[None]]
OUTAGES: tuple[Outage, ...] = (stopped, killed, restarted)
