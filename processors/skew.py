"""How far is a source's clock from ours? From when its facts come, by their own word and by ours.

A fact that is an hour old may have been written an hour ago, or just now by a clock that is an hour
behind ours. What was written earlier and comes late comes all at once, and the next is less late; a
wrong clock is as wrong a second later. So a difference of more than a minute that stays the same
for a second is the clocks', and is taken off. A fact is never from the future. Pure.
"""

import msgspec

NS = 1_000_000_000

#: A fact may be late by so much, and clocks apart, before anything is done about it.
TOLERATED_NS = 60 * NS
#: How long a difference has to stay, and how nearly the same.
STAYS_NS, SAME_NS = 3 * NS // 4, NS // 2
#: Two sources whose clocks differ from ours, and by less from one another, are right.
AGREE_NS = 2 * NS


class Skew(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How far our clock is ahead of a source's.

    Attributes:
        ns: as far as it is believed; 0 for what is tolerated.
        odd_ns: by how much a fact was late that does not fit; 0 for none.
        odd_at_ns: when, on our clock, that was first so.

    """

    ns: int = 0
    odd_ns: int = 0
    odd_at_ns: int = 0

    def after(self, at_ns: int, now: int) -> "Skew":
        """Return what is believed after a fact of one moment on its clock, at another on ours."""
        late_ns = now - at_ns
        if abs(late_ns) <= TOLERATED_NS:
            return Skew()
        if self.ns and abs(late_ns - self.ns) <= SAME_NS:
            return Skew(ns=self.ns)
        if not self.odd_ns or abs(late_ns - self.odd_ns) > SAME_NS or now < self.odd_at_ns:
            return Skew(ns=self.ns, odd_ns=late_ns, odd_at_ns=now)
        return self if now - self.odd_at_ns < STAYS_NS else Skew(ns=late_ns)

    def on_our_clock(self, at_ns: int, now: int) -> int:
        """Return a moment on the source's clock by ours, at which it is `now`."""
        return min(now, at_ns + self.ns)


def ours(one: Skew, other: Skew) -> int:
    """Return how far our own clock is ahead of the truth, by the word of two sources."""
    return one.ns if one.ns and abs(one.ns - other.ns) <= AGREE_NS else 0
