"""What is written down of a connection's life; pure."""

from collections.abc import Iterable
from dataclasses import dataclass

from sinks.events import (
    ClientConnected,
    ClientLeft,
    ClientSubscribed,
    ClientUnsubscribed,
    HubName,
    Left,
    SessionEvent,
)
from sinks.hub.protocol.handshake import ProtocolName
from sinks.hub.protocol.messages import Invocation, Message


@dataclass(slots=True, kw_only=True)
class Session:
    """One connection, as far as the log goes.

    Attributes:
        connection_id: its name.
        hub: the address that it came in at.
        user: by the token.
        since_ns: when it came.
        updates: how many prices it was sent.
        reason: why it ends, if it does.
        detail: what it was told.

    """

    connection_id: str
    hub: HubName
    user: str
    since_ns: int
    updates: int = 0
    reason: Left = "left"
    detail: str = ""

    def came(self, encoding: ProtocolName) -> SessionEvent:
        """Return that it is here."""
        return ClientConnected(
            at_ns=self.since_ns,
            connection_id=self.connection_id,
            hub=self.hub,
            user=self.user,
            encoding=encoding,
        )

    def ends(self, reason: Left, detail: str = "") -> None:
        """Remember why it ends; the first reason counts."""
        if self.reason == "left":
            self.reason, self.detail = reason, detail

    def left(self, now_ns: int) -> SessionEvent:
        """Return that it is gone."""
        return ClientLeft(
            at_ns=now_ns,
            connection_id=self.connection_id,
            hub=self.hub,
            user=self.user,
            reason=self.reason,
            detail=self.detail,
            connected_at_ns=self.since_ns,
            updates=self.updates,
        )

    def asked(self, answers: Iterable[Message], now_ns: int) -> list[SessionEvent]:
        """Return what became of its subscriptions, by what it was answered."""
        found: list[SessionEvent] = []
        for answer in answers:
            match answer:
                case Invocation(
                    "SubscriptionConfirmed" | "AssetClassSubscriptionConfirmed", [confirmed]
                ):
                    kind: type[ClientSubscribed | ClientUnsubscribed] = ClientSubscribed
                case Invocation("UnsubscriptionConfirmed", [confirmed]):
                    kind = ClientUnsubscribed
                case _:
                    continue
            found.append(
                kind(
                    at_ns=now_ns,
                    connection_id=self.connection_id,
                    hub=self.hub,
                    user=self.user,
                    symbols=confirmed.get("symbols", []),
                )
            )
        return found
