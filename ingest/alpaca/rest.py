"""The client of Alpaca's history: one HTTP session, one page at a time, every failure named."""

import time
from types import TracebackType
from typing import Self

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

from ingest.alpaca.history import Page, Query, Refusal, UnusableAnswerError, read_page, refusal
from ingest.keys import Keys

#: How long one page may take; a full one is about a megabyte.
REQUEST_S = 30.0
MAX_BODY_BYTES = 32 * 1024 * 1024

_OK = 200


class RefusedError(Exception):
    """A question brought no page; `refusal` says why, and what that means."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class HistoryClient:
    """Asks Alpaca, or whoever speaks its wire at `base_url`.

    Args:
        base_url: scheme and host.
        keys: sent with every question, and nowhere else: redirections are not followed.
        request_s: how long one request may take.

    """

    def __init__(self, base_url: str, keys: Keys, *, request_s: float = REQUEST_S) -> None:
        self._base_url = base_url.rstrip("/")
        self._keys = keys
        self._request_s = request_s
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = ClientSession(timeout=ClientTimeout(total=self._request_s))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session:
            await self._session.close()

    def rekey(self, keys: Keys) -> None:
        """Ask with other keys from now on."""
        self._keys = keys

    async def page(self, query: Query, page_token: str | None) -> Page:
        """Return a page. Raises RefusedError."""
        if self._session is None:
            message = "the client was not entered"
            raise RuntimeError(message)
        url = URL(self._base_url + query.path(page_token), encoded=True)
        headers = {
            "APCA-API-KEY-ID": self._keys.key_id,
            "APCA-API-SECRET-KEY": self._keys.secret,
            "Accept": "application/json",
        }
        try:
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                body = await _body(response)
                if response.status != _OK:
                    refused = refusal(response.status, response.headers, body, time.time())
                    raise RefusedError(refused)
            return read_page(body, query, page_token)
        except TimeoutError as error:
            detail = f"no answer within {self._request_s:g} s"
            raise RefusedError(Refusal("failed", None, detail)) from error
        except ClientError as error:
            # not its repr, which may hold the headers of the request
            detail = f"{type(error).__name__}: {error}"
            raise RefusedError(Refusal("failed", None, detail)) from error
        except UnusableAnswerError as error:
            raise RefusedError(Refusal("failed", None, str(error))) from error


async def _body(response: ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            message = f"an answer of more than {MAX_BODY_BYTES} bytes"
            raise UnusableAnswerError(message)
    return bytes(body)
