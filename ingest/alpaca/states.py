"""The states of an Alpaca session, and what leads from each to the next.

A signal is one thing that can happen to a connection; `TRANSITIONS` says where it leads from each
state. Signals of two kinds are told apart, as in h11:

* LOCAL ones come from our own worker. One that does not belong to the state is our bug, and raises.
* the others come from the vendor. One that does not belong to the state is only odd: it is passed
  over, because no input may stop the stream.

The life of a connection, and its windows:

    DISCONNECTED --wait--> CONNECTING --socket--> AUTHENTICATING --accepted--> CONNECTED
         ^                     |                        |                         |
         +---------------------+------------------------+-----lost, failed--------+
    ERROR: the same as DISCONNECTED, but the vendor said that trying again will not help.
"""

from collections.abc import Mapping
from enum import StrEnum

from ingest.alpaca import wire
from ingest.alpaca.wire import Verdict


class State(StrEnum):
    """The states of a session; the value is what a heartbeat calls it."""

    DISCONNECTED = "disconnected"
    CONNECTING = "connecting"
    AUTHENTICATING = "authenticating"
    CONNECTED = "connected"
    ERROR = "error"


class Signal(StrEnum):
    """What can happen to a session."""

    DUE = "the wait for the next attempt is over"
    OPENED = "the socket is open"
    DROPPED = "the socket is gone, or could not be opened"
    WELCOMED = "the vendor says connected"
    ACCEPTED = "the vendor says authenticated"
    CONFIRMED = "the vendor says what it will send"
    CHALLENGED = "the vendor says not authenticated"
    OBJECTED = "the vendor objects to the symbols that we asked for"
    FAILED = "the vendor gave up on the connection, or did not answer in time"
    REFUSED = "the vendor will refuse the same again"
    RECALLED = "we are asked to leave"


LOCAL = frozenset({Signal.DUE, Signal.OPENED, Signal.DROPPED})

TRANSITIONS: Mapping[State, Mapping[Signal, State]] = {
    State.DISCONNECTED: {
        Signal.DUE: State.CONNECTING,
        Signal.DROPPED: State.DISCONNECTED,
    },
    State.CONNECTING: {
        Signal.OPENED: State.AUTHENTICATING,
        Signal.DROPPED: State.DISCONNECTED,
        Signal.REFUSED: State.ERROR,
    },
    State.AUTHENTICATING: {
        Signal.WELCOMED: State.AUTHENTICATING,
        Signal.ACCEPTED: State.CONNECTED,
        Signal.CHALLENGED: State.AUTHENTICATING,
        Signal.FAILED: State.DISCONNECTED,
        Signal.REFUSED: State.ERROR,
        Signal.RECALLED: State.DISCONNECTED,
        Signal.DROPPED: State.DISCONNECTED,
    },
    State.CONNECTED: {
        Signal.CONFIRMED: State.CONNECTED,
        Signal.CHALLENGED: State.AUTHENTICATING,
        Signal.OBJECTED: State.CONNECTED,
        Signal.FAILED: State.DISCONNECTED,
        Signal.REFUSED: State.ERROR,
        Signal.RECALLED: State.DISCONNECTED,
        Signal.DROPPED: State.DISCONNECTED,
    },
    State.ERROR: {
        Signal.DUE: State.CONNECTING,
        Signal.DROPPED: State.ERROR,
    },
}

#: A control code's signal by what it means; two mend the connection, each in its own way.
SIGNALS: Mapping[Verdict, Signal] = {
    Verdict.TERMINAL: Signal.REFUSED,
    Verdict.OUR_BUG: Signal.REFUSED,
    Verdict.RETRY: Signal.FAILED,
}
REPEATS: Mapping[int, Signal] = {
    wire.NOT_AUTHENTICATED: Signal.CHALLENGED,
    wire.INVALID_SYNTAX: Signal.OBJECTED,
    wire.SYMBOL_LIMIT_EXCEEDED: Signal.OBJECTED,
}


class LocalProtocolError(Exception):
    """Our own worker did what the state does not allow."""


def follow(state: State, signal: Signal) -> State | None:
    """Return where `signal` leads from `state`; None where the state passes it over.

    Raises:
        LocalProtocolError: our own worker did what the state does not allow.

    """
    target = TRANSITIONS[state].get(signal)
    if target is None and signal in LOCAL:
        message = f"{signal.name} in state {state.name}"
        raise LocalProtocolError(message)
    return target
