"""A trace begins with the receipt of a tick, if it begins there at all."""

import msgspec

from infra.topics import RAW_ALPACA
from infra.traces.span import parse
from ingest.events import RawTick
from ingest.publish import Publisher
from ingest.receipts import REMEMBERED, Receipts
from tests.ingest.fakes import InMemoryProducer
from tests.spans import heard


def _tick(number: int, symbol: str = "A") -> RawTick:
    return RawTick(
        source="alpaca",
        feed="iex",
        symbol=symbol,
        session_id="alpaca-1/1",
        session_seq=number,
        received_at_ns=number,
        encoding="json",
        raw=msgspec.Raw(b"{}"),
    )


async def test_a_traced_tick_says_so_in_the_log_and_is_told_once_it_is_there() -> None:
    """One in ten has a header, which names the span of its sending, under that of its receipt."""
    producer = InMemoryProducer()
    with heard(0.1) as tracer:
        receipts = Receipts(tracer, "x.ticks.raw.alpaca")
        publisher = Publisher(producer, linger_s=0, traced=receipts.delivered)
        async with publisher.running():
            for number in range(1, 101):
                headers = receipts.begin(_tick(number))
                publisher.put(RAW_ALPACA, "A", b"{}", number, headers=headers)
            assert not tracer.spans
            await publisher.drain()
        records = producer.records(RAW_ALPACA)
        named = [context for r in records if (context := parse(r.headers)) is not None]
        roots, sendings = tracer.spans[::2], tracer.spans[1::2]
    assert len(records) == 100
    assert 9 <= len(named) <= 11
    assert [span.context for span in sendings] == named
    assert [span.parent_id for span in sendings] == [root.context.span_id for root in roots]
    assert {(span.name, span.parent_id) for span in roots} == {("receive alpaca", 0)}
    assert {span.name for span in sendings} == {"send x.ticks.raw.alpaca"}
    partition = str(producer.partition(b"A", RAW_ALPACA.partitions))
    assert {s.attributes["messaging.destination.partition.id"] for s in sendings} == {partition}
    last = roots[-1]
    assert receipts.delivered_now[last.start_ns] == last.context.trace_id


def test_a_flood_is_traced_in_part() -> None:
    """Only so many at once; where the sampler chose none, none is taken of what may be traced."""
    with heard(0.1, 3) as tracer:
        receipts = Receipts(tracer, "ticks.raw.alpaca")
        traced = [bool(receipts.begin(_tick(number))) for number in range(1, 101)]
    with heard(0.1) as tracer:
        receipts = Receipts(tracer, "ticks.raw.alpaca")
        chosen = [bool(receipts.begin(_tick(number))) for number in range(1, 101)]
    first = [number for number, is_chosen in enumerate(chosen) if is_chosen][:3]
    assert [number for number, is_traced in enumerate(traced) if is_traced] == first


def test_what_is_shed_is_forgotten() -> None:
    """Ticks that never get to Kafka are told of by nobody, and cost no memory for ever."""
    with heard() as tracer:
        receipts = Receipts(tracer, "ticks.raw.alpaca")
        headers = [receipts.begin(_tick(number)) for number in range(1, 2 * REMEMBERED)]
        assert len(receipts._under_way) == REMEMBERED
        receipts.delivered(0, [headers[0], headers[-1]])
        assert len(tracer.spans) == 2
