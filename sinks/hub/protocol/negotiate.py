"""What `POST .../negotiate` answers, and the token that comes back with the socket; pure.

The token is stateless: any hub with the same secret can check it, so a client may negotiate with
one and connect to another.
"""

import base64
import hashlib
import hmac
from typing import Any, Final

#: From the answer to the socket it takes a client a second, or a minute on a very bad line.
TOKEN_TTL_S: Final = 60
NS: Final = 1_000_000_000
_ID_BYTES: Final = 16
_TIME_BYTES: Final = 8
_MAC_BYTES: Final = 16


class TokenError(Exception):
    """A connection token that we did not give, or long ago."""


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _mac(secret: bytes, body: bytes, user: str) -> bytes:
    return hmac.digest(secret, body + user.encode(), hashlib.sha256)[:_MAC_BYTES]


def connection_id(random: bytes) -> str:
    """Return a connection's public name, made of 16 random bytes."""
    return _text(random)


def token(random: bytes, *, secret: bytes, user: str, now_ns: int) -> str:
    """Return the token that lets `user` open the connection which those 16 random bytes name."""
    body = random + now_ns.to_bytes(_TIME_BYTES)
    return _text(body + _mac(secret, body, user))


def opened(text: str, *, secret: bytes, user: str, now_ns: int) -> str:
    """Return the connection id that a token stands for.

    Raises:
        TokenError: it is not ours, another user's, or too old.

    """
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except ValueError as error:
        message = "the connection token is not ours"
        raise TokenError(message) from error
    body, mac = data[: _ID_BYTES + _TIME_BYTES], data[_ID_BYTES + _TIME_BYTES :]
    if len(mac) != _MAC_BYTES or not hmac.compare_digest(mac, _mac(secret, body, user)):
        message = "the connection token is not ours"
        raise TokenError(message)
    age_ns = now_ns - int.from_bytes(body[_ID_BYTES:])
    if age_ns > TOKEN_TTL_S * NS:
        message = "the connection token is too old: negotiate again"
        raise TokenError(message)
    return connection_id(body[:_ID_BYTES])


def answer(version: int, connection: str, connection_token: str) -> dict[str, Any]:
    """Return the answer to a negotiation of this version: 0 knows no token beside the id."""
    transports = [{"transport": "WebSockets", "transferFormats": ["Text", "Binary"]}]
    if version < 1:
        return {
            "negotiateVersion": 0,
            "connectionId": connection_token,
            "availableTransports": transports,
        }
    return {
        "negotiateVersion": 1,
        "connectionId": connection,
        "connectionToken": connection_token,
        "availableTransports": transports,
    }
