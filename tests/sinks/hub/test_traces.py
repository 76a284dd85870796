"""The last span of a trace: a price sent to clients."""

from infra.traces.span import Context
from sinks.hub.fanout import Client, Flush, Send
from sinks.hub.traces import Followed, update_spans
from tests.sinks.hub.prices import price

TAKEN = Context(5, 6)


def test_a_price_that_was_sent_says_to_how_many_and_whether_it_was_it() -> None:
    """One that nobody is subscribed to was sent to nobody; a newer one may have taken its place."""
    sent, replaced, unwanted = (price(symbol) for symbol in "ABC")
    flush = Flush(
        frozenset("ABC"),
        [
            Send("json", frozenset("AB"), [Client("json"), Client("json")]),
            Send("msgpack", frozenset("A"), [Client("msgpack")]),
        ],
        [],
    )
    traces = {each.symbol: Followed(each, TAKEN) for each in (sent, replaced, unwanted)}
    latest = {"A": sent, "B": price("B", raw_offset=2), "C": unwanted}
    spans = update_spans(flush, traces, latest, since_ns=1)
    assert {span.name for span in spans} == {"send PriceUpdate"}
    assert [
        (
            span.attributes["messaging.destination.name"],
            span.attributes["twinfeed.hub.clients"],
            span.attributes["twinfeed.hub.conflated"],
            span.parent_id,
        )
        for span in spans
    ] == [("STOCK_A", 3, False, TAKEN.span_id), ("STOCK_B", 2, True, TAKEN.span_id)]
