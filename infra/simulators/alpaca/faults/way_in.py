"""What can go wrong between the handshake and the subscription."""

from dataclasses import replace
from typing import Annotated, ClassVar

from msgspec import Meta

from infra.simulators.alpaca.faults.places import Closing, Deed, Frame, Refusal, Some
from infra.simulators.alpaca.session import AuthRefusal, Rules
from infra.simulators.faults import Fault, RetryAfter, Seconds, name_of


class TooManyRequests(Fault, frozen=True, kw_only=True):
    """The handshake is answered with HTTP 429."""

    retry_after: RetryAfter = None

    def handshake(self) -> Refusal:
        """Return what is answered."""
        headers = {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}
        return Refusal(status=429, message="too many requests", headers=headers)


class _RefusesAuth(Fault, frozen=True, kw_only=True):
    code: ClassVar[int]

    closing: Closing = True

    def gate(self, rules: Rules) -> Rules:
        """Refuse whoever authenticates, unless another fault does so already."""
        refusal = AuthRefusal(code=self.code, close=self.closing, fault=name_of(type(self)))
        return replace(rules, auth_refusal=rules.auth_refusal or refusal)


class ConnectionLimit(_RefusesAuth, frozen=True, kw_only=True):
    """Whoever authenticates gets 406, as if the keys were in use elsewhere."""

    code = 406


class AuthFailed(_RefusesAuth, frozen=True, kw_only=True):
    """Whoever authenticates gets 402, whatever the keys."""

    code = 402


class AuthTimeout(_RefusesAuth, frozen=True, kw_only=True):
    """Whoever authenticates gets 404, as if it had come too late."""

    code = 404


class InsufficientSubscription(_RefusesAuth, frozen=True, kw_only=True):
    """Whoever authenticates gets 409: the plan does not include this feed."""

    code = 409


class InsufficientScope(_RefusesAuth, frozen=True, kw_only=True):
    """Whoever authenticates gets 411: the keys may not read market data."""

    code = 411


class SymbolLimit(Fault, frozen=True, kw_only=True):
    """The plan allows so many symbols; a subscription beyond them gets 405 and changes nothing."""

    limit: Annotated[int, Meta(ge=0, description="symbols that a connection may follow")]

    def gate(self, rules: Rules) -> Rules:
        """Set the limit."""
        return replace(rules, symbol_limit=self.limit, limited_by=name_of(type(self)))


class MalformedSymbol(Fault, frozen=True, kw_only=True):
    """A subscription that contains one of the symbols gets 400."""

    symbols: Some
    closing: Closing = False

    def gate(self, rules: Rules) -> Rules:
        """Call the symbols malformed."""
        return replace(
            rules,
            malformed=frozenset(self.symbols),
            malformed_closes=self.closing,
            malformed_by=name_of(type(self)),
        )


class Ghost(Fault, frozen=True, kw_only=True):
    """A connection that was dropped uncleanly is counted for a while: newcomers get 406."""

    stays = True

    held: Annotated[Seconds, Meta(description="seconds for which it is counted")] = 90.0
    cut: Annotated[bool, Meta(description="whether to drop those that are open, uncleanly")] = False

    def deed(self, _: Frame | None) -> Deed | None:
        """Cut the connection."""
        return Deed(fault=name_of(type(self)), then="abort") if self.cut else None
