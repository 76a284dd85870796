"""How fast raw ticks get into the ClickHouse engine, from records as Kafka hands them over.

    python -m tests.benchmarks.clickhouse_insert [--records 200000] [--batch 20000]

Three ways: as the sink does it (the record's bytes spliced into a JSONEachRow line, parsed by the
engine), the same insert of lines that are ready-made (what the engine alone takes), and as one
would write it first (decode, make rows, `client.insert`). Each runs on a fresh table of the real
schema, in turn, a few times; the best time counts, since all noise is slower.
"""

import argparse
import gc
import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table as Grid

from infra.topics import RAW_ALPACA
from ingest.events import RawTick
from sinks.clickhouse import schema
from sinks.clickhouse.batch import Batch
from sinks.clickhouse.connect import ClickHouseStore
from sinks.clickhouse.engine import Directory
from sinks.clickhouse.store import write
from sinks.clickhouse.tables import RAW_TICKS
from tests.sinks.clickhouse.records import NOW_NS, Record

ROUNDS = 3
COLUMNS = (
    *("symbol", "received_at_ns", "source", "feed", "session_id", "session_seq", "encoding"),
    *("raw", "topic", "partition", "offset"),
)
TYPES = [
    *("LowCardinality(String)", "Int64", *["LowCardinality(String)"] * 3, "Int64"),
    *("LowCardinality(String)", "String", "LowCardinality(String)", "Int32", "Int64"),
]

Way = Callable[[ClickHouseStore, Sequence[Record]], None]


def records(count: int) -> list[Record]:
    """Return trades of thirty symbols, as ingest publishes them."""
    made = []
    for n in range(count):
        raw = b'{"T":"t","S":"S%02d","i":%d,"x":"V","p":%d.%02d,"s":100,"c":["@"],"z":"C",' % (
            *(n % 30, n, 100 + n % 50, n % 100),
        )
        time_of = b'"t":"2026-01-05T14:30:00.%09dZ"}' % (n * 1000)
        tick = RawTick(
            source="alpaca",
            feed="iex",
            symbol=f"S{n % 30:02}",
            session_id="session-1",
            session_seq=n + 1,
            received_at_ns=NOW_NS + n * 200_000,
            encoding="json",
            raw=msgspec.Raw(raw + time_of),
        )
        made.append(Record(n, msgspec.json.encode(tick), topic=RAW_ALPACA.name))
    return made


def spliced(store: ClickHouseStore, part: Sequence[Record]) -> None:
    """Write as the sink does."""
    batch = Batch({RAW_ALPACA.name: RAW_TICKS})
    batch.add(RAW_ALPACA.name, 0, part)
    if write(store, batch):
        message = "the engine refused some of the rows"
        raise RuntimeError(message)


def readymade(store: ClickHouseStore, part: Sequence[Record]) -> None:
    """Write lines that were spliced before."""
    store.insert(RAW_TICKS.name, _ready(part[0].offset, len(part), part))


_LINES: dict[tuple[int, int], list[bytes]] = {}


def _ready(first: int, count: int, part: Sequence[Record]) -> list[bytes]:
    if (first, count) not in _LINES:
        batch = Batch({RAW_ALPACA.name: RAW_TICKS})
        batch.add(RAW_ALPACA.name, 0, part)
        _LINES[first, count] = batch.rows[RAW_TICKS].lines
    return _LINES[first, count]


_DECODER = msgspec.json.Decoder(RawTick)


def decoded(store: ClickHouseStore, part: Sequence[Record]) -> None:
    """Decode every record, and insert rows with clickhouse-connect."""
    rows = []
    for record in part:
        tick = _DECODER.decode(record.value or b"")
        own = (tick.symbol, tick.received_at_ns, tick.source, tick.feed, tick.session_id)
        kept = (tick.session_seq, tick.encoding, bytes(tick.raw).decode())
        rows.append((*own, *kept, record.topic, record.partition, record.offset))
    store.client.insert(
        RAW_TICKS.name, rows, column_names=COLUMNS, column_type_names=TYPES, settings=SETTINGS
    )


SETTINGS = {"async_insert": 0}
WAYS: dict[str, Way] = {
    "spliced JSONEachRow (the sink)": spliced,
    "INSERT ... FORMAT JSONEachRow, lines ready-made": readymade,
    "decoded, client.insert(rows)": decoded,
}


@dataclass(frozen=True)
class Speed:
    """How fast a way is: rows a second, and how long a row keeps Python's one thread."""

    rows_s: float
    python_us: float


def measure(store: ClickHouseStore, way: Way, made: Sequence[Record], batch: int) -> Speed:
    """Write all records into an empty table."""
    store.execute(f"TRUNCATE TABLE {RAW_TICKS.name}")
    began, in_python = time.perf_counter(), time.thread_time()
    for first in range(0, len(made), batch):
        way(store, made[first : first + batch])
    elapsed, in_python = time.perf_counter() - began, time.thread_time() - in_python
    ((count,),) = store.rows(f"SELECT count() FROM {RAW_TICKS.name} FINAL")  # noqa: S608  # ours
    if int(count) != len(made):
        message = f"{count} rows arrived: expected {len(made)}"
        raise RuntimeError(message)
    return Speed(len(made) / elapsed, in_python / len(made) * 1e6)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[1_000, 10_000, 20_000, 50_000])
    options = parser.parse_args()
    made = records(options.records)
    gc.freeze()  # the prepared records are no part of either way
    grid = Grid("rows/s", *(f"{batch:,} a batch" for batch in options.batch), "Python, us a row")
    with tempfile.TemporaryDirectory() as path:
        directory = Directory(Path(path))
        directory.enter()
        store = ClickHouseStore.on_engine(str(directory.data), "twinfeed")
        schema.apply(store, schema.read())
        best: dict[tuple[str, int], Speed] = {}
        for _, batch, name in itertools.product(range(ROUNDS), options.batch, WAYS):
            speed = measure(store, WAYS[name], made, batch)
            best[name, batch] = max(speed, best.get((name, batch), speed), key=lambda s: s.rows_s)
        store.close()
        directory.close()
    for name in WAYS:
        speeds = [best[name, batch] for batch in options.batch]
        python = min(speed.python_us for speed in speeds)
        floor = [best[next(iter(WAYS)), batch].rows_s for batch in options.batch]
        cells = [
            f"{speed.rows_s:,.0f} ({speed.rows_s / own:.2f}x)"
            for speed, own in zip(speeds, floor, strict=True)
        ]
        grid.add_row(name, *cells, f"{python:.1f}")
    Console().print(grid)


if __name__ == "__main__":
    main()
