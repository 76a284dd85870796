"""The Yahoo client: one HTTP session, one answer at a time, every failure named."""

from types import TracebackType
from typing import Literal, Self

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout
from yarl import URL

#: Plain HTTP clients are refused more often than browsers.
HEADERS = {
    "User-Agent": (
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/142.0.0.0 Safari/537.36"
    ),
    "Accept": "application/json,text/plain,*/*",
    "Accept-Language": "en-US,en;q=0.9",
}
REQUEST_S = 10.0
#: Twenty symbols' answers are some hundred kilobytes.
MAX_BODY_BYTES = 8 * 1024 * 1024

OK = 200
NOT_FOUND = 404
TOO_MANY_REQUESTS = 429
#: The longest wait that we let a server ask of us.
MAX_RETRY_AFTER_S = 3600.0


class RequestFailedError(Exception):
    """A request brought no answer that can be used.

    Attributes:
        reason: `timeout`; `error` for a connection that failed; `status` for an HTTP status.
        status: the HTTP status, if there was an answer.
        retry_after_s: how long the server asked to be left alone, if it did.

    """

    def __init__(
        self,
        detail: str,
        *,
        reason: Literal["timeout", "error", "status"],
        status: int | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.status = status
        self.retry_after_s = retry_after_s


class YahooClient:
    """Asks Yahoo, or whoever speaks its wire at `base_url`.

    Args:
        base_url: scheme and host.
        request_s: how long one request may take.

    """

    def __init__(self, base_url: str, *, request_s: float = REQUEST_S) -> None:
        self._base_url = base_url
        self._request_s = request_s
        self._session: ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = ClientSession(headers=HEADERS, timeout=ClientTimeout(total=self._request_s))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._session:
            await self._session.close()

    async def get(self, path: str) -> bytes:
        """Return the body that `path` answers. Raises RequestFailedError."""
        if self._session is None:
            message = "the client was not entered"
            raise RuntimeError(message)
        # the path is escaped already, and a comma must stay one
        url = URL(self._base_url + path, encoded=True)
        try:
            async with self._session.get(url) as response:
                if response.status != OK:
                    raise _refusal(response)
                return await _body(response)
        except TimeoutError as error:
            detail = f"no answer within {self._request_s:g} s"
            raise RequestFailedError(detail, reason="timeout") from error
        except ClientError as error:
            detail = f"{type(error).__name__}: {error}"
            raise RequestFailedError(detail, reason="error") from error


async def _body(response: ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            detail = f"an answer of more than {MAX_BODY_BYTES} bytes"
            raise RequestFailedError(detail, reason="error")
    return bytes(body)


def _refusal(response: ClientResponse) -> RequestFailedError:
    return RequestFailedError(
        f"HTTP {response.status} {response.reason or ''}".strip(),
        reason="status",
        status=response.status,
        retry_after_s=retry_after(response.headers.get("Retry-After")),
    )


def retry_after(header: str | None) -> float | None:
    """Return the seconds of a Retry-After header; None where there is none, or it is a date."""
    if header is None or not header.strip().isdecimal():
        return None
    return min(float(header), MAX_RETRY_AFTER_S)
