"""An hour of incidents in two minutes, on a running stack, so that every panel has to show them.

What cannot be hurried was there before: an hour of Prometheus, and a week of the history. Who tells
the story says what must be seen of it; `panels.py` looks.
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import jwt

from infra.drill_scene import Scene
from infra.drills import Fault, named
from infra.stack.plan import HOST, HUB_SECRET_FILE
from infra.stack.preflight import claim
from infra.stack.toolchain import Monitoring
from tests.journeys.running import Stack
from tests.journeys.watching import present

#: Of the stack: enough ticks to see something.
OPTIONS = ("--rate", "100")
#: What Prometheus knows of the hour before: Alpaca's messages a second.
BEFORE_RATE = 10
#: Of a hundred prices of each day of the week before, so many were Alpaca's.
BEFORE_SHARES = (100, 99, 98, 75, 97, 100)
#: Who is connected: the address, and by whose token.
CLIENTS = (
    ("market-data", None),
    ("market-data", "ann"),
    ("market-data", "bob"),
    ("dashboard", None),
)
#: The alerts that an operator drills, one command each, who looks on as a client.
DRILLED = ("Watchdog", "AlpacaRouterStateChange")
#: How many connections there were in all.
CONNECTIONS = len(CLIENTS) + len(DRILLED)
#: Ticks that are wrong, each kind of a stock of its own.
WRONG = (
    ("price-zero", {"symbols": ["AAPL"]}),
    ("negative-size", {"symbols": ["NVDA"]}),
    ("jump", {"symbols": ["TSLA"], "by": 0.4}),
)
#: More than the sources may differ by, less than opens the breaker.
APART = ("jump", {"symbols": ["MSFT"], "by": 0.12})
BROKEN = "TSLA"
#: By the codes that a rule records.
STATES = ("PRIMARY_ACTIVE", "FALLBACK_ACTIVE", "BOTH_UNAVAILABLE")
#: Of the failovers, why: an operator's, and that of the refused keys.
REASONS = ["manual", "auth"]
_AUTH = named("C4")[0]
_YAHOO = Fault("yahoo", "server-error")


def before(monitoring: Monitoring, data: Path) -> None:
    """Give the Prometheus of a stack that is not yet started the hour before."""
    now = int(time.time())
    samples = (
        f'type:alpaca_messages_received:rate1m{{type="trade"}} {BEFORE_RATE} {at}\n'
        for at in range(now - 90 * 60, now - 5 * 60, 15)
    )
    claim(data)
    told = data.parent / "before.txt"
    told.write_text("".join(samples) + "# EOF\n")
    into = data / "prometheus"
    into.mkdir()
    command = [str(monitoring.promtool), "tsdb", "create-blocks-from", "openmetrics"]
    done = subprocess.run(
        [*command, str(told), str(into)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


async def week_before(stack: Stack) -> None:
    """Write the days before today into the history: a hundred prices each."""
    values = ", ".join(f"({day}, {share})" for day, share in enumerate(BEFORE_SHARES, 1))
    await stack.rows(
        "INSERT INTO routed_prices (symbol, market_time, received_at, routed_at, price, source,"  # noqa: S608  # ours
        " is_real_time, change_percent, raw_topic, raw_partition, raw_offset)"
        " SELECT 'AAPL', at, at, at, 200, if(n < share, 'alpaca', 'yahoo'), n < share, 0.5,"
        " 'ticks.raw.alpaca', 99, day * 100 + n"
        " FROM (SELECT d.1 AS day, d.2 AS share, n,"
        " now() - toIntervalDay(day) + toIntervalSecond(n) AS at"
        f" FROM (SELECT arrayJoin([{values}]) AS d, arrayJoin(range(100)) AS n))"
    )


async def twinfeed(*arguments: str) -> str:
    """Run `twinfeed` as an operator does, with nothing in its environment; return what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin"},
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    return said.decode()


