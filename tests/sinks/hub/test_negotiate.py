"""The negotiation's answer and its token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sinks.hub.protocol import negotiate

NOW = 1_700_000_000_000_000_000
SECRET = b"s" * 32
ID = bytes(range(16))


def test_a_token_opens_its_connection() -> None:
    """At any hub with the same secret."""
    token = negotiate.token(ID, secret=SECRET, user="ann", now_ns=NOW)
    opened = negotiate.opened(token, secret=SECRET, user="ann", now_ns=NOW + 5)
    assert opened == negotiate.connection_id(ID)


@pytest.mark.parametrize(
    ("secret", "user", "later_s", "sentence"),
    [
        (b"t" * 32, "ann", 1, "not ours"),
        (SECRET, "bob", 1, "not ours"),
        (SECRET, "ann", 61, "too old"),
    ],
)
def test_it_opens_no_other(secret: bytes, user: str, later_s: int, sentence: str) -> None:
    """Not with another secret, not for another user, not for ever."""
    token = negotiate.token(ID, secret=SECRET, user="ann", now_ns=NOW)
    with pytest.raises(negotiate.TokenError, match=sentence):
        negotiate.opened(token, secret=secret, user=user, now_ns=NOW + later_s * 10**9)


@given(st.text(max_size=80))
def test_nothing_else_is_a_token(text: str) -> None:
    """Whatever somebody makes up."""
    with pytest.raises(negotiate.TokenError, match="not ours"):
        negotiate.opened(text, secret=SECRET, user="", now_ns=NOW)


def test_the_answer_by_version() -> None:
    """A client of version 0 connects with its id, so the id has to be the token."""
    one, zero = negotiate.answer(1, "id", "token"), negotiate.answer(0, "id", "token")
    assert (one["connectionId"], one["connectionToken"]) == ("id", "token")
    assert zero["connectionId"] == "token"
    assert "connectionToken" not in zero
    for said in (one, zero):
        (transport,) = said["availableTransports"]
        assert transport == {"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}
