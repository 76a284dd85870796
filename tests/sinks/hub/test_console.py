"""The console in a real browser, on the hub's process and real Kafka."""

import asyncio
import re
from collections.abc import Callable

import aiohttp
import pytest
from playwright.async_api import Page, expect

from infra import topics as declared
from infra.clock import NS, now_ns
from infra.kafka.broker import Broker
from processors.events import RoutedPrice
from sinks.hub.access import Access
from sinks.hub.page import HERE, PARTS
from sinks.hub.promises import Promises
from tests.browser import browsing
from tests.sinks.hub.client import serving
from tests.sinks.hub.conftest import OFFICIAL
from tests.sinks.hub.prices import SESSION, price, transition
from tests.sinks.hub.promised import knowing
from tests.sinks.hub.running import running, write
from tests.sinks.hub.tokens import SECRET, a_token, an_admin
from tests.sinks.hub.told import PAGED, fired, over, taken, watchdog

#: Two alerts, the second of which began later.
FIRING = fired(name="AlpacaNoMessages"), fired("b", 2, "AlpacaDisconnected")


def fresh(symbol: str, value: float, epoch: int, *, live: bool = True) -> RoutedPrice:
    """A price of now."""
    now = now_ns() if live else now_ns() - 600 * NS
    return price(
        symbol,
        value,
        epoch=epoch,
        source="alpaca" if live else "yahoo",
        is_real_time=live,
        market_time_ns=now,
        received_at_ns=now,
        change_percent=1.25,
    )


async def says(page: Page, symbol: str, text: str, within_s: float = 10) -> None:
    """Wait until a symbol's row says something."""
    row = page.locator(f'tr[data-symbol="{symbol}"]')
    await expect(row).to_contain_text(text, timeout=within_s * 1000)


async def alerts_are_seen(page: Page, kafka: Broker, topics: str) -> None:
    """See what fires, who took it on, and that silence is no news where nobody tells of alerts."""
    await write(kafka, topics, declared.ALERTS, *FIRING)
    alerts = page.get_by_role("list", name="Alerts").get_by_role("listitem")
    await expect(alerts).to_have_count(2)
    await expect(alerts.first).to_contain_text("RUNBOOK-002.md#alpacadisconnected")
    await write(kafka, topics, declared.ALERTS, over("b", 2))
    await expect(alerts).to_have_text([re.compile("high: AlpacaNoMessages")])
    said = page.locator("#alerts-said")
    unknown = "Not known: nobody tells this hub of alerts."
    await expect(said).to_have_text(f"{unknown} Fired last: AlpacaNoMessages")
    await write(kafka, topics, declared.ALERTS, watchdog(now_ns()))
    await write(kafka, topics, declared.ALERTS, PAGED, taken(3))
    await expect(alerts).to_contain_text("taken on by ann")
    await expect(said).to_have_text("1 fires: AlpacaNoMessages")
    await write(kafka, topics, declared.ALERTS, over())
    await expect(alerts).to_have_count(0)
    await expect(said).to_have_text("None fires.")
    await write(kafka, topics, declared.ALERTS, over("w"))
    await expect(said).to_have_text(unknown)


@pytest.mark.service
async def test_a_failover_is_seen(
    chromium: str, kafka: Broker, topics: str, free_port: Callable[[], int]
) -> None:
    """LIVE, DELAYED within two seconds of the switch, LIVE again, and back after a restart."""
    ports = free_port(), free_port()
    await write(kafka, topics, declared.SESSIONS, SESSION)
    await write(kafka, topics, declared.TRANSITIONS, transition("PRIMARY_ACTIVE", 1))
    await write(kafka, topics, declared.ROUTED, fresh("AAPL", 190.5, 1), fresh("MSFT", 410, 1))
    async with browsing(chromium) as browser:
        page = await browser.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        async with running(kafka, topics, ports) as first:
            await page.goto(f"http://127.0.0.1:{ports[0]}/")
            await says(page, "AAPL", "LIVE")
            await says(page, "AAPL", "190.50")
            badge = page.locator("#badge")
            await expect(badge).to_have_text("LIVE")

            await alerts_are_seen(page, kafka, topics)

            await write(kafka, topics, declared.TRANSITIONS, transition("FALLBACK_ACTIVE", 2))
            await says(page, "AAPL", "DELAYED", within_s=2)
            await expect(badge).to_have_text("DELAYED")
            await expect(page.locator("#announce")).to_contain_text("fallback active")
            await write(kafka, topics, declared.ROUTED, fresh("AAPL", 191, 2, live=False))
            await says(page, "AAPL", "Yahoo Finance")

            await write(kafka, topics, declared.TRANSITIONS, transition("PRIMARY_ACTIVE", 3))
            await write(kafka, topics, declared.ROUTED, fresh("AAPL", 192, 3))
            await says(page, "AAPL", "192.00", within_s=2)
            await says(page, "AAPL", "LIVE", within_s=2)
            await expect(page.locator("#history tbody tr")).to_have_count(3)

            first.terminate()
            assert await asyncio.wait_for(first.wait(), 20) == 0
        await expect(badge).to_have_text("NOT CONNECTED")
        await says(page, "AAPL", "STALE")
        await write(kafka, topics, declared.ROUTED, fresh("AAPL", 193, 3))
        async with running(kafka, topics, ports):
            await says(page, "AAPL", "193.00", within_s=20)
            await says(page, "AAPL", "LIVE")
            await expect(badge).to_have_text("LIVE")
        assert wrong == []


