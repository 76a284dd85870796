"""From a fault to whoever is told of it, with nothing divided: the drills of the commit's tests.

    python -m tests.journeys.delivery

A stack of its own, whose Alertmanager tells receivers that speak what PagerDuty, Slack, the history
and the dead man's switch speak. The clock runs from just before a fault is switched on (of an alert
that a fault's end makes fire: taken away) until the receiver has been told. Prints a table; takes
some ten minutes.
"""

import asyncio
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.alertmanager import config
from infra.drill_scene import Scene
from infra.drills import TO_A_PERSON_S, Drill, named
from tests.infra.alertmanager.receivers import Receivers, write_secrets
from tests.journeys.running import Stack, a_stack

#: In an order in which none mutes another that comes soon after.
ORDER = ("X1", "H3", "I2", "H1", "C1", "C4", "I1")
#: Measured before with 15 s between scrapes, from the fault to Slack.
BEFORE_S = {"C1": 81, "H1": 106, "H3": 151}
LONG_S = 900.0
LINES = """
| id | alert | fault | told | after | expected | before |
|---|---|---|---|---|---|---|""".strip()


@dataclass(frozen=True, slots=True)
class Ear:
    """A receiver, and how it tells of an alert."""

    name: str
    heard: list[dict[str, Any]]
    tells: Callable[[dict[str, Any], str], bool]


def _ear(of: Drill, told: Receivers) -> Ear:
    if of.alert.severity == "none":
        return Ear("the dead man's switch", told.pings, lambda one, name: name in json.dumps(one))
    if of.alert.severity == "info":
        return Ear("the history", told.history, _fires)
    return Ear("Slack", told.lines, lambda one, name: "FIRING" in str(one) and name in str(one))


def _fires(notice: dict[str, Any], name: str) -> bool:
    return (notice["status"], notice["groupLabels"]["alertname"]) == ("firing", name)


async def _tell(stack: Stack, told: Receivers, secrets: Path) -> None:
    """Have the stack's Alertmanager tell them."""
    url = await told.start()
    write_secrets(secrets, url)
    channels = config.Channels(
        secrets=secrets,
        pagerduty_url=f"{url}/v2/enqueue",
        slack=True,
        history_url=f"{url}/history",
        history_token=True,
        watchdog_url=f"{url}/ping",
        links="https://ops.example/",
    )
    (stack.data / "alertmanager.yml").write_text(json.dumps(config.render(channels)))
    await stack.end("alertmanager")


async def _until_calm(stack: Stack, name: str) -> None:
    """Wait until Alpaca is connected and routed, and an alert's condition does not hold."""

    async def calm() -> bool:
        on = await stack.prometheus(f'ALERTS{{alertname="{name}"}}')
        well = "alpaca:connected:bool == 1 and on() datasource_router:state:code == 0"
        return not on and bool(await stack.prometheus(well))

    await stack.until(calm, LONG_S)


async def _play(stack: Stack, told: Receivers, of: Drill) -> float:
    ear, scene = _ear(of, told), Scene(stack.data, 1)
    if of.faults:
        await _until_calm(stack, of.alert.name)
    heard = len(ear.heard)
    began = time.monotonic()

    async def until_told() -> float:
        await told.until(
            lambda: any(ear.tells(one, of.alert.name) for one in ear.heard[heard:]), 900
        )
        return time.monotonic() - began

    async with scene.struck(of):
        if not of.away_s:
            return await until_told()
        await asyncio.sleep(of.away_s)
        began = time.monotonic()
    return await until_told()


def _row(of: Drill, told: Receivers, after_s: float) -> str:
    expected = of.expected_s() + TO_A_PERSON_S.get(of.alert.severity, 0)
    before = BEFORE_S.get(of.alert.id, "-")
    cells = (of.alert.id, of.alert.name, of.what, _ear(of, told).name)
    return f"| {' | '.join(cells)} | {after_s:.0f} | {expected:.0f} | {before} |"


async def main() -> None:
    """Play them, and print the table."""
    told = Receivers()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        secrets = Path(folder) / "secrets"
        secrets.mkdir()
        try:
            async with a_stack(Path(folder), "--rate", "100") as stack:
                await _tell(stack, told, secrets)
                await _until_calm(stack, "none")
                print(LINES, flush=True)  # noqa: T201
                for of in (each for name in ORDER for each in named(name)):
                    after_s = await _play(stack, told, of)
                    print(_row(of, told, after_s), flush=True)  # noqa: T201
        finally:
            await told.stop()


if __name__ == "__main__":
    asyncio.run(main())
