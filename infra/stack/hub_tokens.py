"""Tokens for the hub: `twinfeed token`, and the local stack's own secret to sign them with."""

import os
import secrets
import time
from pathlib import Path
from typing import Annotated

import jwt
import typer

from infra.settings import EX_CONFIG, EX_UNAVAILABLE
from infra.stack.plan import HUB_SECRET_FILE
from infra.stack.refusal import Refusal

DEFAULT_DATA = Path(".twinfeed")
#: As long as what it signs: RFC 7518, 3.2.
SECRET_BYTES = 32
HOUR_S = 3600


def make_secret(file: Path) -> None:
    """Make a secret, readable by its owner alone, where there is none yet."""
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return
    with os.fdopen(number, "w") as out:
        out.write(secrets.token_urlsafe(SECRET_BYTES) + "\n")


def token(
    name: Annotated[str, typer.Argument(help="Whose: it is kept with every command.")],
    *,
    admin: Annotated[bool, typer.Option("--admin", help="May ask things of the pipeline.")] = False,
    hours: Annotated[float, typer.Option(min=0.01, max=8784, help="How long it is good.")] = 12,
    data: Annotated[
        Path, typer.Option("--data", help="The stack's directory, which has its secret.")
    ] = DEFAULT_DATA,
) -> None:
    """Print a token for the hub: signed with HUB_JWT_SECRET, or with the local stack's secret."""
    if not name.strip() or not name.isprintable():
        message = "NAME: expected one line"
        raise typer.BadParameter(message)
    claims: dict[str, object] = {"sub": name.strip(), "exp": int(time.time() + hours * HOUR_S)}
    if admin:
        claims["roles"] = ["admin"]
    if audience := os.environ.get("HUB_JWT_AUDIENCE"):
        claims["aud"] = audience
    typer.echo(jwt.encode(claims, _secret(data), "HS256"))


def _secret(data: Path) -> str:
    if found := os.environ.get("HUB_JWT_SECRET"):
        where = "HUB_JWT_SECRET"
    else:
        file = Path(os.environ.get("HUB_JWT_SECRET_FILE") or data / HUB_SECRET_FILE)
        where = str(file)
        try:
            found = file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            cause = getattr(error, "strerror", None) or error
            message = f"there is no secret to sign with: HUB_JWT_SECRET is not set, {file}: {cause}"
            raise Refusal(message, EX_UNAVAILABLE) from error
    if len(found.encode()) < SECRET_BYTES:
        message = f"{where}: expected at least {SECRET_BYTES} bytes"
        raise Refusal(message, EX_CONFIG)
    return found
