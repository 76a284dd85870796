"""The life of a stage's process: it says whether it is ready, and ends when it is told to.

A process that cannot start says so in one sentence that names the variable at fault, and leaves
with an exit code by which a supervisor tells a mistake from a mishap.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable

import structlog

from infra.exposure import Exposure, ExposureError, exposure
from infra.settings import EX_CANTCREAT, EX_CONFIG, EX_UNAVAILABLE, StageSettings
from infra.telemetry import Meters, StatusServer
from infra.traces.tracer import Tracer

_log = structlog.get_logger()


class CannotStartError(Exception):
    """The process cannot do its work here.

    Args:
        exit_code: as sysexits.h names it.
        sentence: why, for the person at the terminal.

    """

    def __init__(self, exit_code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


def no_broker(servers: str) -> CannotStartError:
    """Return what to raise where no Kafka broker answers at `servers`."""
    sentence = f"KAFKA_BOOTSTRAP_SERVERS: no Kafka broker answers at {servers}"
    return CannotStartError(EX_UNAVAILABLE, sentence)


def cannot_listen(host: str, port: int, error: OSError, *, variable: str) -> CannotStartError:
    """Return what to raise where a port cannot be had."""
    sentence = f"{variable}: cannot listen on {host}:{port}: {reason(error)}"
    return CannotStartError(EX_CANTCREAT, sentence)


def reason(error: OSError) -> str:
    """Return the operating system's words for an error, without what asyncio puts around them."""
    # a host name that is not found has a negative number, which the system has no words for
    if error.errno and error.errno > 0:
        return os.strerror(error.errno)
    return error.strerror or str(error)


def _exposure(settings: StageSettings) -> Exposure:
    try:
        return exposure(settings)
    except ExposureError as error:
        raise CannotStartError(EX_CONFIG, str(error)) from error


async def live(
    work: Callable[[asyncio.Event], Awaitable[int]],
    *,
    settings: StageSettings,
    meters: Meters,
    waiting_for: Callable[[], str | None],
    before_scrape: Callable[[], None] = lambda: None,
    tracer: Tracer | None = None,
) -> int:
    """Serve `/metrics` and `/ready` while `work` runs, and return the exit code.

    Args:
        work: runs until the event is set, which SIGTERM and SIGINT do; returns the exit code, or
            raises CannotStartError.
        settings: where to serve.
        meters: what is exposed.
        waiting_for: what the stage waits for, or None when it is ready.
        before_scrape: brings metrics up to date that accrue with time.
        tracer: what spans are told to; what it still has is sent at the end.

    """
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        where = _exposure(settings)
        server = StatusServer(
            meters,
            exposure=where,
            ready=lambda: "its end" if stop.is_set() else waiting_for(),
            before_scrape=before_scrape,
        )
        try:
            port = await server.start()
        except OSError as error:
            raise cannot_listen(where.host, where.port, error, variable="METRICS_PORT") from error
        _log.info("stage_started", host=where.host, port=port, tls=where.tls is not None)
        try:
            return await work(stop)
        finally:
            await server.stop()
            if tracer is not None:
                await asyncio.to_thread(tracer.close)
            _log.info("stage_ended")
    except CannotStartError as error:
        print(error, file=sys.stderr)  # noqa: T201  # for the person at the terminal
        return error.exit_code
