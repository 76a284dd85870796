"""The contract of the seam to a store, held by the fake, the embedded engine and a server alike."""

import importlib
import itertools
import json
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.topics import Topic
from ingest.events import Heartbeat, Subscribed
from processors.events import Bar, Last, RoutedPrice, Trade
from sinks.clickhouse.batch import Batch
from sinks.clickhouse.connect import ClickHouseStore, UserRefusedError
from sinks.clickhouse.store import RowsRefusedError, StoreUnavailableError, write
from sinks.clickhouse.tables import TABLES, Table
from tests.sinks.clickhouse.conftest import Engine, EngineProcess, Readable, opened
from tests.sinks.clickhouse.records import (
    BY_NAME,
    NOW_NS,
    RAW,
    STATUS,
    Record,
    raw_tick,
    records,
)


def batch_of(*values: bytes | None, topic: str = RAW, first: int = 0) -> Batch:
    """Return a batch of consecutive records with these values."""
    batch = Batch(BY_NAME)
    batch.add(topic, 0, [replace(record, topic=topic) for record in records(*values, first=first)])
    return batch


def test_what_is_written_is_there(store: Readable) -> None:
    """Rows of several topics land in their tables, with their places."""
    batch = batch_of(raw_tick(), raw_tick(), first=3)
    batch.add(STATUS, 0, [Record(9, b'{"event":"connected","at_ns":%d}' % NOW_NS, topic=STATUS)])
    assert write(store, batch) == []
    assert store.column("raw_ticks", "toString(offset)") == [b"3", b"4"]
    assert store.column("source_status", "event") == [b"connected"]


def test_a_redelivery_changes_nothing(store: Readable) -> None:
    """The same records again, batched as it happens: each row is there once."""
    ticks = [raw_tick(symbol=symbol) for symbol in ("AAPL", "MSFT", "NVDA", "TSLA")]
    write(store, batch_of(*ticks[:3]))
    write(store, batch_of(*ticks[1:], first=1))
    write(store, batch_of(*ticks))
    assert store.column("raw_ticks", "symbol") == [b"AAPL", b"MSFT", b"NVDA", b"TSLA"]


def test_rows_are_written_all_or_none(store: Readable) -> None:
    """A row at fault keeps the others of its insert out, so that nobody has to guess."""
    lines = [b'{"topic":"t","partition":0,"offset":%d,"received_at_ns":1}' % n for n in range(5000)]
    with pytest.raises(RowsRefusedError):
        store.insert("raw_ticks", [*lines, b'{"topic":"t","received_at_ns":"soon"}'])
    assert store.column("raw_ticks", "topic") == []


@pytest.mark.parametrize("at", [{0}, {6}, {3, 4}, {0, 1, 2, 3, 4, 5, 6}], ids=str)
def test_poison_is_set_aside_and_the_rest_written(store: Readable, at: set[int]) -> None:
    """Wherever the bad records stand: they keep their bytes, and the good ones their rows."""
    poison = [b'{"received_at_ns":"soon"}', b'{"received_at_ns":', b"{}", b"\xff{", None]
    values = [poison[n % 5] if n in at else raw_tick() for n in range(7)]
    refused = write(store, batch_of(*values))
    assert {letter.record.offset for letter in refused} == at
    good = [str(n).encode() for n in range(7) if n not in at]
    assert store.column("raw_ticks", "toString(offset)") == good
    assert store.column("dead_letters", "value") == [values[n] or b"" for n in sorted(at)]
    assert store.column("dead_letters", "key") == [b"AAPL"] * len(at)


WHITE = st.text(alphabet=" \t\n\r", max_size=2)
NUMBERS = st.from_regex(
    r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,3})?", fullmatch=True
)
STRINGS = st.builds(json.dumps, st.text(), ensure_ascii=st.booleans())
MESSAGES = st.recursive(
    st.sampled_from(["null", "true", "false", "{}", "[]"]) | NUMBERS | STRINGS,
    lambda inner: (
        st.builds(
            lambda pairs, a, b: (
                f"{{{a}" + f"{a},{b}".join(f"{k}{b}:{a}{v}" for k, v in pairs) + "}"
            ),
            st.lists(st.tuples(STRINGS, inner), max_size=4),
            WHITE,
            WHITE,
        )
        | st.builds(
            lambda items, a, b: f"[{a}" + f"{b},{a}".join(items) + f"{b}]",
            st.lists(inner, max_size=4),
            WHITE,
            WHITE,
        )
    ),
    max_leaves=12,
)


