"""`python -m infra.simulators alpaca|yahoo`: one simulated vendor, as a process."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn, Protocol

import structlog

from infra.simulators.alpaca.server import AlpacaSimulator
from infra.simulators.alpaca.session import Rules
from infra.simulators.alpaca.tape import FEEDS
from infra.simulators.ledger import Ledger, LedgerError
from infra.simulators.market import Market
from infra.simulators.yahoo.server import YahooSimulator

log = structlog.get_logger()


class _Simulator(Protocol):
    failed: asyncio.Future[None]

    async def start(self, host: str, port: int) -> int: ...

    async def stop(self) -> None: ...


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Leave with one sentence and sysexits' code for a wrong command line."""
        self.exit(os.EX_USAGE, f"{self.prog}: {message}\n")


def parser() -> argparse.ArgumentParser:
    """Return the command line's grammar."""
    top = _Parser(prog="python -m infra.simulators", description=__doc__)
    vendors = top.add_subparsers(dest="vendor", required=True, metavar="alpaca|yahoo")
    alpaca = vendors.add_parser("alpaca", help="Alpaca's real-time stock stream")
    _add_common(alpaca, port=19100)
    alpaca.add_argument(
        "--rate", type=_positive, default=500, help="trades and quotes a second (default: 500)"
    )
    alpaca.add_argument("--key", default="simulated-key", help="the key id that is let in")
    alpaca.add_argument("--secret", default="simulated-secret", help="its secret")
    alpaca.add_argument(
        "--symbol-limit",
        type=_positive,
        default=30,
        help="symbols that a connection may follow (default: 30, as on the free plan)",
    )
    yahoo = vendors.add_parser("yahoo", help="Yahoo Finance's spark and chart endpoints")
    _add_common(yahoo, port=19101)
    yahoo.add_argument(
        "--delay",
        type=_seconds,
        default=15.0,
        help="seconds that its prices are behind the market (default: 15)",
    )
    return top


def _add_common(vendor: argparse.ArgumentParser, *, port: int) -> None:
    vendor.add_argument("--host", default="127.0.0.1", help="address to listen on")
    vendor.add_argument(
        "--port", type=_port, default=port, help=f"port to listen on; 0 for any (default: {port})"
    )
    vendor.add_argument(
        "--seed", type=int, default=7, help="which market; alike on both simulators (default: 7)"
    )
    vendor.add_argument(
        "--ledger", type=Path, required=True, help="file to write down what was sent, appended to"
    )


def _port(text: str) -> int:
    if text.isdecimal() and int(text) < 2**16:
        return int(text)
    message = f"{text!r} is no port: expected 0 to 65535"
    raise argparse.ArgumentTypeError(message)


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    message = f"{text!r} is not a whole number above 0"
    raise argparse.ArgumentTypeError(message)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if 0 <= seconds < float("inf"):
        return seconds
    message = f"{text!r} is no number of seconds, 0 or more"
    raise argparse.ArgumentTypeError(message)


def _configure_logging(service: str) -> None:
    """Log JSON lines to stdout; of the libraries only what they warn of."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer()],
        logger_factory=structlog.PrintLoggerFactory(sys.stdout),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    )
    structlog.contextvars.bind_contextvars(service=service)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processor=structlog.processors.JSONRenderer()
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def _build(options: argparse.Namespace, ledger: Ledger) -> tuple[_Simulator, str]:
    """Return the simulator that the command line asks for, and its address's pattern."""
    market = Market(options.seed)
    if options.vendor == "yahoo":
        return YahooSimulator(market, ledger, delay=options.delay), "http://{}:{}"
    rules = Rules(key=options.key, secret=options.secret, symbol_limit=options.symbol_limit)
    return (
        AlpacaSimulator(market, ledger, rules=rules, rate=options.rate),
        "ws://{}:{}" + next(iter(FEEDS)),
    )


async def _run(options: argparse.Namespace, ledger: Ledger) -> None:
    """Serve until SIGTERM or SIGINT. Raises OSError (address) and LedgerError."""
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    simulator, address = _build(options, ledger)
    port = await simulator.start(options.host, options.port)
    log.info("listening", address=address.format(options.host, port), seed=options.seed)
    simulator.failed.add_done_callback(lambda _: asked_to_stop.set())
    await asked_to_stop.wait()
    await simulator.stop()
    if simulator.failed.done():
        simulator.failed.result()
    log.info("stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one simulator and return the exit code."""
    options = parser().parse_args(arguments)
    _configure_logging(f"simulator-{options.vendor}")
    try:
        with Ledger(options.ledger) as ledger:
            asyncio.run(_run(options, ledger))
    except LedgerError as error:
        return _fail(str(error))
    except OSError as error:
        return _fail(f"cannot listen on {options.host}:{options.port}: {_reason(error)}")
    return 0


def _reason(error: OSError) -> str:
    """Return the plain words of the error's number; asyncio's own repeat the address."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else str(error.strerror)


def _fail(sentence: str) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201  # for the person at the terminal
    return os.EX_CANTCREAT


if __name__ == "__main__":
    sys.exit(main())
