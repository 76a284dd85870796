"""What is known of a source, from what it says of itself; pure.

A source is up while it says that it is connected (and authenticated), and says something at least
every three seconds: a process that died says nothing, so missing heartbeats count as a
disconnection since the last one.

All times are by the router's clock, whatever the source's says: see `skew`.

A source that is up may be mute. Silence is counted in the market's open time: half a minute of it
at noon is a failure, a night of it is nothing.
"""

import msgspec

from infra.market_calendar import Calendar
from ingest import events
from processors.skew import Skew

NS = 1_000_000_000

#: A source that has not said anything for this long is taken for dead; it says something a second.
HEARTBEAT_NS = 3 * NS
#: A source may be mute for this much open time.
SILENT_NS = 30 * NS


class Evidence(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one source.

    Attributes:
        up: whether it said, last, that it is connected (and authenticated).
        since_ns: since when that has been so; for one that was mute, since its data flow again.
        heard_at_ns: when it last said anything.
        data_at_ns: when it last had data, by its own word; None where it has not said.
        refused: whether it refused our keys, and nothing better has come since.
        skew: how far its clock is from ours.

    """

    up: bool = False
    since_ns: int
    heard_at_ns: int
    data_at_ns: int | None = None
    refused: bool = False
    skew: Skew = Skew()

    def down_since(self, now: int) -> int | None:
        """Return since when the source has been down at `now`, or None if it is up."""
        if not self.up:
            return self.since_ns
        return self.heard_at_ns if now - self.heard_at_ns > HEARTBEAT_NS else None

    def silent_ns(self, now: int, calendar: Calendar) -> int:
        """Return how much open time has passed at `now` since data came, or since it is up."""
        data_at_ns = self.since_ns if self.data_at_ns is None else self.data_at_ns
        return calendar.open_ns(data_at_ns, now)

    def receives(self, now: int, calendar: Calendar) -> bool:
        """Return whether data have come since it is up; a market that is closed has none."""
        if calendar.state(now) != "regular":
            return True
        return self.data_at_ns is not None and self.data_at_ns >= self.since_ns

    def by(self, now: int) -> "Evidence":
        """Return the same by a clock that was set back: nothing is known of what is to come."""
        return msgspec.structs.replace(
            self,
            since_ns=min(now, self.since_ns),
            heard_at_ns=min(now, self.heard_at_ns),
            data_at_ns=None if self.data_at_ns is None else min(now, self.data_at_ns),
        )

    def with_fact(self, fact: events.SourceStatus, now: int, calendar: Calendar) -> "Evidence":
        """Return what is known at `now` after one more fact."""
        skew = self.skew.after(fact.at_ns, now)
        if skew.odd_ns and not isinstance(fact, events.Disconnected | events.Stopped):
            # it is old, or the clocks differ: the next tells; but bad news is taken as it comes
            return msgspec.structs.replace(self, skew=skew)
        at_ns = skew.on_our_clock(fact.at_ns, now)
        up, refused, data_at_ns = self.up, self.refused, self.data_at_ns
        match fact:
            case events.Heartbeat(state=state, authenticated=authenticated):
                up = state == "connected" and authenticated
                refused = refused and not up
                if fact.last_message_at_ns:
                    data_at_ns = skew.on_our_clock(fact.last_message_at_ns, now)
            case events.Disconnected(reason=reason):
                up, refused = False, reason == "auth"
            case events.Stopped():
                up, refused = False, True
            case events.Subscribed():
                up, refused = True, False
            case _:
                # on the way up: the heartbeat says when it is; stalls: the heartbeat says how long
                pass
        # Coming back from a silence is coming back: whatever is waited for counts from now.
        unheard = self.up and at_ns - self.heard_at_ns > HEARTBEAT_NS
        mute = self.up and self.silent_ns(at_ns, calendar) > SILENT_NS
        changed = up != self.up or (up and unheard) or (mute and data_at_ns != self.data_at_ns)
        # data came a moment before the heartbeat that tells of it
        since_ns = data_at_ns if mute and up and data_at_ns and not unheard else at_ns
        if unheard and not up:
            since_ns = self.heard_at_ns  # it was away already
        return Evidence(
            up=up,
            since_ns=since_ns if changed else self.since_ns,
            heard_at_ns=max(self.heard_at_ns, at_ns),
            data_at_ns=data_at_ns,
            refused=refused,
            skew=skew,
        )


def unknown(now: int) -> Evidence:
    """Return what is known of a source that has not had time to speak: its clock starts now."""
    return Evidence(since_ns=now, heard_at_ns=now)


def presumed_up(now: int) -> Evidence:
    """Return a source that nothing is held against."""
    return Evidence(up=True, since_ns=now, heard_at_ns=now)