@given(st.lists(MESSAGES, min_size=1, max_size=40))
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_vendors_bytes_are_kept(store: Readable, messages: list[str]) -> None:
    """Odd white space, escapes, endless digits, repeated keys: `raw` is what came off the wire."""
    raws = [message.encode() for message in messages]
    first = next(PLACES)
    assert write(store, batch_of(*map(raw_tick, raws), first=first)) == []
    kept = store.column("raw_ticks", "raw")
    assert kept[-len(raws) :] == raws


PLACES = itertools.count(0, 1000)


FIELDS = ["symbol", "received_at_ns", "session_seq", "encoding", "raw", "topic", "source", "x"]
POISON = st.one_of(
    st.binary(max_size=30).map(lambda junk: b"{" + junk),
    st.builds(lambda cut: raw_tick()[:cut], st.integers(0, len(raw_tick()))),
    st.builds(
        lambda at, junk: raw_tick()[:at] + junk + raw_tick()[at + len(junk) :],
        st.integers(1, len(raw_tick())),
        st.binary(min_size=1, max_size=3),
    ),
    st.builds(
        lambda field, value: raw_tick()[:-1] + f',"{field}":{value}}}'.encode(),
        st.sampled_from(FIELDS),
        MESSAGES,
    ),
    st.builds(
        lambda field, value: f'{{"{field}":{value},"received_at_ns":1}}'.encode(),
        st.sampled_from(FIELDS),
        MESSAGES | st.sampled_from([10, 3000]).map(lambda depth: "[" * depth + "]" * depth),
    ),
)


@pytest.mark.service
@given(st.lists(POISON, min_size=1, max_size=8))
@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_record_stops_the_sink(engine: Engine, values: list[bytes]) -> None:
    """Whatever stands in a record: it is written or set aside, and the good ones are written."""
    first = next(PLACES)
    refused = write(engine, batch_of(raw_tick(), *values, raw_tick(), first=first))
    aside = {letter.record.offset for letter in refused}
    assert aside <= {first + 1 + n for n in range(len(values))}
    there = engine.column("raw_ticks", "toString(offset)")
    assert {first, first + 1 + len(values)} <= {int(offset) for offset in there}


@pytest.mark.service
def test_raw_bytes_are_decoded_for_readers(engine: Engine) -> None:
    """`raw_bytes` is what the vendor sent, whatever the encoding it is kept in."""
    write(engine, batch_of(raw_tick(b'{"p": 1}'), raw_tick(b'"/wA="', "msgpack")))
    assert engine.column("raw_ticks", "raw_bytes") == [b'{"p": 1}', b"\xff\x00"]


@pytest.mark.service
def test_times_are_kept_to_the_nanosecond(engine: Engine) -> None:
    """An integer goes in and the same integer comes out."""
    write(engine, batch_of(raw_tick()))
    time = engine.column("raw_ticks", "toString(toUnixTimestamp64Nano(received_at))")
    assert time == [str(NOW_NS).encode()]


