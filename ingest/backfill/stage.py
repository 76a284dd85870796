"""The backfill as a process, wired: its worker, and what watches for other keys."""

import asyncio
import random
import signal
import uuid

from infra.logs import configure_logging
from infra.settings import load
from infra.telemetry import Meters
from infra.topics import RAW_ALPACA, SOURCES_GAPS, SOURCES_SYMBOLS
from ingest.backfill.worker import BackfillWorker
from ingest.keyring import hang_up, watch_keys
from ingest.publish import Publisher
from ingest.settings import BackfillSettings
from ingest.stage import Beside, Stage


def backfill() -> int:
    """Fill gaps from Alpaca's history; return the exit code."""
    settings = load(BackfillSettings)
    configure_logging("backfill", settings.log_level)
    meters = Meters("backfill")
    keys = settings.read_keys()
    look = asyncio.Event()

    async def build(publisher: Publisher) -> BackfillWorker:
        return BackfillWorker(
            settings=settings,
            data_url=settings.alpaca_data_url,
            keys=keys,
            member=settings.member_name,
            publisher=publisher,
            meters=meters,
            run_id=f"backfill-{uuid.uuid4().hex[:12]}",
            jitter=random.random,
        )

    def beside(worker: BackfillWorker, _publisher: Publisher) -> Beside:
        if settings.key_files:
            files = settings.key_files
            yield watch_keys(settings.read_keys, worker.rekey, keys, look=look, files=files)

    async def main() -> int:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, hang_up, look, settings.key_files)
        stage = Stage(
            "backfill",
            settings=settings,
            meters=meters,
            topics=(RAW_ALPACA, SOURCES_GAPS, SOURCES_SYMBOLS),
            build=build,
            beside=beside,
        )
        return await stage.run()

    return asyncio.run(main())
