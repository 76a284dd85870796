"""What the processors need to know: read once, at the start."""

from pydantic import Field

from infra.market_settings import MarketSettings
from ingest.settings import SymbolSettings


class ProcessorSettings(SymbolSettings, MarketSettings):
    """Settings of a processor; a tick of a symbol that we do not follow is rejected.

    Attributes:
        member_name: this worker's name in its group, if it keeps one over a restart; no two workers
            of a stage may share it. A worker that crashed and comes back under its name goes on at
            once; a nameless one waits ten seconds, until the group has given up its former self.

    """

    member_name: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._-]+$", max_length=200)
