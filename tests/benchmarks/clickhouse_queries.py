"""How long the business questions take on ten million ticks, alone and while more come in.

    python -m tests.benchmarks.clickhouse_queries [--ticks 10000000] [--rate 20000]

Ten trading days of thirty stocks, made by the engine itself: trades, quotes, Yahoo's last sales, a
correction in every 4,000 trades, and a routed price for every trade. First each question of
docs/sql.md, and each view as a whole; then the questions again while the sink's own way of writing
adds rows at `--rate`. The best of three counts, since all noise is slower.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table as Grid

from infra.topics import RAW_ALPACA
from sinks.clickhouse.batch import Batch
from sinks.clickhouse.connect import ClickHouseStore
from sinks.clickhouse.engine import Directory
from sinks.clickhouse.store import write
from sinks.clickhouse.tables import RAW_TICKS
from tests.benchmarks.clickhouse_insert import records
from tests.contracts.sql_page import fill
from tests.contracts.sql_questions import QUESTIONS
from tests.sinks.clickhouse.history import DAY_NS, at

ROUNDS = 3
DAYS = 10
BATCH = 20_000
SESSION_NS = 23_400 * 1_000_000_000
SYMBOLS = (
    *("AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "BRK.B", "JPM", "V", "UNH", "XOM"),
    *("JNJ", "WMT", "MA", "PG", "AVGO", "HD", "CVX", "MRK", "ABBV", "COST", "PEP", "KO", "ADBE"),
    *("CRM", "AMD", "NFLX", "SPY", "QQQ"),
)

#: Numbered ticks of a day: `n`, a hash `h`, a kind `k` of 100, a stock, a time `t` and a price `p`.
TICKS = """(
    SELECT {first} + number AS n, cityHash64(n) AS h, {symbols}[1 + h % 30] AS s,
           h % 30 % 4 AS part, intDiv(h, 100) % 100 AS k,
           {opens} + intDiv(number * {length}, {count}) AS t,
           round(100 + h % 30 * 10 + 5 * sin(number / 50000) + h % 97 / 100, 2) AS p
    FROM numbers({count})
)"""
VALID = """
INSERT INTO valid_ticks (symbol, market_time_ns, kind, source, feed, price, size, exchange, tape,
    trade_id, conditions, bid_price, bid_size, bid_exchange, ask_price, ask_size, ask_exchange,
    session_id, session_seq, received_at_ns, raw_topic, raw_partition, raw_offset, topic, partition,
    offset)
SELECT s, t, multiIf(k < 40, 'trade', k < 99, 'quote', 'last') AS what,
    if(k < 99, 'alpaca', 'yahoo') AS whose, if(k < 99, 'iex', 'spark'), if(what = 'quote', 0, p),
    if(k < 40, 1 + h % 300, 0), if(k < 40, ['V', 'Q', 'P'][1 + h % 3], ''), 'C', if(k < 40, n, 0),
    if(k < 40, ['@', 'I'], []), if(what = 'quote', p - 0.01, 0), 100, 'V',
    if(what = 'quote', p + 0.01, 0), 200, 'Q', 'session-{day}', n, t + 3000000 + h % 5000000,
    concat('ticks.raw.', whose), part, n, 'ticks.valid', part, n
FROM {ticks} SETTINGS max_insert_block_size = 200000
"""
CORRECTED = """
INSERT INTO valid_ticks (symbol, market_time_ns, kind, source, feed, exchange, tape, original_id,
    original_price, corrected_id, corrected_price, corrected_size, received_at_ns, raw_topic,
    raw_partition, raw_offset, topic, partition, offset)
SELECT s, t + 1000000000, 'correction', 'alpaca', 'iex', ['V', 'Q', 'P'][1 + h % 3], 'C', n, p, n,
    p + 1, 100, t + 1000000000, 'ticks.raw.alpaca', part, n + 100000000, 'ticks.valid', part,
    n + 100000000
