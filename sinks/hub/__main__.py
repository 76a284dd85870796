"""`python -m sinks.hub`: the SignalR hub, until it is told to end."""

import asyncio
import logging
import resource
import secrets
import sys

import structlog
from aiokafka.errors import KafkaConnectionError

from infra.commands import Command
from infra.kafka.give import give
from infra.logs import configure_logging
from infra.process import cannot_listen, live, no_broker
from infra.settings import load
from infra.telemetry import Meters
from infra.topics import COMMANDS
from infra.traces.settings import TraceSettings
from infra.traces.tracer import open_tracer
from sinks.hub.access import Access
from sinks.hub.api import Api
from sinks.hub.broadcast import Broadcast
from sinks.hub.feed import Feed
from sinks.hub.journal import KafkaJournal
from sinks.hub.methods import Hub
from sinks.hub.page import Page
from sinks.hub.promises import Promises
from sinks.hub.protocol.negotiate import connection_id
from sinks.hub.replies import Replies
from sinks.hub.server import Limits, Server
from sinks.hub.settings import HubSettings
from sinks.hub.traces import STAGE

_log = structlog.get_logger()

#: What the hub opens besides its clients' sockets: the log's, its own, those that ask over HTTP.
OTHER_FILES = 256


class Process:
    """The hub's process: wired once, run until told to end, and ended in order."""

    def __init__(self, settings: HubSettings, traces: TraceSettings) -> None:
        self._settings = settings
        self._meters = Meters("hub", "pipeline", stage="hub")
        self._tracer = open_tracer(STAGE, traces, self._meters)
        self._missing: str | None = "Kafka"

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the exit code."""
        return await live(
            self._live,
            settings=self._settings,
            meters=self._meters,
            waiting_for=lambda: self._missing,
            tracer=self._tracer,
        )

    async def _give(self, command: Command) -> int:
        settings = self._settings
        return await give(command, settings.kafka_bootstrap_servers, settings.topic(COMMANDS.name))

    async def _live(self, stop: asyncio.Event) -> int:
        settings = self._settings
        if settings.hub_anonymous:
            _log.warning(
                "prices_go_to_anybody",
                hint="the vendors' licences forbid handing prices on to others",
            )
        _allow_sockets(settings.hub_max_clients)
        access = Access(
            secret=settings.secret(),
            audience=settings.hub_jwt_audience,
            anonymous=settings.hub_anonymous,
            origins=settings.origins,
        )
        journal = KafkaJournal(settings)
        hub_id = connection_id(secrets.token_bytes(16))
        broadcast = Broadcast(Hub(), self._meters, journal, hub_id, self._tracer)
        replies = Replies()
        feed = Feed(settings, broadcast, self._meters, replies, tracer=self._tracer)
        server = Server(broadcast, access, Limits(clients=settings.hub_max_clients))
        url = settings.prometheus_url
        promises = Promises(url.get_secret_value() if url else None)
        Api(broadcast, access, self._give, replies, promises=promises).add_to(server.app)
        Page().add_to(server.app)
        try:
            await journal.start()
            await feed.start()
            host, port = settings.hub_host, settings.hub_port
            try:
                port = await server.start(host, port)
            except OSError as error:
                raise cannot_listen(host, port, error, variable="HUB_PORT") from error
            _log.info("hub_open", host=host, port=port)
            self._missing = None
            await feed.run(stop)
        except KafkaConnectionError as error:
            raise no_broker(settings.kafka_bootstrap_servers) from error
        finally:
            await server.stop()
            await feed.stop()
            await journal.stop()
        return 0


def _allow_sockets(clients: int) -> None:
    """Have the system let us open as many sockets as clients may come."""
    wanted = clients + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        _log.warning(
            "fewer_clients_than_may_be",
            files=allowed,
            wanted=wanted,
            hint="raise the limit of open files (ulimit -n), or lower HUB_MAX_CLIENTS",
        )


def main() -> int:
    """Run the hub, and return the exit code."""
    settings, traces = load(HubSettings), load(TraceSettings)
    configure_logging("hub", settings.log_level)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)  # it tells its whole day at INFO

    async def run() -> int:
        return await Process(settings, traces).run()

    return asyncio.run(run())


if __name__ == "__main__":
    sys.exit(main())
