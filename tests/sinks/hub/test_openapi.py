"""The API keeps to the document that it serves, whatever it is sent: by Schemathesis."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import settings

from infra.clock import NS, now_ns
from sinks.hub.access import Access
from sinks.hub.operations import document
from sinks.hub.promises import Promises
from tests.sinks.hub.client import serving
from tests.sinks.hub.prices import SESSION, beat, price, transition
from tests.sinks.hub.promised import knowing
from tests.sinks.hub.tokens import SECRET, an_admin
from tests.sinks.hub.told import fired, watchdog

pytestmark = pytest.mark.service

API = schemathesis.openapi.from_dict(document())


@pytest.fixture(scope="module")
def served() -> Iterator[str]:
    """A hub in a thread of its own, because Schemathesis waits for its answers."""
    ready = threading.Event()
    found: list[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        async with (
            knowing([]) as url,
            serving(Access(secret=SECRET), promises=Promises(url)) as hub,
        ):
            known, later_ns = hub.broadcast.hub, now_ns() + 3600 * NS
            known.session = SESSION
            known.switch(transition("PRIMARY_ACTIVE"))
            known.sources["alpaca"].take(beat(later_ns))  # all is well for as long as this takes
            hub.broadcast.put([price("AAPL", 190.5, market_time_ns=later_ns)])
            for alert in (watchdog(now_ns()), fired()):
                known.alarms.take(alert)
            stop = asyncio.Event()
            found.append((hub.url, asyncio.get_running_loop(), stop))
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    assert ready.wait(30)
    ((url, loop, stop),) = found
    yield url
    loop.call_soon_threadsafe(stop.set)
    thread.join(30)
    assert not thread.is_alive()


@API.parametrize()
@settings(max_examples=20)
def test_every_operation_keeps_its_word(case: schemathesis.Case[Any], served: str) -> None:
    """Every answer is one that the document has: status, type and shape, to good and bad."""
    case.call_and_validate(base_url=served, headers=an_admin(), timeout=30)


def test_the_document_is_served(served: str) -> None:
    """The same that the above was made of."""
    assert requests.get(f"{served}/openapi.json", timeout=30).json() == document()
