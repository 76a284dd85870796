"""How the stack asks its processes: are you ready, what are your metrics, how many rows."""

import aiohttp

from infra.kafka import broker
from infra.stack.plan import Finished, HttpReady, KafkaReady, Probe

ANSWER_SECONDS = 2.0
OK = 200


class Asker:
    """Asks over one HTTP session; nothing that is merely not there raises."""

    def __init__(self) -> None:
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS), trust_env=False
        )

    async def close(self) -> None:
        """Close the session."""
        await self._http.close()

    async def ready(self, probe: Probe) -> str | None:
        """Return None if ready, else what is waited for."""
        match probe:
            case HttpReady(url):
                status, text = await self._get(url)
                if status == OK:
                    return None
                return text.strip().splitlines()[0][:100] if text.strip() else "no answer yet"
            case KafkaReady(servers):
                return None if await broker.answers(servers) else "no answer yet"
            case Finished():
                return "its end"

    async def text(self, url: str) -> str | None:
        """Return what a GET answers, or None where nothing good does."""
        status, text = await self._get(url)
        return text if status == OK else None

    async def _get(self, url: str) -> tuple[int | None, str]:
        try:
            async with self._http.get(url) as answer:
                return answer.status, await answer.text()
        except (TimeoutError, aiohttp.ClientError, UnicodeDecodeError):
            return None, ""
