"""What can go wrong with a request for history."""

from typing import Annotated, Literal

from msgspec import Meta

from infra.simulators.alpaca.faults.places import Refusal
from infra.simulators.faults import SECOND_NS, Fault, Seconds


class RestUnavailable(Fault, frozen=True, kw_only=True):
    """Requests for history get an error of the server."""

    status: Annotated[int, Meta(ge=500, le=599, description="the HTTP status")] = 503

    def rest(self, _: int) -> Refusal:
        """Return what is answered."""
        return Refusal(status=self.status, message="internal server error occurred")


class RestTooManyRequests(Fault, frozen=True, kw_only=True):
    """Requests for history get 429, as if the minute's calls were spent."""

    reset: Annotated[Seconds, Meta(description="X-RateLimit-Reset is so many seconds away")] = 60.0

    def rest(self, now_ns: int) -> Refusal:
        """Return what is answered."""
        reset = str(round(now_ns / SECOND_NS + self.reset))
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        return Refusal(status=429, message="too many requests.", headers=headers)


class RestRefused(Fault, frozen=True, kw_only=True):
    """Requests for history are refused for good."""

    status: Annotated[Literal[400, 401, 403, 422], Meta(description="the HTTP status")] = 403
    message: Annotated[str, Meta(description="the reason that is given")] = (
        "subscription does not permit querying recent SIP data"
    )

    def rest(self, _: int) -> Refusal:
        """Return what is answered."""
        return Refusal(status=self.status, message=self.message)
