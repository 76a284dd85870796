"""`python -m ingest alpaca`, `yahoo`, `backfill`: one worker, one process."""

import asyncio
import random
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from infra.settings import EX_USAGE, load
from infra.telemetry import Meters, configure_logging
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
from ingest.alpaca.session import Plan, Session
from ingest.alpaca.worker import AlpacaWorker
from ingest.backfill.stage import backfill
from ingest.clock import read_clock
from ingest.commands import obey
from ingest.following import Announcements, watch_symbols
from ingest.keyring import watch_keys
from ingest.losses import Losses
from ingest.publish import Publisher
from ingest.settings import AlpacaSettings, SymbolSettings, YahooSettings
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
    meters.set("alpaca_symbols_limit", settings.alpaca_symbol_limit)
    meters.set("alpaca_tier_info", 1, tier=settings.alpaca_tier)
    plan = Plan(feed=settings.feed, encoding=settings.alpaca_encoding)
    keys = settings.read_keys()
    run_id = _run_id("alpaca")
    announcements = Announcements("alpaca", settings.symbols_file)

    def symbols() -> tuple[str, ...]:
        return settings.symbols[: settings.alpaca_symbol_limit]

    followed = symbols()

    async def build(publisher: Publisher) -> AlpacaWorker:
        await announcements.announce(followed, publisher)
        session = Session(
            plan,
            symbols=followed,
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
        )

    def beside(worker: AlpacaWorker, publisher: Publisher) -> Beside:
        yield from _listening(
            settings, worker, publisher, announcements, symbols, followed, worker.reconnect
        )
        if settings.keys_may_change:
            look = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, look.set)
            yield watch_keys(settings.read_keys, worker.rekey, keys, look=look)

    def delivered(topic: Topic, received: Iterable[int]) -> None:
        announcements.delivered(topic, received)
        if topic is RAW_ALPACA:
            now = time.time_ns()
            for moment in received:
                meters.observe(
                    "alpaca_streaming_processing_duration_seconds", max(0, now - moment) / 1e9
                )

    async def main() -> int:
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
        )
        return await stage.run()

    return asyncio.run(main())


def yahoo() -> int:
    """Poll Yahoo; return the exit code."""
    settings = load(YahooSettings)
    configure_logging("yahoo", settings.log_level)
    meters = Meters("yahoo")
    announcements = Announcements("yahoo", settings.symbols_file)
    followed = settings.symbols

    def beside(worker: YahooWorker, publisher: Publisher) -> Beside:
        yield from _listening(
            settings, worker, publisher, announcements, lambda: settings.symbols, followed
        )
        transitions = settings.topic(TRANSITIONS.name)
        yield watch_route(settings.kafka_bootstrap_servers, transitions, worker.activate)

    async def main() -> int:
        async with YahooClient(settings.yahoo_base_url) as client:

            async def build(publisher: Publisher) -> YahooWorker:
                await announcements.announce(followed, publisher)
                return YahooWorker(
                    client=client,
                    symbols=followed,
                    poll_s=settings.yahoo_poll_seconds,
                    active_s=settings.yahoo_active_poll_seconds,
                    market=settings.calendar,
                    publisher=publisher,
                    meters=meters,
                    run_id=_run_id("yahoo"),
                    jitter=random.random,
                )

            stage = Stage(
                "yahoo",
                settings=settings,
                meters=meters,
                topics=(RAW_YAHOO, SOURCES_STATUS, SOURCES_SYMBOLS, TRANSITIONS, COMMANDS),
                build=build,
                beside=beside,
                delivered=announcements.delivered,
                limit_bytes=settings.publish_buffer_bytes,
            )
            return await stage.run()

    return asyncio.run(main())


class _Follows(Protocol):
    def follow(self, symbols: tuple[str, ...]) -> None: ...


def _listening(  # noqa: PLR0917  # what two mains share
    settings: SymbolSettings,
    worker: _Follows,
    publisher: Publisher,
    announcements: Announcements,
    symbols: Callable[[], tuple[str, ...]],
    followed: tuple[str, ...],
    reconnect: Callable[[str], None] | None = None,
) -> Beside:
    """Yield what has a worker follow other symbols, and obey commands."""

    async def follow(symbols: tuple[str, ...]) -> None:
        await announcements.announce(symbols, publisher)
        worker.follow(symbols)

    reload = asyncio.Event()
    yield watch_symbols(symbols, follow, followed, look=reload)
    yield obey(
        settings.kafka_bootstrap_servers,
        settings.topic(COMMANDS.name),
        source=announcements.source,
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
