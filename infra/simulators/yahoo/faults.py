"""The table of what can go wrong at Yahoo.

A fault takes effect in one of five places, and has the method that is called there:

    `refusal`    the answer that is given instead
    `delay`      the seconds that an answer takes
    `quoted_at`  the moment that a symbol is quoted at
    `leaves_out` whether an answer of `spark` lacks a symbol
    `edit`       what is said of a symbol
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from msgspec import Meta

from infra.simulators.faults import (
    Active,
    Fault,
    OfSymbols,
    RetryAfter,
    Seconds,
    Switchboard,
    Symbol,
)
from infra.simulators.yahoo.wire import Content

Status = Annotated[int, Meta(ge=500, le=599, description="the HTTP status")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """An answer instead of the one that was asked for.

    Attributes:
        status: its HTTP status.
        body: its body.
        content_type: of what type that is.
        headers: beside the usual ones.

    """

    status: int
    body: str
    content_type: str = "text/plain"
    headers: Mapping[str, str] = field(default_factory=dict)


class TooManyRequests(Fault, frozen=True, kw_only=True):
    """Requests are answered with HTTP 429."""

    retry_after: RetryAfter = None

    def refusal(self) -> Refusal:
        """Return what is answered."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return Refusal(status=429, body="Too Many Requests\r\n", headers=headers)


class ServerError(Fault, frozen=True, kw_only=True):
    """Requests are answered with an error of the server."""

    status: Status = 502

    def refusal(self) -> Refusal:
        """Return what is answered."""
        return Refusal(status=self.status, body="Server Error\n")


class Garbage(Fault, frozen=True, kw_only=True):
    """Requests are answered with a page of HTML and status 200."""

    def refusal(self) -> Refusal:
        """Return what is answered."""
        body = "<!doctype html><title>Yahoo</title><p>Will be right back...</p>\n"
        return Refusal(status=200, body=body, content_type="text/html")


class Slow(Fault, frozen=True, kw_only=True):
    """Answers come late."""

    by: Annotated[Seconds, Meta(description="seconds that each takes")] = 30.0

    def delay(self) -> float:
        """Return the seconds."""
        return self.by


class Frozen(OfSymbols, frozen=True, kw_only=True):
    """The quote stands still: the same price and the same `regularMarketTime`, again and again."""

    def quoted_at(self, symbol: str, at_ns: int, begun_at_ns: int) -> int:
        """Return the moment of the fault's beginning for the symbols concerned."""
        return min(at_ns, begun_at_ns) if self.concerns(symbol) else at_ns


class MissingClose(OfSymbols, frozen=True, kw_only=True):
    """There is neither a `chartPreviousClose` nor a `previousClose`."""

    def edit(self, content: Content) -> Content:
        """Take them out."""
        closes = {"chartPreviousClose", "previousClose"}
        meta = {key: value for key, value in content["meta"].items() if key not in closes}
        return {**content, "meta": meta}


class Nulls(OfSymbols, frozen=True, kw_only=True):
    """The history's last values are null."""

    last: Annotated[int | None, Meta(description="so many of them; none for all")] = None

    def edit(self, content: Content) -> Content:
        """Put nulls in their place."""
        (quote,) = content["indicators"]["quote"]
        columns = {
            name: [
                None if self.last is None or place >= len(values) - self.last else value
                for place, value in enumerate(values)
            ]
            for name, values in quote.items()
        }
        return {**content, "indicators": {"quote": [columns]}}


class MissingSymbol(Fault, frozen=True, kw_only=True):
    """`spark` leaves symbols out of its answer, without a word; `chart` has them."""

    symbols: Annotated[list[Symbol], Meta(min_length=1, description="which")]

    def leaves_out(self, symbol: str) -> bool:
        """Return whether it is one of them."""
        return symbol in self.symbols


#: All there are, in the order in which they take effect.
FAULTS: tuple[type[Fault], ...] = (
    TooManyRequests,
    ServerError,
    Garbage,
    Slow,
    Frozen,
    MissingSymbol,
    MissingClose,
    Nulls,
)


# what the simulator asks


def refusal(board: Switchboard) -> Refusal | None:
    """Return what a request is answered with instead of quotes."""
    return next((a.fault.refusal() for a in _with(board, "refusal") if a.use()), None)


def delay(board: Switchboard) -> float:
    """Return how many seconds an answer takes."""
    return sum((a.fault.delay() for a in _with(board, "delay") if a.use()), start=0.0)


def quoted_at(board: Switchboard, symbol: str, at_ns: int, delay_ns: int) -> tuple[int, str]:
    """Return the moment that a symbol is quoted at, and the fault if it is not `at_ns`."""
    for active in _with(board, "quoted_at"):
        begun_at_ns = active.began_ns - delay_ns
        frozen_ns = active.fault.quoted_at(symbol, at_ns, begun_at_ns)
        if frozen_ns != at_ns and active.use():
            return frozen_ns, active.name
    return at_ns, ""


def leaves_out(board: Switchboard, symbol: str) -> bool:
    """Return whether `spark` is silent on a symbol."""
    return any(
        active.fault.leaves_out(symbol) and active.use() for active in _with(board, "leaves_out")
    )


def edit(board: Switchboard, symbol: str, content: Content) -> tuple[Content, str]:
    """Return what is said of a symbol, and the faults that changed it, joined by commas."""
    names = []
    for active in _with(board, "edit"):
        if active.fault.concerns(symbol) and active.use():
            content = active.fault.edit(content)
            names.append(active.name)
    return content, ",".join(names)


def _with(board: Switchboard, place: str) -> list[Active[Any]]:
    return [active for active in board.on if hasattr(active.fault, place)]
