"""The service levels, asked of Prometheus now and then, however many want to know; thin."""

import asyncio
from typing import Final

from infra.clock import now_ns
from infra.promql_http import NoAnswerError, ask
from sinks.hub import levels
from sinks.hub.levels import Levels

WITHIN_S: Final = 3.0
#: For so long an answer is told again, and so is that there was none.
KEPT_S: Final = 10.0


class Promises:
    """What Prometheus says of the service levels.

    Args:
        url: where it is; None where there is none.

    """

    def __init__(self, url: str | None = None) -> None:
        self._url = url
        self._one_asks = asyncio.Lock()
        self._last: Levels | NoAnswerError | None = None
        self._until_s = 0.0

    async def levels(self) -> Levels:
        """Return how they stand. Raises NoAnswerError."""
        if self._url is None:
            message = "there is no Prometheus to ask: see PROMETHEUS_URL"
            raise NoAnswerError(message)
        clock = asyncio.get_running_loop().time
        async with self._one_asks:
            if self._last is None or clock() >= self._until_s:
                self._last = await self._ask(self._url)
                self._until_s = clock() + KEPT_S
            last = self._last
        if isinstance(last, NoAnswerError):
            raise NoAnswerError(str(last))
        return last

    @staticmethod
    async def _ask(url: str) -> Levels | NoAnswerError:
        try:
            return levels.told(await ask(url, levels.QUERIES, WITHIN_S), now_ns())
        except NoAnswerError as error:
            return error
