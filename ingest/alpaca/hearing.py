"""What is heard of a stream, and what is missed: silence, pauses, torn frames, and their gaps.

Pure. A connection that is subscribed and mute while the market is open is given up after
`Patience.mute_s` of market time. If its successor is mute as well the patience doubles, so a market
that is merely quiet costs a few reconnections and no loop. Symbols in a halt are not expected to
speak.

A symbol that goes silent while the others flow (`ingest.alpaca.silence`) is given back and asked
for again, once; it has a gap of its own, which its next message ends, on whatever connection.

Every connection that was subscribed and is lost opens a gap of all other symbols; the next one that
has subscribed to all that it can have ends it. A stream that was lively and pauses, and goes on
before it is given up, leaves a gap as well: nobody can tell what was missed meanwhile, but its
history can. So does a frame that cannot be read, until none came for `LOOK_S`; it is no sign of
life either.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ingest.alpaca import wire
from ingest.alpaca.outputs import SOURCE, Output, Patience, Reason, Stamp
from ingest.alpaca.silence import Silence, Silent
from ingest.alpaca.wire import Message
from ingest.clock import Now
from ingest.events import GapEnded, GapOpened, Resumed, Stalled

#: A pause is one of at least this, and of so many times the usual spacing of frames.
PAUSE_S = 5.0
PAUSE_SPACINGS = 30
#: The share of a new frame in the usual spacing, and how many it takes to know what is usual.
SPACING_WEIGHT = 0.05
SPACINGS_KNOWN = 20

#: How often the silence of a connection and of its symbols is looked at.
LOOK_S = 1.0
#: How soon at the least it is looked at again, where something is about to be due.
SOON_S = 0.1

NS = 1_000_000_000


class Market(Protocol):
    """What is needed of infra.market_calendar.Calendar."""

    def open_ns(self, since_ns: int, until_ns: int) -> int:
        """Return how much regular session there is between two moments, in ns."""
        ...


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the silence found.

    Attributes:
        outputs: what is to be told.
        mute_s: for how much market time the connection has been mute, where that is too long.
        again_s: in how many seconds to look again, where it is not.
        silent: the symbols that have gone silent, to be asked for again.

    """

    outputs: list[Output]
    mute_s: float | None = None
    again_s: float = LOOK_S
    silent: tuple[str, ...] = ()