RAW_PLACE = {
    "symbol": "AAPL",
    "feed": "iex",
    "session_id": "s",
    "session_seq": 1,
    "received_at_ns": NOW_NS,
    "raw_topic": RAW,
    "raw_partition": 0,
}
TIMES = {"market_time_ns": NOW_NS}
STATUS_OF = {"source": "alpaca", "feed": "iex", "session_id": "s", "at_ns": NOW_NS}
EVENTS: list[tuple[str, msgspec.Struct]] = [
    (
        "ticks.valid",
        msgspec.convert(
            {**RAW_PLACE, **TIMES, "source": "alpaca", "raw_offset": 1, "kind": "trade"}
            | {"price": 1.5, "size": 1, "exchange": "V", "tape": "C", "trade_id": 1}
            | {"conditions": ["@", "I"]},
            Trade,
        ),
    ),
    (
        "ticks.valid",
        msgspec.convert(
            {**RAW_PLACE, **TIMES, "source": "alpaca", "raw_offset": 2, "kind": "bar"}
            | {"interval": "1m", "updated": False, "open": 1, "high": 2, "low": 1, "close": 2}
            | {"volume": 5, "trade_count": None, "vwap": None},
            Bar,
        ),
    ),
    (
        "ticks.valid",
        msgspec.convert(
            {**RAW_PLACE, **TIMES, "source": "yahoo", "raw_offset": 3, "kind": "last"}
            | {"price": 2.5, "previous_close": None, "day_high": None, "day_low": None}
            | {"volume": None, "currency": "USD"},
            Last,
        ),
    ),
    (
        "prices.routed",
        msgspec.convert(
            {**RAW_PLACE, **TIMES, "source": "alpaca", "raw_offset": 1, "price": 1.5, "epoch": 1}
            | {"previous_close": None, "change": None, "change_percent": None}
            | {"is_real_time": True, "routed_at_ns": NOW_NS},
            RoutedPrice,
        ),
    ),
    (
        "sources.status",
        msgspec.convert({**STATUS_OF, "event": "subscribed", "symbols": ["A", "B"]}, Subscribed),
    ),
    (
        "sources.status",
        msgspec.convert(
            {**STATUS_OF, "event": "heartbeat", "state": "connected", "authenticated": True}
            | {"symbols": 30, "messages": 2, "last_message_at_ns": None},
            Heartbeat,
        ),
    ),
]


@pytest.mark.service
@pytest.mark.parametrize(("topic", "table"), TABLES.items(), ids=lambda item: item.name)
def test_every_field_of_an_event_has_its_column(engine: Engine, topic: Topic, table: Table) -> None:
    """The engine skips what it does not know, so a field without a column would be lost unheard."""
    module, _, name = topic.schema.partition(":")
    event = getattr(importlib.import_module(module), name)
    kinds = get_args(event) or (event,)
    fields = {"topic", "partition", "offset"}
    for kind in kinds:
        tag = kind.__struct_config__.tag_field
        fields |= set(kind.__struct_fields__) | ({tag} if tag else set())
    described = engine.rows(f"DESCRIBE TABLE `{table.name}`")
    written = {column for column, _, how, *_ in described if how in {"", "EPHEMERAL"}}
    assert written == fields


@pytest.mark.service
def test_every_kind_of_event_is_taken_as_its_type_encodes_it(engine: Engine) -> None:
    """One of each, with what may be open left open."""
    for topic, event in EVENTS:
        refused = write(
            engine, batch_of(msgspec.json.encode(event), topic=topic, first=next(PLACES))
        )
        assert refused == []
    kinds = engine.rows("SELECT kind, volume, price FROM valid_ticks FINAL ORDER BY kind")
    assert kinds == [("bar", 5.0, 0.0), ("last", None, 2.5), ("trade", None, 1.5)]
    counts = engine.rows("SELECT event, symbol_count FROM source_status FINAL ORDER BY event")
    assert counts == [("heartbeat", 30), ("subscribed", 2)]


@pytest.mark.service
@pytest.mark.parametrize("kind", ["engine", "server"])
def test_what_is_not_the_datas_fault_is_not_blamed_on_it(
    kind: str, clickhouse: EngineProcess, database: str
) -> None:
    """A table that is gone means to wait for it, not to set its rows aside."""
    with opened(kind, clickhouse, database) as engine:
        write(engine, batch_of(raw_tick()))
        with clickhouse.client(database) as client:
            client.command("DROP TABLE raw_ticks SYNC")
        with pytest.raises(StoreUnavailableError, match="raw_ticks"):
            write(engine, batch_of(raw_tick()))


def test_a_server_that_is_not_there_is_unavailable(free_port: Callable[[], int]) -> None:
    """Nobody listens: wait, do not fail."""
    with pytest.raises(StoreUnavailableError):
        ClickHouseStore.on_server(f"http://127.0.0.1:{free_port()}", "twinfeed")


@pytest.mark.service
def test_a_server_that_refuses_the_user_says_so(clickhouse: EngineProcess) -> None:
    """A wrong password does not get right by waiting."""
    url = clickhouse.url.replace("//", "//someone:secret@")
    with pytest.raises(UserRefusedError) as refusal:
        ClickHouseStore.on_server(url, "twinfeed")
    assert "secret" not in str(refusal.value)
