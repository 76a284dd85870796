"""Questions to Prometheus, over its HTTP interface; thin."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp


class NoAnswerError(Exception):
    """Prometheus does not answer, or not with a vector."""


async def ask(url: str, asked: Mapping[str, str], within_s: float) -> dict[str, list[Any]]:
    """Return the vector that each expression yields now. Raises NoAnswerError."""
    parts = urlsplit(url)
    shown = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    address = f"{url.rstrip('/')}/api/v1/query"
    try:
        async with (
            asyncio.timeout(within_s),
            aiohttp.ClientSession() as http,
        ):
            vectors = await asyncio.gather(
                *(_vector(http, address, expression) for expression in asked.values())
            )
            return dict(zip(asked, vectors, strict=True))
    except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, TypeError) as error:
        why = str(error) if isinstance(error, aiohttp.ClientConnectorError) else ""
        message = f"Prometheus at {shown} does not answer: {why or type(error).__name__}"
        raise NoAnswerError(message) from error


async def _vector(http: aiohttp.ClientSession, address: str, expression: str) -> list[Any]:
    async with http.get(address, params={"query": expression}) as answer:
        vector: list[Any] = (await answer.json())["data"]["result"]
        return vector
