"""What the router says to operators' commands (`ops.answers`), for those who wait for it."""

import asyncio
from typing import Final

from infra.commands import Answer

#: How many are remembered: an answer may come before anybody waits for it.
REMEMBERED: Final = 100


class Replies:
    """The last answers, by their command's offset."""

    def __init__(self) -> None:
        self._found: dict[int, Answer] = {}
        self._news = asyncio.Event()

    def take(self, answer: Answer) -> None:
        """Take an answer out of the log."""
        self._found[answer.command_offset] = answer
        while len(self._found) > REMEMBERED:
            del self._found[next(iter(self._found))]
        self._news.set()
        self._news = asyncio.Event()

    async def of(self, offset: int, within_s: float) -> Answer | None:
        """Return the answer to a command; None where none comes in time."""
        try:
            async with asyncio.timeout(within_s):
                while offset not in self._found:
                    await self._news.wait()
        except TimeoutError:
            return None
        return self._found[offset]
