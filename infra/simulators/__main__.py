"""`python -m infra.simulators alpaca|yahoo`: one simulated vendor, as a process."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import structlog

from infra.logs import configure_logging
from infra.redaction import SECRETS
from infra.simulators.alpaca.server import REST_LIMIT, AlpacaSimulator
from infra.simulators.alpaca.session import Rules
from infra.simulators.alpaca.tape import FEEDS, HIGHEST_RATE
from infra.simulators.ledger import Ledger, LedgerError
from infra.simulators.market import Market
from infra.simulators.yahoo.server import YahooSimulator

log = structlog.get_logger()


KEY = "simulated-key"
SECRET = "simulated-secret"  # noqa: S105  # known to all and good for nothing else
#: The second port's distance from the first, where that was given and this was not.
HTTP_PORT_DISTANCE = 2


class AddressError(Exception):
    """An address that cannot be listened on, in a sentence."""


class KeysError(Exception):
    """Keys that cannot be had from the command line, in a sentence without them."""


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
        "--http-port",
        type=_port,
        help="port for history and control; 0 for any (default: two above --port, or any)",
    )
    alpaca.add_argument(
        "--rate", type=_rate, default=500, help="trades and quotes a second (default: 500)"
    )
    alpaca.add_argument("--key", help=f"the key id that is let in (default: {KEY})")
    alpaca.add_argument("--secret", help=f"its secret (default: {SECRET})")
    alpaca.add_argument(
        "--keys-file",
        type=Path,
        help="file with the keys that are let in instead, a line each: the id, a space, the secret",
    )
    alpaca.add_argument(
        "--rest-limit",
        type=_positive,
        default=REST_LIMIT,
        help=f"requests a minute that a key may make for history (default: {REST_LIMIT})",
    )
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


def _rate(text: str) -> int:
    if text.isdecimal() and 0 < int(text) <= HIGHEST_RATE:
        return int(text)
    message = f"{text!r} is no number of messages a second: expected 1 to {HIGHEST_RATE}"
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


def _keys(options: argparse.Namespace) -> dict[str, str]:
    """Return the secret of every key that is let in. Raises KeysError and OSError."""
    if options.keys_file is None:
        return {options.key or KEY: options.secret or SECRET}
    if options.key or options.secret:
        message = "--keys-file: give the keys there, or with --key and --secret, not both"
        raise KeysError(message)
    pairs = {}
    for number, line in enumerate(options.keys_file.read_text().splitlines(), start=1):
        words = line.split()
        if len(words) != len(("id", "secret")):
            message = (
                f"{options.keys_file}, line {number}: expected a key's id, a space, its secret"
            )
            raise KeysError(message)
        pairs[words[0]] = words[1]
    return pairs


async def _start_alpaca(
    options: argparse.Namespace, ledger: Ledger, keys: dict[str, str]
) -> AlpacaSimulator:
    rules = Rules(keys=keys, symbol_limit=options.symbol_limit)
    simulator = AlpacaSimulator(
        Market(options.seed),
        ledger,
        rules=rules,
        rate=options.rate,
        rest_limit=options.rest_limit,
    )
    http_port = options.http_port
    if http_port is None:
        http_port = options.port and options.port + HTTP_PORT_DISTANCE
    # The stream's port last: who finds it open may use the other.
    with _naming(options.host, http_port):
        history = await simulator.start_http(options.host, http_port)
    with _naming(options.host, options.port):
        port = await simulator.start(options.host, options.port)
    log.info(
        "listening",
        address=f"ws://{options.host}:{port}{next(iter(FEEDS))}",
        http=f"http://{options.host}:{history}",
        seed=options.seed,
    )
    return simulator


async def _start_yahoo(options: argparse.Namespace, ledger: Ledger) -> YahooSimulator:
    simulator = YahooSimulator(Market(options.seed), ledger, delay=options.delay)
    with _naming(options.host, options.port):
        port = await simulator.start(options.host, options.port)
    log.info("listening", address=f"http://{options.host}:{port}", seed=options.seed)
    return simulator


@contextlib.contextmanager
def _naming(host: str, port: int) -> Iterator[None]:
    """Say of an address that cannot be listened on which it was."""
    try:
        yield
    except (OSError, OverflowError) as error:
        reason = _reason(error) if isinstance(error, OSError) else "ports end at 65535"
        message = f"cannot listen on {host}:{port}: {reason}"
        raise AddressError(message) from error


async def _run(options: argparse.Namespace, ledger: Ledger, keys: dict[str, str]) -> None:
    """Serve until SIGTERM or SIGINT. Raises AddressError and LedgerError."""
    loop = asyncio.get_running_loop()
    asked_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    simulator: AlpacaSimulator | YahooSimulator
    if options.vendor == "alpaca":
        simulator = await _start_alpaca(options, ledger, keys)
    else:
        simulator = await _start_yahoo(options, ledger)
    simulator.failed.add_done_callback(lambda _: asked_to_stop.set())
    await asked_to_stop.wait()
    await simulator.stop()
    if simulator.failed.done():
        simulator.failed.result()
    log.info("stopped")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one simulator and return the exit code."""
    options = parser().parse_args(arguments)
    configure_logging(f"{options.vendor}-simulator", "INFO")
    for library in ("aiohttp", "asyncio", "websockets"):
        logging.getLogger(library).setLevel(logging.WARNING)
    try:
        keys = _keys(options) if options.vendor == "alpaca" else {}
        for key in (text for pair in keys.items() for text in pair):
            SECRETS.add(key)
    except KeysError as error:
        return _fail(str(error), os.EX_CONFIG)
    except OSError as error:
        return _fail(f"cannot read {options.keys_file}: {error.strerror}", os.EX_CONFIG)
    try:
        with Ledger(options.ledger) as ledger:
            asyncio.run(_run(options, ledger, keys))
    except (LedgerError, AddressError) as error:
        return _fail(str(error), os.EX_CANTCREAT)
    return 0


def _reason(error: OSError) -> str:
    """Return the plain words of the error's number; asyncio's own repeat the address."""
    number = error.errno or 0
    return os.strerror(number) if number > 0 else str(error.strerror)


def _fail(sentence: str, code: int) -> int:
    print(sentence, file=sys.stderr)  # noqa: T201  # for the person at the terminal
    return code


if __name__ == "__main__":
    sys.exit(main())
