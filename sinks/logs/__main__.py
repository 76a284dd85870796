"""`python -m sinks.logs`: ships the output of the processes to ClickHouse and to Loki.

It reads the files that a supervisor keeps. No process waits for it, and it waits for none: whether
a backend is there is told by its metrics, not by its readiness.
"""

import asyncio
import os
import sys
from pathlib import Path

from infra.logs import configure_logging
from infra.process import CannotStartError, live
from infra.redaction import SECRETS
from infra.settings import EX_CANTCREAT, EX_CONFIG, load
from infra.telemetry import Meters
from sinks.logs.settings import LogsSettings
from sinks.logs.ship import Shipper


async def _run(settings: LogsSettings) -> int:
    meters = Meters("logs")
    waiting_for: list[str] = ["its files"]

    async def work(stop: asyncio.Event) -> int:
        _check(settings.logs_directory, settings.logs_positions)
        shippers = [
            Shipper(
                backend,
                directory=settings.logs_directory,
                kept=settings.logs_positions / f"{backend.name}.json",
                meters=meters,
                redact=SECRETS.redact,
            )
            for backend in settings.backends
        ]
        async with asyncio.TaskGroup() as shipping:
            tasks = [shipping.create_task(shipper.run()) for shipper in shippers]
            waiting_for.clear()
            await stop.wait()
            for task in tasks:
                task.cancel()
        return 0

    return await live(
        work,
        settings=settings,
        meters=meters,
        waiting_for=lambda: next(iter(waiting_for), None),
    )


def _check(directory: Path, kept: Path) -> None:
    if not directory.is_dir() or not os.access(directory, os.R_OK | os.X_OK):
        sentence = f"LOGS_DIRECTORY: {directory} is no directory that can be read"
        raise CannotStartError(EX_CONFIG, sentence)
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sentence = f"LOGS_POSITIONS: {kept} cannot be made: {error.strerror}"
        raise CannotStartError(EX_CANTCREAT, sentence) from error


def main() -> int:
    """Run the process, and return the exit code."""
    settings = load(LogsSettings)
    configure_logging("logs", settings.log_level)
    return asyncio.run(_run(settings))


if __name__ == "__main__":
    sys.exit(main())
