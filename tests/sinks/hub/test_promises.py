"""The service levels over HTTP, by what a Prometheus answers."""

import aiohttp

from infra.slo.levels import LEVELS
from sinks.hub.levels import QUERIES
from sinks.hub.promises import Promises
from tests.sinks.hub.client import serving
from tests.sinks.hub.promised import knowing


async def test_budgets_are_told_and_prometheus_is_asked_once() -> None:
    """A budget of time in hours too, one overspent, and null where nothing was measured."""
    asked: list[str] = []
    async with (
        knowing(asked) as url,
        serving(promises=Promises(url)) as hub,
        aiohttp.ClientSession() as http,
    ):
        for _ in range(2):
            async with http.get(f"{hub.url}/api/slo") as response:
                assert response.status == 200
                told = await response.json()
    assert sorted(asked) == sorted(QUERIES.values())
    first, second, third = told["budgets"][:3]
    assert [each["id"] for each in told["budgets"]] == [level.id for level in LEVELS]
    assert (first["target"], first["attained"], first["leftPercent"]) == (99.5, 99.9, 80.0)
    assert (first["leftHours"], first["stage"]) == (2.88, "normal")
    assert (second["attained"], second["stage"]) == (None, "incident and postmortem")
    assert (third["leftPercent"], third["leftHours"], third["stage"]) == (None, None, None)
    assert all(each["met"] is None for each in told["bounds"])


async def test_all_is_asked_at_once() -> None:
    """So that the answer takes as long as the slowest of them, not as long as all."""
    async with knowing([], together=len(QUERIES)) as url:
        assert (await Promises(url).levels()).budgets


async def test_what_is_not_known_is_said() -> None:
    """Where there is no Prometheus, or it does not answer: no password is told."""
    for url, sentence in (
        (None, "there is no Prometheus to ask: see PROMETHEUS_URL"),
        ("http://u:hush@127.0.0.1:1", "Prometheus at http://127.0.0.1:1 does not answer"),
    ):
        async with serving(promises=Promises(url)) as hub, aiohttp.ClientSession() as http:
            for _ in range(2):
                async with http.get(f"{hub.url}/api/slo") as response:
                    assert response.status == 503
                    assert response.content_type == "application/problem+json"
                    detail = (await response.json())["detail"]
                    assert detail.startswith(sentence)
                    assert "hush" not in detail