@contextlib.asynccontextmanager
async def clients(stack: Stack) -> AsyncIterator[None]:
    """Be there, all of us, until the end."""
    secret = (stack.data / HUB_SECRET_FILE).read_text().strip()
    async with contextlib.AsyncExitStack() as all_of_us:
        for hub, user in CLIENTS:
            claims = {"sub": user, "exp": int(time.time()) + 3600}
            token = jwt.encode(claims, secret, "HS256") if user else None
            await all_of_us.enter_async_context(present(stack, hub, token))
        yield


async def told(stack: Stack) -> None:
    """Tell all of it; return when it is well again."""
    await week_before(stack)
    await ticks_go_wrong(stack)
    await an_operator_fails_over(stack)
    await keys_are_refused(stack)
    await both_are_away(stack)
    await ticks_are_right(stack)
    await all_is_well_again(stack)


async def ticks_go_wrong(stack: Stack) -> None:
    """Have ticks rejected, a breaker open, and then the sources disagree; return when they do."""
    for name, parameters in WRONG:
        await fault(stack, "alpaca", name, parameters)

    async def broken() -> bool:
        found = await stack.rows("SELECT symbol FROM symbol_breakers FINAL LIMIT 1")
        return found == [{"symbol": BROKEN}]

    await stack.until(broken, 60)
    await fault(stack, "alpaca", *APART)

    async def apart() -> bool:
        series = 'datasource_router_price_comparisons_total{result="inconsistent"} > 0'
        return bool(await stack.prometheus(series))

    await stack.until(apart, 60)


async def an_operator_fails_over(stack: Stack) -> None:
    """Have a drill of it on the command line, until its alert was told; return when it is over."""
    for alert in DRILLED:
        said = await twinfeed(
            "drill", alert, "--fire-only", "--patience", "6", "--data", str(stack.data)
        )
        assert f"{alert}: fired after" in said
    await routed(stack, "PRIMARY_ACTIVE")


async def keys_are_refused(stack: Stack) -> None:
    """Have Alpaca refuse the keys; return when the alert fires and Yahoo is routed."""
    for act in _AUTH.faults:
        await Scene(stack.data, 1).do(act)

    async def told() -> bool:
        firing = 'ALERTS{alertstate="firing", alertname="AlpacaAuthFailure"}'
        return bool(await stack.prometheus(firing))

    await stack.until(told, 90)
    await routed(stack, "FALLBACK_ACTIVE")


async def both_are_away(stack: Stack) -> None:
    """Have Yahoo fail as well; return when nothing is routed."""
    await Scene(stack.data, 1).do(_YAHOO)
    await routed(stack, "BOTH_UNAVAILABLE")


async def all_is_well_again(stack: Stack) -> None:
    """Take the faults away; return when Alpaca is routed."""
    for act in (_YAHOO, *_AUTH.faults):
        await Scene(stack.data, 1).undo(act)
    for asked in _AUTH.after:
        await Scene(stack.data, 1).do(asked)
    await routed(stack, "PRIMARY_ACTIVE")


async def routed(stack: Stack, state: str) -> None:
    """Wait until this is the router's state, for Prometheus's rules and for the history."""

    async def come() -> bool:
        series = await stack.prometheus(f"datasource_router:state:code == {STATES.index(state)}")
        latest = await stack.rows(
            "SELECT to_state FROM router_transitions FINAL ORDER BY epoch DESC LIMIT 1"
        )
        return bool(series) and latest == [{"to_state": state}]

    await stack.until(come, 120)


async def fault(stack: Stack, vendor: str, name: str, parameters: object) -> None:
    """Switch a fault on."""
    port = (
        stack.port("alpaca-simulator", 1) if vendor == "alpaca" else stack.port("yahoo-simulator")
    )
    url = f"http://{HOST}:{port}/faults/{name}"
    async with aiohttp.ClientSession() as http, http.put(url, json=parameters) as answer:
        assert answer.ok, await answer.text()


async def clear(stack: Stack, vendor: str, name: str) -> None:
    """Switch a fault off."""
    await Scene(stack.data, 1).undo(Fault(vendor, name))


async def ticks_are_right(stack: Stack) -> None:
    """Take the wrong ticks away."""
    for name, _ in WRONG:
        await clear(stack, "alpaca", name)
