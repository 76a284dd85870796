"""`python -m sinks.alerts`: takes what Alertmanager and PagerDuty tell, and writes it down.

A notice is answered once it is in the log; where Kafka is away it is refused with 503, and whoever
told it tells it again.
"""

import asyncio
import contextlib
import hmac
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import aiohttp
import msgspec
import structlog
from aiohttp import web
from aiokafka.errors import KafkaConnectionError, KafkaError

from infra.kafka.batches import BatchProducer, Record
from infra.kafka.read import read_to_end
from infra.logs import configure_logging
from infra.process import cannot_listen, live, no_broker
from infra.settings import load
from infra.telemetry import Meters
from infra.topics import ALERTS
from sinks.alerts import notices
from sinks.alerts.firing import Firing
from sinks.alerts.muted import Muted
from sinks.alerts.settings import AlertsSettings
from sinks.events import AlertEvent

#: A notification of the largest group is far smaller.
BODY_BYTES = 4 * 2**20
#: How long Kafka may take, before the teller is asked to come again.
DELIVERY_S = 5.0
#: How often Alertmanager is asked what it mutes, and how long it may take.
ASK_EVERY_S, ANSWER_S = 2.0, 5.0

_event = msgspec.json.Decoder(AlertEvent)

log = structlog.get_logger()


class History:
    """The process: an address for each teller, and a producer."""

    def __init__(self, settings: AlertsSettings) -> None:
        self._settings = settings
        self._meters = Meters()
        self._waiting_for: str | None = "Kafka"
        servers = settings.kafka_bootstrap_servers
        self._producer = BatchProducer(servers, client_id="alerts")
        self._firing = Firing()

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT, and return the exit code."""
        return await live(
            self._serve,
            settings=self._settings,
            meters=self._meters,
            waiting_for=lambda: self._waiting_for,
        )

    async def _serve(self, stop: asyncio.Event) -> int:
        try:
            await self._producer.start()
            await self._recall()
        except KafkaConnectionError as error:
            raise no_broker(self._settings.kafka_bootstrap_servers) from error
        app = web.Application(client_max_size=BODY_BYTES)
        app.router.add_post("/alerts", self._taker(notices.alerts))
        app.router.add_post("/pages", self._taker(notices.pages))
        app.router.add_post("/judgements", self._taker(notices.judgement))
        app.router.add_post("/pagerduty", self._acknowledge)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        host, port = self._settings.alerts_host, self._settings.alerts_port
        try:
            await web.TCPSite(runner, host, port).start()
            self._waiting_for = None
            async with self._asking():
                await stop.wait()
        except OSError as error:
            raise cannot_listen(host, port, error, variable="ALERTS_PORT") from error
        finally:
            await runner.cleanup()
            await self._producer.stop()
        return 0

    async def _recall(self) -> None:
        """Learn what was written down before."""
        servers, topic = self._settings.kafka_bootstrap_servers, self._settings.topic(ALERTS.name)
        async for record in read_to_end(servers, topic, 0):
            try:
                self._firing.wrote([_event.decode(record.value)])
            except msgspec.DecodeError as error:
                log.warning("alert_unreadable", offset=record.offset, error=str(error))

    def _taker(
        self, read: Callable[[bytes, int], list[AlertEvent]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def take(request: web.Request) -> web.Response:
            if not self._known(request.headers.get("Authorization", "")):
                return web.Response(status=401, text="not with this token\n")
            body = await request.read()
            try:
                events = read(body, time.time_ns())
            except notices.MalformedError as error:
                return _refused(request.path, error)
            return await self._write(events)

        return take

    async def _acknowledge(self, request: web.Request) -> web.Response:
        body = await request.read()
        header = request.headers.get("X-PagerDuty-Signature", "")
        try:
            events = notices.acknowledgements(body, header, self._settings.secrets, time.time_ns())
        except notices.UnsignedError:
            log.warning("notice_unsigned", path=request.path)
            return web.Response(status=401, text="not signed with a secret of ours\n")
        except notices.MalformedError as error:
            return _refused(request.path, error)
        return await self._write(events)

    def _known(self, header: str) -> bool:
        token = self._settings.alerts_token
        if token is None:
            return True
        wanted = f"Bearer {token.get_secret_value()}"
        return hmac.compare_digest(header.encode(), wanted.encode())

    @contextlib.asynccontextmanager
    async def _asking(self) -> AsyncIterator[None]:
        """Ask Alertmanager what it mutes, while this is open."""
        url = self._settings.alerts_alertmanager_url
        task = asyncio.create_task(self._ask(url)) if url else None
        try:
            yield
        finally:
            if task:
                task.cancel()
                await asyncio.wait({task})

    async def _ask(self, url: str) -> None:
        muted = Muted()
        timeout = aiohttp.ClientTimeout(total=ANSWER_S)
        async with aiohttp.ClientSession(timeout=timeout) as http:
            while True:
                try:
                    async with http.get(f"{url}/api/v2/alerts", raise_for_status=True) as answer:
                        listing = await answer.read()
                    events = muted.take(listing, time.time_ns())
                except (aiohttp.ClientError, TimeoutError, notices.MalformedError) as error:
                    log.warning("muted_unknown", error=str(error) or type(error).__name__)
                else:
                    await self._keep(events)
                await asyncio.sleep(ASK_EVERY_S)

    async def _keep(self, events: Sequence[AlertEvent]) -> None:
        """Write down what was heard once only: until Kafka takes it."""
        while events and (await self._write(events)).status != web.HTTPOk.status_code:
            await asyncio.sleep(ASK_EVERY_S)

    async def _write(self, told: Sequence[AlertEvent]) -> web.Response:
        events = self._firing.with_ends(told)
        records = [
            Record(notices.key(event), msgspec.json.encode(event), time.time_ns() // 1_000_000)
            for event in events
        ]
        if not records:
            return web.Response(text="nothing to write down\n")
        try:
            async with asyncio.timeout(DELIVERY_S):
                topic = self._settings.topic(ALERTS.name)
                await (await self._producer.send(topic, 0, records, ALERTS.header))
        except (KafkaError, TimeoutError) as error:
            log.warning("alerts_not_written", error=str(error) or type(error).__name__)
            return web.Response(status=503, text="Kafka does not take it: come again\n")
        self._firing.wrote(events)
        return web.Response(text=f"{len(records)} written down\n")


def _refused(path: str, error: notices.MalformedError) -> web.Response:
    log.warning("notice_malformed", path=path, error=str(error))
    return web.Response(status=400, text=f"{error}\n")


def main() -> int:
    """Run the process, and return the exit code."""
    settings = load(AlertsSettings)
    configure_logging("alerts", settings.log_level)
    return asyncio.run(_run(settings))


async def _run(settings: AlertsSettings) -> int:
    return await History(settings).run()


if __name__ == "__main__":
    sys.exit(main())
