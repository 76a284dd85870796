"""`python -m ingest alpaca`, `yahoo`, `backfill`: one worker, one process."""

import asyncio
import random
import signal
import sys
import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any

from infra.clock import now_ns
from infra.logs import configure_logging
from infra.settings import EX_USAGE, StageSettings, load
from infra.telemetry import Meters
from infra.topics import (
    COMMANDS,
    RAW_ALPACA,
    RAW_YAHOO,
    SOURCES_GAPS,
    SOURCES_STATUS,
    SOURCES_SYMBOLS,
    TRANSITIONS,
    Topic,
)
from infra.traces.settings import TraceSettings
from infra.traces.tracer import open_tracer
from ingest.alpaca.outputs import Plan
from ingest.alpaca.session import Session
from ingest.alpaca.worker import AlpacaWorker
from ingest.backfill.log import RawLog
from ingest.backfill.stage import backfill
from ingest.clock import read_clock
from ingest.commands import obey
from ingest.events import Source
from ingest.following import Following
from ingest.keyring import hang_up, watch_keys
from ingest.losses import Losses
from ingest.publish import Publisher
from ingest.receipts import Receipts
from ingest.settings import AlpacaSettings, YahooSettings
from ingest.stage import Beside, Stage
from ingest.takeover import take_over
from ingest.yahoo.client import YahooClient
from ingest.yahoo.route import watch_route
from ingest.yahoo.worker import YahooWorker


def alpaca() -> int:
    """Stream from Alpaca; return the exit code."""
    settings = load(AlpacaSettings)
    configure_logging("alpaca", settings.log_level)
    meters = Meters("alpaca")
    tracer = open_tracer("alpaca", load(TraceSettings), meters)
    receipts = Receipts(tracer, settings.topic(RAW_ALPACA.name)) if tracer else None
    meters.set("alpaca_symbols_limit", settings.alpaca_symbol_limit)
    meters.set("alpaca_tier_info", 1, tier=settings.alpaca_tier)
    plan = Plan(feed=settings.feed, encoding=settings.alpaca_encoding)
    keys = settings.read_keys()
    run_id = _run_id("alpaca")
    following = Following(
        "alpaca",
        feed=settings.feed,
        run_id=run_id,
        file=settings.list_file,
        symbols=settings.symbols,
        asked=settings.symbols_asked,
        limit=settings.alpaca_symbol_limit,
    )
    reload, look = asyncio.Event(), asyncio.Event()

    async def build(publisher: Publisher) -> AlpacaWorker:
        session = Session(
            plan,
            symbols=await following.begin(publisher),
            keys=keys,
            run_id=run_id,
            now=read_clock(),
            jitter=random.random,
            market=settings.calendar,
            gaps=await take_over(settings, "alpaca", publisher),
        )
        return AlpacaWorker(
            url=settings.alpaca_stream_url,
            encoding=plan.encoding,
            session=session,
            publisher=publisher,
            meters=meters,
            enabled=settings.enable_alpaca_streaming,
            receipts=receipts,
        )

    def beside(worker: AlpacaWorker, publisher: Publisher) -> Beside:
        yield following.watch(publisher, worker.follow, look=reload)
        yield _obey(settings, "alpaca", reload, worker.reconnect)
        if settings.key_files:
            files = settings.key_files
            yield watch_keys(settings.read_keys, worker.rekey, keys, look=look, files=files)

    def delivered(topic: Topic, received: Iterable[int]) -> None:
        following.delivered(topic, received)
        if topic is RAW_ALPACA:
            name, now = "alpaca_streaming_processing_duration_seconds", now_ns()
            traces = receipts.delivered_now if receipts else {}
            untraced = []
            for moment in received:
                taken_s = max(0, now - moment) / 1e9
                if trace := traces.get(moment):
                    meters.observe(name, taken_s, trace)
                else:
                    untraced.append(taken_s)
            meters.observe_all(name, untraced)

    def hung_up() -> None:
        reload.set()
        hang_up(look, settings.key_files)

    async def main() -> int:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)
        stage = Stage(
            "alpaca",
            settings=settings,
            meters=meters,
            topics=(RAW_ALPACA, SOURCES_STATUS, SOURCES_GAPS, SOURCES_SYMBOLS, COMMANDS),
            build=build,
            beside=beside,
            delivered=delivered,
            limit_bytes=settings.publish_buffer_bytes,
            losses=Losses(source="alpaca", feed=settings.feed, run_id=run_id, meters=meters),
            undelivered=lambda: meters.add("alpaca_errors_total", type="publish"),
            tracer=tracer,
            receipts=receipts,
        )
        return await stage.run()

    return asyncio.run(main())


