"""Which market's hours count: read from the environment by the stages that judge by them."""

import time
from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from infra.market_calendar import ALWAYS_OPEN, Calendar, CalendarError, load
from infra.settings import StageSettings


class MarketSettings(StageSettings):
    """What every stage needs to know that tells silence at noon from silence at night.

    Attributes:
        market_hours: `XNYS`: those of the New York Stock Exchange; `always`: of a simulated market,
            which never closes.
        market_overrides_file: days that the calendar could not foresee, one a line, in New York's
            time: `2026-12-24 closed`, `2026-12-28 09:30-13:00`.

    """

    market_hours: Literal["XNYS", "always"] = Field(default="XNYS", validate_default=True)
    market_overrides_file: Path | None = None

    @field_validator("market_hours")
    @classmethod
    def _reaches_the_present(cls, value: str) -> str:
        horizon_ns = load().horizon_ns if value == "XNYS" else None
        if horizon_ns is not None and time.time_ns() >= horizon_ns:
            message = "the calendar of XNYS has ended: a newer twinfeed has a longer one"
            raise ValueError(message)
        return value

    @field_validator("market_overrides_file")
    @classmethod
    def _can_be_read(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                load(value)
            except CalendarError as error:
                message = f"{value}: {error}"
                raise ValueError(message) from error
            except UnicodeDecodeError as error:
                message = f"{value}: not text in UTF-8"
                raise ValueError(message) from error
            except OSError as error:
                message = f"{value}: {error.strerror}"
                raise ValueError(message) from error
        return value

    @property
    def calendar(self) -> Calendar:
        """The market's sessions."""
        if self.market_hours == "always":
            return ALWAYS_OPEN
        return load(self.market_overrides_file)
