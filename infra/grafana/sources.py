"""Asks the data sources what the panels ask, without Grafana."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import orjson

from infra.grafana import ask
from infra.grafana.ask import Frame, Window

OK = 200
ANSWER_S = 30.0


class SourceError(Exception):
    """A data source refused a question, or is not there; the message says which and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the answers are.

    Attributes:
        http: what is asked with.
        prometheus: its address.
        clickhouse: its address.
        database: what is asked there.
        analyst: as whom, and the password.

    """

    http: aiohttp.ClientSession
    prometheus: str
    clickhouse: str
    database: str = "twinfeed"
    analyst: tuple[str, str] = ("analyst", "")

    async def frames(self, panel: Mapping[str, Any], window: Window) -> list[Frame]:
        """Return what a panel shows. Raises SourceError."""
        found: list[Frame] = []
        for target in panel["targets"]:
            if "rawSql" in target:
                answer = await self._of_clickhouse(ask.clickhouse(target, window))
                found += ask.shown(panel["type"], ask.of_clickhouse(answer))
            else:
                answer = await self._of_prometheus(*ask.prometheus(target, window))
                found += ask.of_prometheus(target, answer)
        return found

    async def marks(self, model: Mapping[str, Any], window: Window) -> list[dict[str, Any]]:
        """Return what the annotations of a dashboard mark within the time. Raises SourceError."""
        found = []
        for annotation in model["annotations"]["list"]:
            answer = await self._of_prometheus(*ask.prometheus(annotation, window))
            found += [
                {"at": at, "words": words, "color": annotation["iconColor"]}
                for at, words in ask.moments(annotation, answer)
                if window.since <= at <= window.until
            ]
        return found

    async def _of_prometheus(self, path: str, parameters: dict[str, str]) -> Any:
        return await self._ask("Prometheus", f"{self.prometheus}{path}", data=parameters)

    async def _of_clickhouse(self, sql: str) -> Any:
        user, password = self.analyst
        return await self._ask(
            "ClickHouse",
            f"{self.clickhouse}/",
            params={"database": self.database, "default_format": "JSONCompact"},
            headers={"X-ClickHouse-User": user, "X-ClickHouse-Key": password},
            data=sql.encode(),
        )

    async def _ask(self, name: str, url: str, **options: Any) -> Any:
        try:
            async with self.http.post(
                url, timeout=aiohttp.ClientTimeout(total=ANSWER_S), **options
            ) as response:
                body = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            message = f"{name} does not answer at {url}: {error or type(error).__name__}"
            raise SourceError(message) from error
        if response.status != OK:
            message = f"{name} answers {response.status}: {body.decode(errors='replace')[:500]}"
            raise SourceError(message)
        return orjson.loads(body)