def yahoo() -> int:
    """Poll Yahoo; return the exit code."""
    settings = load(YahooSettings)
    configure_logging("yahoo", settings.log_level)
    meters = Meters("yahoo")
    tracer = open_tracer("yahoo", load(TraceSettings), meters)
    receipts = Receipts(tracer, settings.topic(RAW_YAHOO.name)) if tracer else None
    run_id = _run_id("yahoo")
    following = Following(
        "yahoo",
        feed="spark",
        run_id=run_id,
        file=settings.symbols_file,
        symbols=settings.symbols,
        asked=settings.symbols_asked,
    )
    reload = asyncio.Event()

    def beside(worker: YahooWorker, publisher: Publisher) -> Beside:
        yield following.watch(publisher, worker.follow, look=reload)
        yield _obey(settings, "yahoo", reload)
        transitions = settings.topic(TRANSITIONS.name)
        yield watch_route(settings.kafka_bootstrap_servers, transitions, worker.activate)

    async def main() -> int:
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, reload.set)
        async with YahooClient(settings.yahoo_base_url) as client:

            async def build(publisher: Publisher) -> YahooWorker:
                return YahooWorker(
                    client=client,
                    symbols=await following.begin(publisher),
                    poll_s=settings.yahoo_poll_seconds,
                    active_s=settings.yahoo_active_poll_seconds,
                    market=settings.calendar,
                    publisher=publisher,
                    meters=meters,
                    run_id=run_id,
                    past=RawLog(
                        settings.kafka_bootstrap_servers,
                        settings.topic(RAW_YAHOO.name),
                        partitions=RAW_YAHOO.partitions,
                    ).since,
                    jitter=random.random,
                    receipts=receipts,
                )

            stage = Stage(
                "yahoo",
                settings=settings,
                meters=meters,
                topics=(RAW_YAHOO, SOURCES_STATUS, SOURCES_SYMBOLS, TRANSITIONS, COMMANDS),
                build=build,
                beside=beside,
                delivered=following.delivered,
                limit_bytes=settings.publish_buffer_bytes,
                tracer=tracer,
                receipts=receipts,
            )
            return await stage.run()

    return asyncio.run(main())


def _obey(
    settings: StageSettings,
    source: Source,
    reload: asyncio.Event,
    reconnect: Callable[[str], None] | None = None,
) -> Coroutine[Any, Any, None]:
    """Return what carries out the commands that are meant for a source."""
    return obey(
        settings.kafka_bootstrap_servers,
        settings.topic(COMMANDS.name),
        source=source,
        reload=reload.set,
        reconnect=reconnect,
    )


STAGES: Mapping[str, Callable[[], int]] = {
    "alpaca": alpaca,
    "yahoo": yahoo,
    "backfill": backfill,
}


def _run_id(source: str) -> str:
    return f"{source}-{uuid.uuid4().hex[:12]}"


def main(arguments: Sequence[str]) -> int:
    """Run the stage that `arguments` name; return the exit code."""
    match arguments:
        case [name] if name in STAGES:
            return STAGES[name]()
    said = " ".join(arguments) or "nothing"
    *others, last = STAGES
    print(  # noqa: T201  # for the person at the terminal
        f"python -m ingest: unknown source {said!r}: expected {', '.join(others)} or {last}",
        file=sys.stderr,
    )
    return EX_USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
