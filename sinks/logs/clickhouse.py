"""ClickHouse's table `logs`: what it is sent and what it answers; pure.

The table makes its columns of the line itself, and a line that comes twice replaces itself
(`infra/clickhouse/*_retention.sql`). Nothing is ever refused for good: what is wrong is the
server, its rights or its schema, and each of these can be mended while the lines wait.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sinks.logs.lines import Line
from sinks.logs.wire import Later, Request, Taken, Verdict, retry_after, words

INSERT: Final = "INSERT INTO logs (line) FORMAT LineAsString"
_OK: Final = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickHouse:
    """One ClickHouse.

    Attributes:
        url: `http[s]://host:port`, without user and password.
        database: which has the table.
        headers: credentials.

    """

    url: str
    database: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    name = "clickhouse"

    def request(self, lines: Sequence[Line]) -> Request:
        """Return the request that inserts these lines."""
        body = "".join(f"{line.text}\n" for line in lines).encode()
        parameters = {"database": self.database, "query": INSERT}
        headers = {**self.headers, "Content-Type": "text/plain; charset=UTF-8"}
        return Request(self.url, body, headers, parameters)

    def verdict(
        self, status: int, headers: Mapping[str, str], body: bytes, lines: int, now: datetime
    ) -> Verdict:
        """Return what an answer means for a batch of so many lines."""
        del lines
        # an error behind the status line has its code in a header
        if status == _OK and "X-ClickHouse-Exception-Code" not in headers:
            return Taken()
        pause = retry_after(headers.get("Retry-After", ""), now)
        return Later(f"HTTP {status}: {words(body)}", pause)
