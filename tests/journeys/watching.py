"""What somebody at the hub sees, for as long as they look."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from tests.journeys.running import Stack
from tests.sinks.hub.client import Talk, talking

#: A hub believes a client to be gone after thirty seconds without a word.
PING_S = 5.0


class Seen:
    """What was seen: switches, each with the seconds that it took to get here, and prices."""

    def __init__(self) -> None:
        self.switches: list[tuple[str, float]] = []
        #: Whether prices were in real time, each time that this changed.
        self.real_time: list[bool] = []

    def take(self, message: Any) -> None:
        """Take a message of the hub's."""
        match message:
            case {"target": "DataSourceChanged", "arguments": [source]}:
                switched = datetime.fromisoformat(source["timestamp"]).timestamp()
                self.switches.append((source["state"], time.time() - switched))
            case {"target": "PriceUpdate", "arguments": [price]}:
                if self.real_time[-1:] != [price["isRealTime"]]:
                    self.real_time.append(price["isRealTime"])


@contextlib.asynccontextmanager
async def watching(stack: Stack) -> AsyncIterator[Seen]:
    """Look at all prices."""
    async with present(stack, "market-data") as seen:
        yield seen


@contextlib.asynccontextmanager
async def present(stack: Stack, hub: str, token: str | None = None) -> AsyncIterator[Seen]:
    """Be connected at one of the hub's addresses, with a token or as anybody."""
    seen = Seen()
    url = f"http://127.0.0.1:{stack.port('hub')}/hubs/{hub}"
    async with talking(url, params={"access_token": token} if token else {}) as talk:
        talk.patience_s = 120
        await talk.call("SubscribeToAssetClass", "STOCK")
        await talk.call("SubscribeToPriceUpdates", "STOCK", ["AAPL", "MSFT"])
        tasks = [asyncio.create_task(work(talk, seen)) for work in (_look, _ping)]
        try:
            yield seen
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in ended:
        assert isinstance(outcome, asyncio.CancelledError), outcome


async def _look(talk: Talk, seen: Seen) -> None:
    while (message := await talk.hear()) is not None:
        seen.take(message)
    error = "the hub closed"
    raise AssertionError(error)


async def _ping(talk: Talk, _: Seen) -> None:
    while True:
        await talk.say(type=6)
        await asyncio.sleep(PING_S)