@pytest.mark.service
async def test_what_is_done_by_keyboard_on_a_phone(chromium: str) -> None:
    """Nothing sticks out of a narrow screen; sorting, filter, theme and a command need no mouse."""
    access = Access(secret=SECRET, anonymous=True)
    async with (
        knowing([]) as url,
        serving(access, promises=Promises(url)) as hub,
        browsing(chromium) as browser,
    ):
        hub.broadcast.hub.switch(transition("PRIMARY_ACTIVE", 1))
        for alert in (watchdog(now_ns()), fired()):
            hub.broadcast.hub.alarms.take(alert)
        hub.broadcast.put([fresh("AAPL", 190.5, 1), fresh("MSFT", 410, 1)])
        page = await browser.new_page(viewport={"width": 360, "height": 740})
        await page.goto(hub.url)
        await says(page, "MSFT", "LIVE")
        level = page.get_by_role("row").filter(has_text="A1 ")
        await expect(level).to_contain_text("80.00 % (2.88 h)")
        await expect(level).to_contain_text("normal")
        await expect(page.locator("#alerts-said")).to_have_text("1 fires: Mute")
        width = await page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360
        shown = page.get_by_role("group", name="Prices")
        assert await shown.evaluate("each => each.scrollWidth - each.clientWidth") == 0
        rows = page.locator("#prices tbody tr:visible th")
        await expect(rows).to_have_text(["AAPL", "MSFT"])
        button = page.get_by_role("button", name="Price, $")
        await button.focus()
        await page.keyboard.press("Enter")
        await expect(rows).to_have_text(["MSFT", "AAPL"])
        await expect(page.locator("th[aria-sort=descending]")).to_contain_text("Price")
        await page.get_by_label("Filter").fill("aa")
        await expect(rows).to_have_text(["AAPL"])
        theme = page.locator("html")
        await page.get_by_role("button", name="Dark or light").press("Enter")
        await expect(theme).to_have_attribute("data-theme", "dark")
        ground = "getComputedStyle(document.body).backgroundColor"
        dark = await page.evaluate(ground)
        await page.get_by_role("button", name="Dark or light").press("Enter")
        assert await page.evaluate(ground) != dark
        await page.get_by_text("Operate").press("Enter")
        await page.get_by_label("Why").fill("a test")
        token = an_admin()["Authorization"].removeprefix("Bearer ")
        await page.get_by_label("Administrator's token").fill(token)
        await page.get_by_role("button", name="Ask").press("Enter")
        await expect(page.locator("#operate-said")).to_have_text("asked router: failover, by ann")
        (command,) = hub.given
        assert (command.who, command.why) == ("ann", "a test")


@pytest.mark.service
async def test_who_needs_a_token_is_asked_for_it(chromium: str) -> None:
    """And told of one that is not taken."""
    async with serving(Access(secret=SECRET)) as hub, browsing(chromium) as browser:
        hub.broadcast.hub.switch(transition("PRIMARY_ACTIVE", 1))
        hub.broadcast.put([fresh("AAPL", 190.5, 1)])
        page = await browser.new_page()
        await page.goto(hub.url)
        form = page.locator("#sign-in")
        await expect(form).to_be_visible()
        for token, said in (("x", "This token is not taken."), (a_token(), "")):
            await form.get_by_label("Token").fill(token)
            await form.get_by_role("button").click()
            if said:
                await expect(page.locator("#sign-in-said")).to_have_text(said)
        await says(page, "AAPL", "LIVE")
        await expect(form).to_be_hidden()
        told = page.locator("#levels-said")
        await expect(told).to_contain_text("Not known: there is no Prometheus")


@pytest.mark.service
def test_the_client_is_the_official_one(official_client: tuple[str, ...]) -> None:
    """But for the line that names a source map."""
    assert official_client
    original = OFFICIAL / "node_modules/@microsoft/signalr/dist/browser/signalr.min.js"
    lines = original.read_text().splitlines()
    assert lines.pop().startswith("//# sourceMappingURL")
    assert (HERE / "vendor" / "signalr.min.js").read_text().splitlines() == lines
    version = re.search(r'"@microsoft/signalr": "(.+?)"', (OFFICIAL / "package.json").read_text())
    assert version
    assert version[1] in (HERE / "vendor" / "README.md").read_text()


async def test_the_page_brings_all_that_it_names() -> None:
    """Every part is served as what it is, to nobody's frame, and nothing is from elsewhere."""
    async with serving() as hub, aiohttp.ClientSession() as http:
        async with http.get(f"{hub.url}/") as response:
            text = await response.text()
            assert response.content_type == "text/html"
            policy = response.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy
            assert "unsafe" not in policy
        named = set(re.findall(r'(?:src|href)="/console/([^"]+)"', text))
        assert named == PARTS.keys()
        assert "//" not in re.sub(r"<!.*?>", "", text)
        for name in named:
            async with http.get(f"{hub.url}/console/{name}") as response:
                assert (response.status, response.content_type) == (200, PARTS[name][1])
        async with http.get(f"{hub.url}/console/..%2fsettings.py") as response:
            assert response.status == 404
