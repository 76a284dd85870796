"""Which transitions count? Those of one story, whoever wrote into the log; pure.

The router is whoever owns one partition. One that was frozen, and has a successor by now, may still
write a transition that it had decided before. So every transition carries the generation of its
router and an epoch; a reader drops what comes from an older router than one that it has heard, and
what does not carry the epoch on. Routers agree among themselves on what is written before they
write it (`processors.office`); a reader need not know how.

It lies below all stages because readers stand on both sides of the router: whoever polls Yahoo
reads the log too.
"""

from typing import NamedTuple, Protocol


class Numbered(Protocol):
    """As much of a transition as tells whether it counts."""

    @property
    def epoch(self) -> int:
        """One more than that of the transition before."""

    @property
    def generation(self) -> int:
        """Of the router that decided."""


class Story(NamedTuple):
    """Where the story stands: nothing has happened yet."""

    epoch: int = 0
    generation: int = 0

    def accepts(self, transition: Numbered) -> bool:
        """Return whether a transition goes on with the story."""
        return transition.generation >= self.generation and transition.epoch > self.epoch

    def after(self, transition: Numbered) -> "Story":
        """Return the story after one more record of the log, which may not count."""
        if not self.accepts(transition):
            return self
        return Story(transition.epoch, transition.generation)
