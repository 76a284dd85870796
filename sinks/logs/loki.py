"""Loki's push API: what it is sent and what it answers; pure.

https://grafana.com/docs/loki/latest/reference/loki-http-api/#ingest-logs. Few labels, or Loki has a
stream for every value: who, how bad, where. What is of one line alone (its trace, its symbol) is
structured metadata.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import msgspec

from sinks.logs.lines import Line
from sinks.logs.wire import Later, Refused, Request, Taken, Verdict, retry_after, words

PATH: Final = "/loki/api/v1/push"
_IGNORED = re.compile(r"total ignored: (\d+) out of (\d+)")
_TOO_MANY: Final = 429
#: What is wrong with the credentials, the address or the hour may be mended: the lines wait.
_MENDABLE: Final = frozenset({401, 403, 404, 405, 407, 408, 421, 425, _TOO_MANY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Loki:
    """One Loki.

    Attributes:
        url: `http[s]://host[:port][/path]`, without user and password.
        environment: the label.
        headers: credentials and tenant.

    """

    url: str
    environment: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    name = "loki"

    def request(self, lines: Sequence[Line]) -> Request:
        """Return the request that pushes these lines."""
        streams: defaultdict[tuple[str, str], list[Line]] = defaultdict(list)
        for line in lines:
            streams[line.service, line.level].append(line)
        body = {
            "streams": [
                {
                    "stream": {
                        "service_name": service,
                        "level": level,
                        "environment": self.environment,
                    },
                    "values": [_entry(line) for line in sorted(told, key=lambda line: line.at_ns)],
                }
                for (service, level), told in streams.items()
            ]
        }
        headers = {**self.headers, "Content-Type": "application/json"}
        return Request(self.url + PATH, msgspec.json.encode(body), headers)

    def verdict(
        self, status: int, headers: Mapping[str, str], body: bytes, lines: int, now: datetime
    ) -> Verdict:
        """Return what an answer means for a batch of so many lines."""
        if status in range(200, 300):
            return Taken()
        why = f"HTTP {status}: {words(body)}"
        if status in _MENDABLE or status not in range(400, 500):
            return Later(why, retry_after(headers.get("Retry-After", ""), now))
        # Loki keeps those lines of a batch that it can, and says of how many it could not
        ignored = _IGNORED.search(body.decode(errors="replace"))
        return Refused(why, min(int(ignored.group(1)), lines) if ignored else lines)


def _entry(line: Line) -> list[str | dict[str, str]]:
    metadata = {"trace_id": line.trace_id, "symbol": line.symbol}
    told: dict[str, str] = {name: value for name, value in metadata.items() if value}
    return [str(line.at_ns), line.text, *([told] if told else [])]
