"""The stages, one after the other, over records of the log: what they make of them. Pure.

Each partition's raw ticks are judged in the order in which they were taken, and what is believed is
compared and forwarded under the epoch of its receipt. What the stages remember at the beginning is
nothing: a capture begins a while before its span, and what comes of that is not told.

`routed_at_ns` is the one thing that a replay cannot know, because it is when a price went out, not
what went out. It is put at the earliest moment at which it could have been.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import chain, groupby
from typing import NamedTuple, TypeVar

import msgspec

from infra import topics
from infra.capture import Captured, Header
from infra.fence import Story
from infra.market_calendar import Calendar
from infra.record import Record
from ingest.events import SymbolsFollowed
from processors.desk import Desk, Forwarded
from processors.events import (
    Merged,
    RoutedPrice,
    RouterTransition,
    RouteTaken,
    SessionChanged,
    ValidTick,
)
from processors.forward import Route, route_of
from processors.judge import Judge, rejections
from processors.looks import Look
from processors.merge import in_order
from processors.records import (
    answer_record,
    breaker_record,
    comparison_record,
    price_record,
    quarantine_record,
    tick_record,
    transition_record,
)
from processors.replay.route import Decided, decided
from processors.validate import Position, judge_all

T = TypeVar("T")

_taken = msgspec.json.Decoder(RouteTaken)
_look = msgspec.json.Decoder(Look)
_merged = msgspec.json.Decoder(Merged)
_transition = msgspec.json.Decoder(RouterTransition)
_followed = msgspec.json.Decoder(SymbolsFollowed)
_session = msgspec.json.Decoder(SessionChanged)

#: What is captured by the partition.
_TICKS = (
    topics.FORWARD_SWITCHES.name,
    topics.VALIDATE_MERGES.name,
    topics.RAW_YAHOO.name,
    topics.RAW_ALPACA.name,
)


class Event(NamedTuple):
    """Something that came of the records.

    Attributes:
        topic: where it belongs.
        partition: the same.
        kind: what it is, in a word.
        record: how it stands there.

    """

    topic: topics.Topic
    partition: int
    kind: str
    record: Record


class Known(NamedTuple):
    """What small topics tell, before any tick.

    Attributes:
        symbols: those that are followed.
        calendar: the market's hours.
        routes: what the transitions lead to, in order.
        decided: what the router decided; None where that cannot be told.

    """

    symbols: Collection[str]
    calendar: Calendar
    routes: Sequence[Route]
    decided: Decided | None


def replay(
    header: Header,
    records: Iterable[Captured],
    *,
    symbols: Collection[str],
    calendar: Callable[[str], Calendar],
) -> Iterator[Event]:
    """Yield what comes of a capture's span, partition by partition; by topic in order.

    Args:
        header: what the records are of.
        records: all of the capture.
        symbols: those that are known without being followed.
        calendar: returns a market's hours, by its name; an empty one where nobody has told it.

    """
    groups = groupby(records, key=lambda record: (record.partition, record.topic))
    told: dict[str, list[Captured]] = {}
    lanes: Iterator[tuple[tuple[int, str], Iterator[Captured]]] = iter(())
    for place, group in groups:
        if place[1] in _TICKS:
            lanes = chain([(place, group)], groups)
            break
        told[place[1]] = list(group)
    known = _known(header, told, symbols, calendar)
    yield from _decisions(known, header)
    for partition, by_topic in groupby(lanes, key=lambda lane: lane[0][0]):
        journals: dict[str, list[Captured]] = {}
        yahoo: list[Captured] = []
        alpaca: Iterable[Captured] = ()
        for (_, topic), group in by_topic:
            if topic == topics.RAW_ALPACA.name:
                # the last of a partition, so it is read while it is taken
                alpaca = group
                break
            if topic == topics.RAW_YAHOO.name:
                yahoo = list(group)
            else:
                journals[topic] = list(group)
        switches = _decoded(_taken, journals.get(_TICKS[0], ()))
        merges = _decoded(_merged, journals.get(_TICKS[1], ()))
        lane = Lane(partition, header, known, switches)
        runs = in_order(alpaca, yahoo, merges, written_at=lambda record: record.timestamp_ms)
        yield from lane.take_all(runs)
        yield from lane.end()


def _known(
    header: Header,
    told: dict[str, list[Captured]],
    symbols: Collection[str],
    calendar: Callable[[str], Calendar],
) -> Known:
    lists = _decoded(_followed, told.get(topics.SOURCES_SYMBOLS.name, ()))
    followed = {symbol for followed in lists for symbol in followed.symbols}
    sessions = _decoded(_session, told.get(topics.SESSIONS.name, ())[-1:])
    market = sessions[0].market if sessions else ""
    hours = calendar(market)
    looks = told.get(topics.ROUTER_LOOKS.name, [])
    again = decided(
        zip([look.offset for look in looks], _decoded(_look, looks), strict=True),
        told.get(topics.SOURCES_STATUS.name, []),
        told.get(topics.COMMANDS.name, []),
        first_fact=next(
            (span.begin for span in header.spans if span.topic == topics.SOURCES_STATUS.name), 0
        ),
        calendar=hours,
    )
    story, transitions = Story(), []
    for transition in _decoded(_transition, told.get(topics.TRANSITIONS.name, ())):
        if story.accepts(transition):
            story = story.after(transition)
            transitions.append(transition)
    if again is not None:
        transitions = list(again.instead_of(transitions))
    return Known(followed.union(symbols), hours, list(map(route_of, transitions)), again)


def _decisions(known: Known, header: Header) -> Iterator[Event]:
    """Yield what the router decided in the span."""
    for at_ns, decision in known.decided.decisions if known.decided else ():
        if not header.since_ns <= at_ns < header.until_ns:
            continue
        transition, answer = decision.transition, decision.answer
        if transition is not None:
            record = transition_record(transition)
            yield Event(topics.TRANSITIONS, 0, transition.to_state, record)
        if answer is not None:
            yield Event(topics.ANSWERS, 0, answer.outcome, answer_record(answer))


def _decoded(decoder: msgspec.json.Decoder[T], records: Sequence[Captured]) -> list[T]:
    """Return the events in records; one without a value deletes a row, and holds none.

    Raises:
        ValueError: a record is none of ours; the sentence says where it is.

    """
    events = []
    for record in records:
        if record.value:
            try:
                events.append(decoder.decode(record.value))
            except msgspec.DecodeError as error:
                place = f"{record.topic}/{record.partition}/{record.offset}"
                message = f"record {place} cannot be read: {error}"
                raise ValueError(message) from error
    return events


class Lane:
    """One partition, from raw ticks to routed prices.

    Args:
        partition: which.
        header: what was captured.
        known: what is known before any tick.
        switches: behind which ticks routes came into force, as the journal tells it.

    """

    def __init__(
        self, partition: int, header: Header, known: Known, switches: Iterable[RouteTaken]
    ) -> None:
        self._partition = partition
        self._header = header
        self._symbols = known.symbols
        spans = [span for span in header.spans if span.partition == partition]
        self._since = {header.prefix + span.topic: span.since for span in spans}
        begin = {header.prefix + span.topic: span.begin for span in spans}
        self._judge = Judge(known.calendar)
        self._desk = Desk(known.calendar)
        # who told it twice had sent nothing the first time
        self._places = {
            switch.epoch: (switch.after_topic, switch.after_offset) for switch in switches
        }
        self._ahead = deque(known.routes)
        for route in known.routes:
            topic, offset = self._places.get(route.epoch, (None, 0))
            if topic is None or offset >= begin.get(topic, 0):
                break
            # it was in force before the first tick that there is
            self._ahead.popleft()
            self._enforce(route)

    def take_all(self, runs: Iterable[Sequence[Captured]]) -> Iterator[Event]:
        """Take runs of raw ticks, in order, and yield what comes of them."""
        for run in runs:
            yield from self._take(run)

    def end(self) -> Iterator[Event]:
        """Yield what comes of time going on to the end of the span."""
        while self._ahead and self._ahead[0].since_ns < self._header.until_ns:
            yield from self._switch()

    def _take(self, run: Sequence[Captured]) -> Iterator[Event]:
        prefix = self._header.prefix
        placed = [
            (r.value or b"", Position(prefix + r.topic, r.partition, r.offset, r.timestamp_ms))
            for r in run
        ]
        valid, malformed = judge_all(placed, self._symbols)
        judged = self._judge.take_all(valid)
        since = self._since[placed[0][1].topic]
        for rejected in rejections(placed, malformed, judged):
            if rejected.raw_offset >= since:
                yield self._event(topics.REJECTED, rejected.reason, tick_record(rejected))
        for change in judged.changes:
            if change.raw_offset >= since:
                yield self._event(topics.BREAKERS, _tag(change), breaker_record(change))
        for tick in judged.believed:
            told = tick.raw_offset >= since
            if told:
                yield self._event(topics.VALID, _tag(tick), tick_record(tick))
            yield from self._forward(tick, told=told)

    def _forward(self, tick: ValidTick, *, told: bool) -> Iterator[Event]:
        while (
            self._ahead
            and self._ahead[0].epoch not in self._places
            and self._ahead[0].since_ns <= tick.received_at_ns
        ):
            yield from self._switch()
        out = self._desk.take_all((tick,), tick.received_at_ns)
        if told:
            yield from self._forwarded(out)
        place = (tick.raw_topic, tick.raw_offset)
        while self._ahead and self._places.get(self._ahead[0].epoch) == place:
            yield from self._switch()

    def _forwarded(self, out: Forwarded) -> Iterator[Event]:
        for comparison in out.comparisons:
            record = comparison_record(comparison)
            yield self._event(topics.COMPARISONS, comparison.verdict, record)
        for quarantine in out.quarantines:
            yield self._event(topics.QUARANTINES, _tag(quarantine), quarantine_record(quarantine))
        yield from map(self._routed, out.prices)

    def _switch(self) -> Iterator[Event]:
        """Have the next route come into force, and yield what it sends."""
        route = self._ahead.popleft()
        prices = self._enforce(route)
        if route.since_ns >= self._header.since_ns:
            yield from map(self._routed, prices)

    def _enforce(self, route: Route) -> list[RoutedPrice]:
        self._desk.learn(route)
        return self._desk.pass_to(route.since_ns, route.since_ns)

    def _routed(self, price: RoutedPrice) -> Event:
        return self._event(topics.ROUTED, price.source, price_record(price))

    def _event(self, topic: topics.Topic, kind: str, record: Record) -> Event:
        return Event(topic, self._partition, kind, record)


def _tag(event: msgspec.Struct) -> str:
    return str(event.__struct_config__.tag)
