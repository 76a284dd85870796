"""The life of a local stack, from the first check to the last process ended."""

import asyncio
import contextlib
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import structlog

from infra import drill_journal
from infra.kafka import broker
from infra.settings import EX_CANTCREAT, EX_SOFTWARE, EX_UNAVAILABLE
from infra.stack import board as boards
from infra.stack import hub_tokens, preflight
from infra.stack.plan import HOST, HUB_SECRET_FILE, Plan, StackSettings, plan
from infra.stack.probes import Asker
from infra.stack.refusal import Refusal
from infra.stack.supervisor import Supervisor
from infra.stack.view import View

_log = structlog.get_logger()

REFRESH_SECONDS = 1.0
POLL_SECONDS = 0.05


@contextlib.contextmanager
def hold(data: Path) -> Iterator[None]:
    """Check the data directory, make it ours, and hold it. Raises Refusal."""
    preflight.claim(data)
    preflight.check_writable(data)
    preflight.check_space(data)
    with preflight.alone(data):
        yield


async def up(
    settings: StackSettings,
    *,
    view: View,
    environment: Mapping[str, str],
    seconds: float | None = None,
) -> int:
    """Run the stack until SIGINT, SIGTERM or SIGHUP, and return the exit code. Raises Refusal.

    Args:
        settings: what to run; its data directory is held by the caller.
        view: where words and boards go.
        environment: what the processes inherit.
        seconds: end after so long, counted from when all is ready.

    """
    layout = plan(settings)
    preflight.check_ports(layout.ports, HOST)
    for directory in layout.directories:
        directory.mkdir(exist_ok=True)
    for path, content in layout.files.items():
        path.write_text(content)
    if drill_journal.forget(settings.data):
        view.say("a drill was cut off on the stack before this one: nothing is left of it")
    hub_tokens.make_secret(settings.data / HUB_SECRET_FILE)
    if settings.broker:
        try:
            await asyncio.to_thread(broker.prepare, settings.broker)
        except broker.BrokerError as error:
            raise Refusal(str(error), EX_UNAVAILABLE) from error
    return await run(
        layout,
        data=settings.data,
        title=_title(settings),
        rows_url=_rows_url(settings),
        view=view,
        environment=environment,
        seconds=seconds,
    )


async def run(
    layout: Plan,
    *,
    data: Path,
    title: str,
    rows_url: str | None,
    view: View,
    environment: Mapping[str, str],
    seconds: float | None = None,
) -> int:
    """Run a plan whose ground is prepared; the rest is as in `up`."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)

    def say(sentence: str) -> None:
        view.say(sentence)
        _log.info(sentence)

    asker = Asker()
    supervisor = Supervisor(
        layout.processes,
        ask=asker.ready,
        logs=data / "logs",
        environment=environment,
        say=say,
    )
    reporter = boards.Reporter(layout, title=title, asker=asker, rows_url=rows_url)
    beside = [asyncio.create_task(_show(supervisor, reporter, data, view))]
    if seconds is not None:
        beside.append(asyncio.create_task(_end_after(seconds, supervisor)))
    for task in beside:
        task.add_done_callback(lambda _: stop.set())  # a stack without eyes is ended
    try:
        exit_code = await supervisor.run(stop)
        view.show(reporter.board(supervisor.statuses))
    finally:
        for task in beside:
            task.cancel()
        ended = await asyncio.gather(*beside, return_exceptions=True)
        await asker.close()
        (data / boards.FILE).unlink(missing_ok=True)
    for outcome in ended:
        if isinstance(outcome, Exception):
            raise outcome
    return exit_code


async def _show(supervisor: Supervisor, reporter: boards.Reporter, data: Path, view: View) -> None:
    while True:
        board = reporter.board(supervisor.statuses)
        boards.write(data, board)
        view.show(board)
        await asyncio.sleep(REFRESH_SECONDS)
        await reporter.scrape(supervisor.statuses)


async def _end_after(seconds: float, supervisor: Supervisor) -> None:
    """Return, and so end the stack, so long after all was ready."""
    await supervisor.all_ready()
    await asyncio.sleep(seconds)


def _title(settings: StackSettings) -> str:
    if settings.live:
        return "live: the real Alpaca and Yahoo"
    return f"simulated: {settings.rate:g} messages/s, seed {settings.seed}"


def _rows_url(settings: StackSettings) -> str | None:
    if settings.clickhouse_url:
        return None  # it is not ours to ask every second, and its password is not ours to send
    query = (
        "SELECT sum(total_rows) FROM system.tables "  # noqa: S608  # a name, by its pattern
        f"WHERE database = '{settings.clickhouse_database}'"
    )
    return f"http://{HOST}:{settings.port('clickhouse')}/?query={quote(query)}"


def down(data: Path, *, wait_seconds: float) -> bool:
    """End the stack that runs on a data directory; return whether there was one. Raises Refusal."""
    if not preflight.is_running(data):
        return False
    board = boards.read(data)
    process = boards.supervisor(board) if board else None
    if process is None:
        message = f"the stack on {data} is just starting or ending: try again in a moment"
        raise Refusal(message, EX_UNAVAILABLE)
    process.send_signal(signal.SIGTERM)
    # the lock goes with the process, even where nobody collects its exit code
    deadline = time.monotonic() + wait_seconds
    while preflight.is_running(data):
        if time.monotonic() > deadline:
            message = (
                f"the stack on {data} (pid {process.pid}) has not ended in {wait_seconds:.0f} s"
            )
            raise Refusal(message, EX_SOFTWARE)
        time.sleep(POLL_SECONDS)
    return True


def wipe(data: Path) -> bool:
    """Remove a data directory; return whether there was one. Raises Refusal for one not ours."""
    if not data.exists():
        return False
    if not preflight.is_ours(data):
        message = f"{data} was not made by twinfeed and is left alone"
        raise Refusal(message, EX_CANTCREAT)
    if preflight.is_running(data):
        message = f"a stack is running on {data}: end it first"
        raise Refusal(message, EX_UNAVAILABLE)
    shutil.rmtree(data)
    return True
