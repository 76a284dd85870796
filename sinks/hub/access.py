"""Who may come in: users by their token, pages by their origin; pure.

A token is a JWT, HS256. `sub` is who it is; `roles` may hold `admin`. A browser's WebSocket cannot
carry a header, so a token may come in the query, and has to be kept out of every log.
"""

import ipaddress
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import jwt

ADMIN: Final = "admin"
#: As much as is kept of a name.
NAME_LENGTH: Final = 100
#: Clocks of two machines differ.
LEEWAY_S: Final = 10
_BEARER: Final = "bearer "
_SECRETS: Final = re.compile(r"(?<=[?&])(access_token|id)=[^&\s]*", re.IGNORECASE)


class RefusedError(Exception):
    """Who asks may not come in; in words that tell nothing of the secret."""


class ForbiddenError(Exception):
    """We know who asks, and they may not."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks: a name, empty for nobody in particular; and until when we know, since the epoch."""

    name: str = ""
    admin: bool = False
    until_s: float = math.inf


ANYBODY: Final = User()


def token_in(headers: Mapping[str, str], query: Mapping[str, str]) -> str | None:
    """Return the token of a request: that of its header, or else of its query."""
    header = headers.get("Authorization", "")
    if header.lower().startswith(_BEARER):
        return header[len(_BEARER) :].strip()
    return query.get("access_token") or None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The rules.

    Attributes:
        secret: what tokens are signed with; None where there are none.
        audience: whom they must be meant for; empty for anyone.
        anonymous: whether prices need no token.
        origins: whose pages may connect, besides our own.

    """

    secret: str | None
    audience: str = ""
    anonymous: bool = False
    origins: frozenset[str] = frozenset()

    def user(self, token: str | None) -> User:
        """Return who may see prices. Raises RefusedError."""
        if token is None:
            if self.anonymous:
                return ANYBODY
            message = "a token is required: as Authorization: Bearer, or as access_token"
            raise RefusedError(message)
        if self.secret is None:
            return ANYBODY  # a client that always sends one is as good as one that sends none
        return self._known(token, self.secret)

    def admin(self, token: str | None) -> User:
        """Return who may ask things of the pipeline. Raises RefusedError and ForbiddenError.

        Nobody may without a token, however open the prices are.
        """
        if self.secret is None:
            message = "nobody may ask for anything here: there is no HUB_JWT_SECRET"
            raise RefusedError(message)
        if token is None:
            message = "an administrator's token is required: as Authorization: Bearer"
            raise RefusedError(message)
        user = self._known(token, self.secret)
        if not user.admin:
            message = f"{user.name} is no administrator: the token's roles have no {ADMIN!r}"
            raise ForbiddenError(message)
        if not user.name.strip() or not user.name.isprintable() or len(user.name) > NAME_LENGTH:
            message = f"the token's sub is no name: expected up to {NAME_LENGTH} characters"
            raise ForbiddenError(message)
        return user

    def page_may(self, origin: str | None, host: str) -> bool:
        """Return whether a page of this origin may connect; who sends none is no browser.

        Our own page may where it was fetched by address. A name could be anybody's, who has it
        point at us: one by which we are to be found has to be among the origins.
        """
        if origin is None or origin in self.origins:
            return True
        return origin.partition("://")[2] == host and _cannot_be_pointed(host)

    def _known(self, token: str, secret: str) -> User:
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                secret,
                algorithms=["HS256"],
                audience=self.audience or None,
                leeway=LEEWAY_S,
                options={"require": ["sub", "exp"], "verify_aud": bool(self.audience)},
            )
        except jwt.InvalidTokenError as error:
            message = f"the token is not valid: {error}"
            raise RefusedError(message) from error
        roles = claims.get("roles", [])
        admin = isinstance(roles, list) and ADMIN in roles
        return User(str(claims["sub"]), admin=admin, until_s=claims["exp"] + LEEWAY_S)


def _cannot_be_pointed(host: str) -> bool:
    name = urlsplit(f"//{host}").hostname or ""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost"
    return True


def without_secrets(target: str) -> str:
    """Return a request's path and query as they may be logged."""
    return _SECRETS.sub(r"\1=***", target)
