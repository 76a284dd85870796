"""Receivers that speak what the real ones speak, and reject what those would reject.

PagerDuty's Events API v2, Slack's incoming webhooks, and plain webhooks with a bearer token.
"""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web

from infra.alertmanager import config

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
SLACK_PATH = "/services/T0000/B0000/secret"
TOKEN = "a token"
#: What they go by, under the name of the file that Alertmanager reads it from.
SECRETS = {
    config.ROUTING_KEY: ROUTING_KEY,
    config.HISTORY_TOKEN: TOKEN,
    config.WATCHDOG_TOKEN: TOKEN,
}
SEVERITIES = {"critical", "error", "warning", "info"}


def write_secrets(into: Path, url: str, **changes: str) -> None:
    """Write the files that let an Alertmanager tell the receivers at an address."""
    for name, secret in {**SECRETS, config.SLACK_URL: url + SLACK_PATH, **changes}.items():
        (into / name).write_text(secret)


def pagerduty_mistakes(event: Any) -> list[str]:
    """Return what the Events API v2 would refuse."""
    if not isinstance(event, dict):
        return ["the event is no object"]
    mistakes = []
    if not re.fullmatch(r"[0-9A-Za-z]{32}", str(event.get("routing_key", ""))):
        mistakes.append("routing_key has not 32 characters")
    if event.get("event_action") not in {"trigger", "acknowledge", "resolve"}:
        mistakes.append(f"event_action is {event.get('event_action')!r}")
    key = event.get("dedup_key", "")
    if len(key) > 255 or (not key and event.get("event_action") != "trigger"):
        mistakes.append("dedup_key is missing or too long")
    if event.get("event_action") == "trigger":
        mistakes += _payload_mistakes(event.get("payload") or {})
    hrefs = [str(link.get("href", "")) for link in event.get("links") or []]
    mistakes += [f"a link leads to {h!r}" for h in hrefs if not re.match("https?://", h)]
    return mistakes


def _payload_mistakes(payload: dict[str, Any]) -> list[str]:
    mistakes = []
    if not 0 < len(payload.get("summary", "")) <= 1024:
        mistakes.append("payload.summary is missing or too long")
    if not payload.get("source"):
        mistakes.append("payload.source is missing")
    if payload.get("severity") not in SEVERITIES:
        mistakes.append(f"payload.severity is {payload.get('severity')!r}")
    return mistakes


def slack_mistakes(message: Any) -> list[str]:
    """Return what an incoming webhook would refuse."""
    if not isinstance(message, dict):
        return ["invalid_payload"]
    attachments = message.get("attachments", [])
    rules = {
        "no_text": not (message.get("text") or message.get("blocks") or attachments)
        or any(not each.get("text") and not each.get("fallback") for each in attachments),
        "channel_not_found": not str(message.get("channel", "#")).startswith(("#", "@", "C", "D")),
        "too_many_attachments": len(attachments) > 100,
        "too_many_actions": any(len(each.get("actions") or []) > 5 for each in attachments),
    }
    return [mistake for mistake, made in rules.items() if made][:1]


@dataclass(slots=True)
class Receivers:
    """All of them on one port; what each took, in order, and what it refused.

    Attributes:
        pages: what PagerDuty took.
        lines: what Slack took.
        history: what the history was told.
        keys: under which keys it was paged, as the history was told.
        pings: how often the dead man's switch was pressed.
        refused: everything that was refused, with the reason.
        failing: the answers that PagerDuty gives first, one a request.

    """

    pages: list[dict[str, Any]] = field(default_factory=list)
    lines: list[dict[str, Any]] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    keys: list[dict[str, Any]] = field(default_factory=list)
    pings: list[dict[str, Any]] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    failing: list[int] = field(default_factory=list)
    _runner: web.AppRunner | None = None

    async def start(self) -> str:
        """Listen; return the address."""
        app = web.Application()
        app.router.add_post("/v2/enqueue", self._enqueue)
        app.router.add_post("/services/{rest:.*}", self._slack)
        app.router.add_post("/history/alerts", self._taker(self.history))
        app.router.add_post("/history/pages", self._taker(self.keys))
        app.router.add_post("/ping", self._taker(self.pings))
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def until(self, condition: Callable[[], object], seconds: float = 30) -> None:
        """Wait until something has arrived."""
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)

    def _refuse(self, status: int, reason: str) -> web.Response:
        self.refused.append(reason)
        return web.Response(status=status, text=reason)

    async def _enqueue(self, request: web.Request) -> web.Response:
        event = orjson.loads(await request.read())
        if self.failing:
            return web.Response(status=self.failing.pop(0), text="later")
        if mistakes := pagerduty_mistakes(event):
            return self._refuse(400, "; ".join(mistakes))
        if event["routing_key"] != ROUTING_KEY:
            return self._refuse(400, "unknown routing_key")
        self.pages.append(event)
        answer = {
            "status": "success",
            "message": "Event processed",
            "dedup_key": event["dedup_key"],
        }
        return web.json_response(answer, status=202)

    async def _slack(self, request: web.Request) -> web.Response:
        if request.path != SLACK_PATH:
            return self._refuse(404, "no_service")
        message = orjson.loads(await request.read())
        if mistakes := slack_mistakes(message):
            return self._refuse(400, mistakes[0])
        self.lines.append(message)
        return web.Response(text="ok")

    def _taker(self, taken: list[dict[str, Any]]) -> Callable[[web.Request], Any]:
        async def take(request: web.Request) -> web.Response:
            if request.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._refuse(401, f"{request.path} without its token")
            taken.append(orjson.loads(await request.read()))
            return web.Response(text="ok")

        return take
