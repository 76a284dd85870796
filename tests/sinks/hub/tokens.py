"""Users' tokens."""

import time
from typing import Any

import jwt

SECRET = "a secret of at least thirty-two bytes"


def a_token(**claims: Any) -> str:
    """A user's token."""
    return jwt.encode({"sub": "ann", "exp": time.time() + 3600, **claims}, SECRET, "HS256")


def an_admin(**claims: Any) -> dict[str, str]:
    """An administrator's header."""
    return {"Authorization": f"Bearer {a_token(roles=['admin'], **claims)}"}