FROM {ticks} WHERE k < 40 AND n % 4000 = 7
"""
ROUTED = """
INSERT INTO routed_prices (symbol, market_time_ns, price, previous_close, change, change_percent,
    source, feed, is_real_time, epoch, received_at_ns, routed_at_ns, session_id, session_seq,
    raw_topic, raw_partition, raw_offset, topic, partition, offset)
SELECT s, t, p, p - 1, 1, 100 / (p - 1), 'alpaca', 'iex', true, 5, t + 3000000, t + 9000000,
    'session-{day}', n, 'ticks.raw.alpaca', part, n, 'prices.routed', part, n
FROM {ticks} WHERE k < 40
"""


def load(store: ClickHouseStore, ticks: int) -> None:
    """Fill the tables."""
    fill(store)
    for day in range(DAYS):
        numbered = TICKS.format(
            first=1_000_000 + day * (ticks // DAYS),
            count=ticks // DAYS,
            symbols=list(SYMBOLS),
            opens=at("14:30:00") + day * DAY_NS,
            length=SESSION_NS,
        )
        for statement in (VALID, CORRECTED, ROUTED):
            store.execute(statement.format(ticks=numbered, day=day))


def best(store: ClickHouseStore, query: str) -> float:
    """Return the shortest time that a query took, in seconds."""
    times = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        # all of its columns, computed and not sent: a count() would leave most of the work out
        store.execute(f"SELECT * FROM ({query}) FORMAT Null")  # noqa: S608  # ours
        times.append(time.perf_counter() - began)
    return min(times)


@contextmanager
def inserting(make: Callable[[], ClickHouseStore], rate: float) -> Iterator[Callable[[], float]]:
    """Write raw ticks at a rate meanwhile; yield what tells the rate that was kept."""
    made, done = records(BATCH), threading.Event()
    written, began = 0, time.perf_counter()

    def run() -> None:
        nonlocal written
        store = make()
        while not done.is_set():
            batch = Batch({RAW_ALPACA.name: RAW_TICKS})
            batch.add(RAW_ALPACA.name, 0, made)
            write(store, batch)
            written += len(made)
            done.wait(max(0.0, began + written / rate - time.perf_counter()))
        store.close()

    thread = threading.Thread(target=run)
    thread.start()
    yield lambda: written / (time.perf_counter() - began)
    done.set()
    thread.join()


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ticks", type=int, default=10_000_000)
    parser.add_argument("--rate", type=float, default=20_000)
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as path:
        directory = Directory(Path(path))
        directory.enter()

        def make() -> ClickHouseStore:
            return ClickHouseStore.on_engine(str(directory.data), "twinfeed")

        store = make()
        load(store, options.ticks)
        console.print(_sizes(store))
        alone = [best(store, question.sql) for question in QUESTIONS]
        with inserting(make, options.rate) as kept:
            meanwhile = [best(store, question.sql) for question in QUESTIONS]
            rate = kept()
        grid = Grid("question", "ms", f"ms, with {rate:,.0f} rows/s coming in", "times")
        for question, quiet, busy in zip(QUESTIONS, alone, meanwhile, strict=True):
            ratio = f"{busy / quiet:.1f}"
            grid.add_row(question.title, f"{quiet * 1e3:,.0f}", f"{busy * 1e3:,.0f}", ratio)
        console.print(grid)
        console.print(_wholes(store))
        store.close()
        directory.close()


def _sizes(store: ClickHouseStore) -> Grid:
    grid = Grid("table", "rows", "bytes a row")
    for name, rows, size in store.rows(
        "SELECT table, sum(rows), sum(bytes_on_disk) / sum(rows) FROM system.parts "
        "WHERE active AND database = currentDatabase() GROUP BY table HAVING sum(rows) > 100000"
    ):
        grid.add_row(name, f"{int(rows):,}", f"{float(size):.1f}")
    return grid


def _wholes(store: ClickHouseStore) -> Grid:
    grid = Grid("view, all of it", "ms")
    for (name,) in store.rows(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View'"
    ):
        taken = best(store, f"SELECT * FROM `{name}`")  # noqa: S608  # ours
        grid.add_row(name, f"{taken * 1e3:,.0f}")
    return grid


if __name__ == "__main__":
    main()
