"""What the sources' own words come to (`sources.status`), as far as health goes; pure."""

from dataclasses import dataclass

from ingest.events import (
    Connected,
    Disconnected,
    Heartbeat,
    Resumed,
    SourceStatus,
    Stalled,
    Stopped,
)


@dataclass(slots=True)
class SourceState:
    """One source.

    Attributes:
        heartbeat: the last one.
        stopped: why nothing is tried any more, if so.
        disconnected: why it was last left.
        stalled: whether it is mute although it is connected.

    """

    heartbeat: Heartbeat | None = None
    stopped: Stopped | None = None
    disconnected: Disconnected | None = None
    stalled: bool = False

    def take(self, status: SourceStatus) -> None:
        """Take what the source said next."""
        match status:
            case Heartbeat():
                self.heartbeat = status
            case Connected():
                self.stopped, self.stalled = None, False
            case Stopped():
                self.stopped = status
            case Disconnected():
                self.disconnected, self.stalled = status, False
            case Stalled(symbols=[]):
                self.stalled = True
            case Resumed(symbols=[]):
                self.stalled = False
