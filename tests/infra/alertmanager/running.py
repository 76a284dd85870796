"""A real Alertmanager, started by a test."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from infra.prometheus.rules import files
from infra.stack.toolchain import Monitoring


class Alertmanager:
    """Speaks to it as Prometheus does."""

    def __init__(self, url: str, http: aiohttp.ClientSession) -> None:
        self.url = url
        self._http = http
        groups = [group for content in files().values() for group in content["groups"]]
        self._rules = [rule for group in groups for rule in group["rules"] if "alert" in rule]

    async def tell(
        self,
        name: str,
        labels: Mapping[str, str] | None = None,
        *,
        over: bool = False,
        severity: str | None = None,
        began_s: float = 60,
    ) -> None:
        """Tell it that an alert of ours fires, or is over, with the labels of its rule.

        `began_s` is how long ago it began.
        """
        found = (rule for rule in self._rules if rule["alert"] == name)
        rule = next(
            (r for r in found if severity is None or r["labels"]["severity"] == severity),
            {"labels": {"severity": severity or "none"}, "annotations": {}},
        )
        now = datetime.now(UTC)
        alert: dict[str, Any] = {
            "labels": {"alertname": name, **rule["labels"], **(labels or {})},
            # Prometheus sends them with their templates filled in
            "annotations": {key: text.split("{{")[0] for key, text in rule["annotations"].items()},
            "startsAt": (now - timedelta(seconds=began_s)).isoformat(),
            "endsAt": (now if over else now + timedelta(minutes=5)).isoformat(),
            "generatorURL": "http://prometheus.example/graph",
        }
        async with self._http.post(f"{self.url}/api/v2/alerts", json=[alert]) as answer:
            assert answer.status == 200, await answer.text()

    async def muted(self) -> set[str]:
        """Return the names of the alerts that are inhibited."""
        async with self._http.get(f"{self.url}/api/v2/alerts") as answer:
            alerts = await answer.json()
        return {a["labels"]["alertname"] for a in alerts if a["status"]["inhibitedBy"]}


@contextlib.asynccontextmanager
async def alertmanager(
    monitoring: Monitoring, directory: Path, port: int, config: Mapping[str, Any]
) -> AsyncIterator[Alertmanager]:
    """Run an Alertmanager with a configuration."""
    file = directory / "alertmanager.json"
    file.write_text(json.dumps(config), encoding="utf-8")
    with (directory / "alertmanager.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(monitoring.alertmanager),
            f"--config.file={file}",
            f"--storage.path={directory / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
            cwd=monitoring.alertmanager_home,
            stdout=log,
            stderr=log,
        )
    try:
        async with aiohttp.ClientSession(trust_env=False) as http:
            one = Alertmanager(f"http://127.0.0.1:{port}", http)
            async with asyncio.timeout(30):
                while not await _ready(http, one.url):
                    assert process.returncode is None, (directory / "alertmanager.log").read_text()
                    await asyncio.sleep(0.02)
            yield one
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 10)


async def _ready(http: aiohttp.ClientSession, url: str) -> bool:
    with contextlib.suppress(aiohttp.ClientConnectorError):
        async with http.get(f"{url}/-/ready") as answer:
            return answer.status == 200
    return False
