"""`python -m sinks.clickhouse`: history, on a ClickHouse server or on an engine of its own."""

import asyncio
import logging
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path

import structlog
from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaConnectionError

from infra.logs import configure_logging
from infra.market_calendar import Calendar
from infra.process import CannotStartError, cannot_listen, live, no_broker, reason
from infra.settings import EX_CANTCREAT, EX_CONFIG, EX_UNAVAILABLE, load
from infra.telemetry import Meters
from infra.traces.settings import TraceSettings
from infra.traces.tracer import open_tracer
from sinks.clickhouse import market_days, schema
from sinks.clickhouse.access import Doors
from sinks.clickhouse.batch import Batch, Refused
from sinks.clickhouse.connect import ClickHouseStore, UserRefusedError
from sinks.clickhouse.engine import Directory, DirectoryTakenError, Engine, EngineError
from sinks.clickhouse.face import Face
from sinks.clickhouse.settings import ClickHouseSettings
from sinks.clickhouse.sink import Sink, consumer, happens
from sinks.clickhouse.store import StoreUnavailableError, write
from sinks.clickhouse.tables import TABLES
from sinks.clickhouse.traces import STAGE, Traces

#: What is in hand may take this long to be written once we are told to end.
DRAIN_S = 3.5
#: A server's goodbye, and a write that is still under way then, are waited for this long.
CLOSE_S = 0.25
#: And an idle thread this long to end.
THREAD_S = 0.1
#: Between attempts to reach a server that is not there at the start.
REOPEN_S = 1.0

_log = structlog.get_logger()


class Writer:
    """The store's one thread.

    Args:
        open_store: connects, and brings the schema up to date.

    """

    def __init__(self, open_store: Callable[[], ClickHouseStore]) -> None:
        self._open = open_store
        self._store: ClickHouseStore | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="writer")

    async def open(self) -> None:
        """Open the store. Raises what `open_store` raises."""
        loop = asyncio.get_running_loop()
        self._store = await loop.run_in_executor(self._thread, self._open)

    async def write(self, batch: Batch) -> list[Refused]:
        """Write a batch to the open store. Raises StoreUnavailableError."""
        if self._store is None:
            message = "the store was not opened"
            raise RuntimeError(message)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, write, self._store, batch)

    async def close(self, within: float | None = None) -> None:
        """Let go of the store, or leave it to its thread where that takes longer than `within`."""
        if self._store is not None:
            loop = asyncio.get_running_loop()
            closing = loop.run_in_executor(self._thread, self._store.close)
            done, _ = await asyncio.wait([closing], timeout=within)
            for ended in done:
                ended.result()
        self._thread.shutdown(wait=False)


def _open(
    connect: Callable[[], ClickHouseStore], calendar: Calendar, cluster: str | None = None
) -> ClickHouseStore:
    store = connect()
    for name in schema.apply(store, schema.read(), cluster):
        _log.info("schema_applied", file=name)
    store.insert(market_days.TABLE, market_days.rows(calendar))
    return store


