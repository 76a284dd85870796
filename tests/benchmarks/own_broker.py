"""A Kafka broker for the length of a benchmark."""

import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from infra.kafka.broker import Broker
from infra.stack.toolchain import resolve, tools_directory
from tests.own_broker import broker_in


@contextlib.asynccontextmanager
async def own_broker() -> AsyncIterator[Broker]:
    """Start a broker on free ports, with its data in a directory that goes with it."""
    tools = resolve(tools_directory(), monitoring=False)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        broker = broker_in(Path(folder), tools)
        await broker.start()
        try:
            yield broker
        finally:
            await broker.stop()