class Hearing:
    """What is heard of one stream, over as many connections as it takes.

    Args:
        feed: the vendor's name of the stream.
        session_id: the id of the present connection.
        market: knows when silence means something.
        gaps: gaps that a former process left open.
        patience: how long the connection may be mute.

    """

    def __init__(
        self,
        feed: str,
        session_id: str,
        *,
        market: Market,
        gaps: Sequence[GapOpened],
        patience: Patience,
    ) -> None:
        #: The id of the present connection, or of the last one.
        self.session_id = session_id
        self._feed = feed
        self._market = market
        self._patience = patience
        self._gaps = list(gaps)
        #: What the present connection streamed, until it is gone for good.
        self._streamed: tuple[str, ...] = ()
        #: Since when the present connection has been mute: the last data, or the subscription.
        self._quiet_since: Now | None = None
        self._mute_s = patience.mute_s
        self._stalled = False
        self._halted: set[str] = set()
        #: The usual time between two frames of data, and how many of them it was learnt from.
        self._spacing_s = 0.0
        self._spacings = 0
        self._pauses = 0
        #: The gap of frames that could not be read, and when the last of them came.
        self._torn: GapOpened | None = None
        self._torn_at = 0.0
        self._tears = 0
        self._silence = Silence()
        self._looked: Now | None = None
        #: The gaps of the symbols that are silent while the others flow.
        self._silent: dict[str, GapOpened] = {}
        self._silences = 0

    @property
    def counts(self) -> dict[str, int]:
        """Messages since the last look, by symbol that is listened to: whoever receives counts."""
        return self._silence.counts

    @property
    def silent(self) -> int:
        """How many symbols are silent while the others flow."""
        return len(self._silent)

    def stamp(self, now: Now) -> Stamp:
        """Return what every event of the present connection carries."""
        return Stamp(source=SOURCE, feed=self._feed, session_id=self.session_id, at_ns=now.wall_ns)

    def begin(self, now: Now) -> None:
        """Take note that the vendor has confirmed a subscription, the first of its connection."""
        self._quiet_since = self._looked = now

    def listen(self, streamed: tuple[str, ...], wanted: Collection[str], now: Now) -> None:
        """Take note of what the connection streams; the wanted among it are listened to."""
        self._streamed = streamed
        self._silence.listen([symbol for symbol in streamed if symbol in wanted], now.wall_ns)

    def keep(self, symbols: Collection[str], now: Now) -> list[Output]:
        """Forget all symbols but these."""
        self._silence.keep(symbols)
        self._halted.intersection_update(symbols)
        return self._hear_again([s for s in self._silent if s not in symbols], now)

    def hush(self) -> None:
        """Take note that the connection is given up: nobody is listened to."""
        self._silence.listen((), 0)

    def lose(self, reason: Reason | None, now: Now) -> list[Output]:
        """Say from when on ticks are missed, where the connection that is gone had streamed.

        Args:
            reason: why it is gone; None where the process ends, whose successor will say it.
            now: the moment.

        """
        missed, self._streamed = self._missed(), ()
        quiet_since, self._quiet_since = self._quiet_since, None
        mended = self.mend(now)
        if not missed or reason is None or self._gaps:
            return mended  # nothing was to come on it, or a gap is open already
        cause = reason if reason in ("stalled", "asked") else "disconnected"
        opened = self._gap(self.session_id, cause, missed, (quiet_since or now).wall_ns, now)
        self._gaps.append(opened)
        return [*mended, opened]

    def whole(self, now: Now) -> list[Output]:
        """End the gaps of lost connections: all that can be had is subscribed to."""
        gaps, self._gaps = self._gaps, []
        return [_ended(gap, now) for gap in gaps]

    def note_halt(self, message: Message, wanted: Collection[str]) -> None:
        """Take note of a trading status."""
        if message.symbol in wanted and wire.is_halt(message):
            self._halted.add(message.symbol)
        else:
            self._halted.discard(message.symbol)

    def take(self, symbols: Iterable[str], now: Now) -> list[Output]:
        """Take note that data came, of these symbols."""
        outputs = self._pause(now)
        self._quiet_since = now
        if self._stalled:
            self._stalled = False
            self._mute_s = self._patience.mute_s
            outputs.append(Resumed(**self.stamp(now), symbols=[]))
        if self._silent:
            spoke = dict.fromkeys(symbol for symbol in symbols if symbol in self._silent)
            outputs += self._hear_again(spoke, now)
        return outputs

    def tear(self, now: Now) -> list[Output]:
        """Return the gap of a frame that cannot be read, unless it is one of several in a row."""
        self._torn_at = now.monotonic_s
        known = [set(gap.symbols or self._streamed) for gap in self._gaps]
        missed = [symbol for symbol in self._missed() if not any(symbol in its for its in known)]
        if not missed or (self._torn and set(missed) <= set(self._torn.symbols)):
            return []
        mended = self.mend(now)
        self._tears += 1
        gap_id = f"{self.session_id}/torn-{self._tears}"
        since_ns = (self._quiet_since or now).wall_ns
        self._torn = self._gap(gap_id, "torn", missed, since_ns, now)
        return [*mended, self._torn]

    def mend(self, now: Now) -> list[Output]:
        """End the gap of frames that could not be read, if there is one."""
        torn, self._torn = self._torn, None
        return [_ended(torn, now)] if torn else []

    def look(self, held: Collection[str], now: Now) -> Look:
        """See whether the connection or one of its symbols is mute, and when to look again."""
        quiet_since = self._quiet_since or now
        silent_s = self._market_s(quiet_since, now)
        if silent_s >= self._mute_s and not self._halted.issuperset(held):
            self._stalled = True
            self._mute_s = min(2 * self._mute_s, self._patience.mute_cap_s)
            stalled = Stalled(**self.stamp(now), symbols=[], since_ns=quiet_since.wall_ns)
            return Look([stalled], mute_s=silent_s)
        again_s = min(LOOK_S, max(SOON_S, self._mute_s - silent_s))
        looked, self._looked = self._looked or now, now
        open_s = self._market_s(looked, now)
        whole_again = self._torn and now.monotonic_s - self._torn_at >= LOOK_S
        mended = self.mend(now) if whole_again else []
        silent = self._silence.look(open_s, now.wall_ns, self._halted)
        missed = [output for each in silent for output in self._miss(each, now)]
        renewed = tuple(each.symbol for each in silent) if missed else ()
        return Look([*mended, *missed], again_s=again_s, silent=renewed)

    def _market_s(self, since: Now, now: Now) -> float:
        """Return how much market time has gone by, by both clocks.

        The wall's clock may step, and market time stands still at night.
        """
        market_s = self._market.open_ns(since.wall_ns, now.wall_ns) / NS
        return min(now.monotonic_s - since.monotonic_s, market_s)

    def _miss(self, silent: Silent, now: Now) -> list[Output]:
        """Say that a symbol is silent while the others flow, and from when on it is missed."""
        symbol, since_ns = silent
        if symbol in self._silent:
            return []  # it is silent on this connection as on the last
        self._silences += 1
        gap_id = f"{self.session_id}/silent-{self._silences}"
        gap = self._silent[symbol] = self._gap(gap_id, "stalled", [symbol], since_ns, now)
        stalled = Stalled(**self.stamp(now), symbols=[symbol], since_ns=since_ns)
        return [*self.mend(now), stalled, gap]

    def _hear_again(self, symbols: Iterable[str], now: Now) -> list[Output]:
        """Take note that symbols that were silent have spoken, or are no longer listened to."""
        outputs: list[Output] = []
        for symbol in symbols:
            gap = self._silent.pop(symbol)
            self._silence.heard(symbol, now.wall_ns)
            outputs += Resumed(**self.stamp(now), symbols=[symbol]), _ended(gap, now)
        return outputs

    def _pause(self, now: Now) -> list[Output]:
        """Return the gap of a pause that is over, if it was one."""
        before = self._quiet_since
        if before is None:
            return []
        spacing_s = now.monotonic_s - before.monotonic_s
        known = self._spacings >= SPACINGS_KNOWN
        if known and spacing_s > max(PAUSE_S, PAUSE_SPACINGS * self._spacing_s):
            market_s = self._market.open_ns(before.wall_ns, now.wall_ns) / NS
            missed = self._missed()
            if market_s >= PAUSE_S and missed and not self._gaps:
                self._pauses += 1
                gap_id = f"{self.session_id}/pause-{self._pauses}"
                gap = self._gap(gap_id, "stalled", missed, before.wall_ns, now)
                return [*self.mend(now), gap, _ended(gap, now)]
            return []
        self._spacings += 1
        self._spacing_s += (spacing_s - self._spacing_s) * max(SPACING_WEIGHT, 1 / self._spacings)
        return []

    def _missed(self) -> list[str]:
        """Return what the present connection sends but for those that have a gap of their own."""
        return [symbol for symbol in self._streamed if symbol not in self._silent]

    def _gap(
        self,
        gap_id: str,
        cause: Literal["disconnected", "stalled", "asked", "torn"],
        symbols: list[str],
        since_ns: int,
        now: Now,
    ) -> GapOpened:
        return GapOpened(
            source=SOURCE,
            feed=self._feed,
            gap_id=gap_id,
            at_ns=now.wall_ns,
            cause=cause,
            symbols=symbols,
            since_ns=since_ns,
        )


def _ended(gap: GapOpened, now: Now) -> GapEnded:
    """Return the end of a gap: what is sent from now on is received."""
    return GapEnded(
        source=gap.source,
        feed=gap.feed,
        gap_id=gap.gap_id,
        at_ns=now.wall_ns,
        cause=gap.cause,
        symbols=gap.symbols,
        since_ns=gap.since_ns,
        until_ns=now.wall_ns,
        shed={},
    )