class Process:
    """The sink's process: wired once, run until told to end, and ended in order."""

    def __init__(self, settings: ClickHouseSettings, traces: TraceSettings) -> None:
        self._settings = settings
        self._meters = Meters("pipeline", "clickhouse", stage="clickhouse")
        self._tracer = open_tracer(STAGE, traces, self._meters)
        self._stop = asyncio.Event()
        self._missing = "ClickHouse"
        self._sink: Sink | None = None

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; return the exit code."""
        return await live(
            self._live,
            settings=self._settings,
            meters=self._meters,
            waiting_for=self._waiting_for,
            tracer=self._tracer,
        )

    def _waiting_for(self) -> str | None:
        return self._sink.waiting_for() if self._sink else self._missing

    async def _live(self, stop: asyncio.Event) -> int:
        self._stop = stop
        try:
            async with AsyncExitStack() as stack:
                writer = await self._open_writer(stack)
                if stop.is_set():
                    return 0
                self._missing = "Kafka"
                reader = await self._open_reader(stack)
                tables = {
                    self._settings.topic(topic.name): table for topic, table in TABLES.items()
                }
                traces = None
                if self._tracer:
                    traces = Traces(self._tracer, tables, self._settings.topic(STAGE))
                self._sink = Sink(reader, tables, writer.write, self._meters, traces=traces)
                await self._work(self._sink)
        except (UserRefusedError, schema.SchemaError) as error:
            raise CannotStartError(EX_CONFIG, f"CLICKHOUSE_URL: {error}") from error
        return 0

    async def _open_writer(self, stack: AsyncExitStack) -> Writer:
        url, database = self._settings.clickhouse_url, self._settings.clickhouse_database
        if url is None:
            return await self._open_engine(stack)
        address = url.get_secret_value()
        cluster = self._settings.clickhouse_cluster
        calendar = self._settings.calendar
        writer = Writer(
            lambda: _open(
                lambda: ClickHouseStore.on_server(address, database, cluster), calendar, cluster
            )
        )
        stack.push_async_callback(writer.close, CLOSE_S)  # it may have gone mute
        while not self._stop.is_set():
            try:
                await writer.open()
            except StoreUnavailableError as error:
                _log.warning("clickhouse_unreachable", error=str(error), again_in_s=REOPEN_S)
                await happens(self._stop, within=REOPEN_S)
            else:
                break
        return writer

    async def _open_engine(self, stack: AsyncExitStack) -> Writer:
        database = self._settings.clickhouse_database
        directory = _directory(self._settings.clickhouse_directory)
        stack.callback(directory.close)
        directory.enter()
        try:
            engine = await asyncio.to_thread(Engine, directory, database)
            stack.callback(engine.close)
            data = str(directory.data)
            calendar = self._settings.calendar
            writer = Writer(
                lambda: _open(lambda: ClickHouseStore.on_engine(data, database), calendar)
            )
            stack.push_async_callback(writer.close)
            await writer.open()
        except (EngineError, StoreUnavailableError) as error:
            sentence = f"CLICKHOUSE_DIRECTORY: the engine cannot use {directory.path}: {error}"
            raise CannotStartError(EX_UNAVAILABLE, sentence) from error
        await self._serve_face(engine, stack)
        return writer

    async def _serve_face(self, engine: Engine, stack: AsyncExitStack) -> None:
        host, port = self._settings.clickhouse_http_host, self._settings.clickhouse_http_port
        doors = Doors(
            owner=self._settings.clickhouse_http_password.get_secret_value(),
            analyst=self._settings.clickhouse_analyst_password.get_secret_value(),
        )
        face = Face(engine, host=host, port=port, doors=doors)
        stack.push_async_callback(face.stop)
        try:
            port = await face.start()
        except OSError as error:
            raise cannot_listen(host, port, error, variable="CLICKHOUSE_HTTP_PORT") from error
        _log.info("clickhouse_served", host=host, port=port, version=engine.version)

    async def _open_reader(self, stack: AsyncExitStack) -> AIOKafkaConsumer:
        servers = self._settings.kafka_bootstrap_servers
        # an engine of its own holds all of the history, so there can be one such process only
        member = "embedded" if self._settings.clickhouse_url is None else None
        reader = consumer(servers, self._settings.topic("clickhouse"), member)
        stack.push_async_callback(reader.stop)
        try:
            await reader.start()
        except KafkaConnectionError as error:
            raise no_broker(servers) from error
        return reader

    async def _work(self, sink: Sink) -> None:
        """Run `sink` to its end, which must come soon once it was asked for."""
        working = asyncio.create_task(sink.run(self._stop))
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        try:
            async with asyncio.timeout(DRAIN_S):
                await working
        except TimeoutError:
            _log.warning("ended_with_a_write_under_way", after_s=DRAIN_S)  # it will be redelivered


def _directory(path: Path) -> Directory:
    try:
        return Directory(path)
    except DirectoryTakenError as error:
        raise CannotStartError(EX_UNAVAILABLE, f"CLICKHOUSE_DIRECTORY: {error}") from error
    except OSError as error:
        sentence = f"CLICKHOUSE_DIRECTORY: cannot write to {path}: {reason(error)}"
        raise CannotStartError(EX_CANTCREAT, sentence) from error


def main() -> None:
    """Run the process, and leave with its exit code."""
    settings, traces = load(ClickHouseSettings), load(TraceSettings)
    configure_logging("clickhouse", settings.log_level)
    logging.getLogger("aiokafka").setLevel(logging.WARNING)  # it tells its whole day at INFO
    code = asyncio.run(Process(settings, traces).run())
    if _busy():
        _log.info("ended_with_statements_running")
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)


def _busy() -> bool:
    """Tell whether a thread goes on: a reader's statement, or a write to a server that went mute.

    Python would wait for it at its end, however long it takes.
    """
    threads = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    for thread in threads:
        thread.join(THREAD_S)
    return any(thread.is_alive() for thread in threads)


if __name__ == "__main__":
    main()
