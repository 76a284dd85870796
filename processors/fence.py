"""Which transitions count? Those of one story, whoever wrote into the log; pure.

The router is whoever owns one partition. One that was frozen, and has a successor by now, may still
write a transition that it had decided before. So every transition carries the generation of its
router and an epoch; a reader drops what comes from an older router than one that it has heard, and
what does not carry the epoch on by one. The router itself reads its log in this way, so that all
agree on what counts, the one who wrote included.
"""

from typing import NamedTuple

from processors.events import RouterTransition, State


class Story(NamedTuple):
    """Where the story stands: nothing has happened yet."""

    epoch: int = 0
    generation: int = 0
    state: State = "STARTUP"

    def accepts(self, transition: RouterTransition) -> bool:
        """Return whether a transition goes on with the story."""
        return transition.generation >= self.generation and transition.epoch > self.epoch

    def after(self, transition: RouterTransition) -> "Story":
        """Return the story after one more record of the log, which may not count."""
        if not self.accepts(transition):
            return self
        return Story(transition.epoch, transition.generation, transition.to_state)
