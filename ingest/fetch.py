"""A list of symbols, asked for over HTTP; thin, over aiohttp."""

import aiohttp

from infra.process import reason
from ingest.lists import ANSWER_BYTES, Listing, Question, read_answer

#: How long the whole answer may take.
ANSWER_S = 10.0


async def fetch(asked: Question, *, answer_s: float = ANSWER_S) -> Listing:
    """Return the list that `asked` names. Raises ValueError with a sentence that names it."""
    try:
        status, body = await _answer(asked, answer_s)
        return Listing(symbols=read_answer(asked, status, body), origin=asked.origin)
    except TimeoutError:
        message = f"{asked.origin}: no answer within {answer_s:g} s"
    except aiohttp.ClientConnectorError as error:
        message = f"{asked.origin}: {reason(error.os_error)}"
    except aiohttp.ClientError as error:
        # its words may repeat the address
        message = f"{asked.origin}: {type(error).__name__}"
    except ValueError as error:
        message = f"{asked.origin}: {error}"
    raise ValueError(message)


async def _answer(asked: Question, answer_s: float) -> tuple[int, bytes]:
    """Return the status, and as much of the body as it takes to see whether it is too long."""
    async with (
        aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=answer_s)) as http,
        http.request(
            "GET" if asked.body is None else "POST",
            asked.url,
            data=asked.body,
            headers=asked.headers,
            # a POST that is answered with a redirect is no ClickHouse
            allow_redirects=asked.body is None,
        ) as answer,
    ):
        body = bytearray()
        async for chunk in answer.content.iter_any():
            body += chunk
            if len(body) > ANSWER_BYTES:
                break
        return answer.status, bytes(body)
