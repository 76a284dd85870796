"""Whoever cannot see the console, or has no mouse, can use it: by axe-core, and by keyboard."""

from typing import Any, Literal

import pytest
from playwright.async_api import Page, ViewportSize, expect

from infra.clock import now_ns
from sinks.hub.access import Access
from sinks.hub.promises import Promises
from tests.browser import browsing
from tests.sinks.hub.client import Serving, serving
from tests.sinks.hub.conftest import OFFICIAL
from tests.sinks.hub.prices import price, transition
from tests.sinks.hub.promised import knowing
from tests.sinks.hub.tokens import SECRET
from tests.sinks.hub.told import fired, watchdog

pytestmark = pytest.mark.service

AXE = OFFICIAL / "node_modules" / "axe-core" / "axe.min.js"
WIDE: ViewportSize = {"width": 1200, "height": 900}
PHONE: ViewportSize = {"width": 360, "height": 740}
LOOKS: tuple[tuple[Literal["light", "dark"], ViewportSize], ...] = (
    ("light", WIDE),
    ("dark", WIDE),
    ("dark", PHONE),
)
#: What is wrong, and with what, in words.
WRONG = """async () => (await axe.run()).violations.flatMap(
    ({ id, help, nodes }) => nodes.map(({ target }) => `${id}: ${help}: ${target}`))"""
#: The one that has the focus: its name or what it says, and whether it is to be seen with a ring.
FOCUSED = """() => {
    const node = document.activeElement;
    const box = node.getBoundingClientRect();
    const style = getComputedStyle(node);
    const labelled = document.getElementById(node.getAttribute("aria-labelledby"));
    const name = (labelled ?? node.labels?.[0] ?? node).innerText.split("\\n")[0].trim();
    return [name, box.width > 0 && box.top < innerHeight && box.bottom > 0 && box.left >= 0
        && style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0];
}"""
#: Everything that a keyboard gets to, in this order.
STOPS = [
    *("Skip to the prices", "Dark or light", "Service levels", "Filter", "Prices"),
    *("Symbol", "Price, $", "Change, %", "Age", "Volume", "What the router did", "Operate"),
    *("What", "Why", "Administrator's token", "Ask", "API"),
]


def tell(hub: Serving) -> None:
    """Have something in each part: prices that rise and fall, all three words, alerts."""
    known = hub.broadcast.hub
    known.switch(transition("PRIMARY_ACTIVE", 1))
    for alert in (watchdog(now_ns()), fired()):
        known.alarms.take(alert)
    hub.broadcast.put(
        [
            price("AAPL", 190.5, market_time_ns=now_ns(), change_percent=1.25),
            price("MSFT", 410.0, source="yahoo", is_real_time=False, change_percent=-0.5),
        ]
    )


async def opened(page: Page, url: str) -> None:
    """Open the console, and wait until each part shows something."""
    await page.goto(url)
    await expect(page.locator("#prices tbody tr")).to_have_count(2)
    await expect(page.locator("#alerts-said")).to_have_text("1 fires: Mute")
    await expect(page.locator("#levels-said")).to_contain_text("as of ")
    await expect(page.locator("#health dd")).to_have_count(4)
    await page.evaluate("document.querySelector('details').open = true")


@pytest.mark.usefixtures("official_client")
async def test_nothing_is_in_anybodys_way(chromium: str) -> None:
    """Roles, names, contrast and the rest of axe-core's rules, in both themes, wide and narrow."""
    async with (
        knowing([]) as prometheus,
        serving(Access(secret=SECRET, anonymous=True), promises=Promises(prometheus)) as hub,
        browsing(chromium) as browser,
    ):
        tell(hub)
        found: dict[str, Any] = {}
        for scheme, size in LOOKS:
            page = await browser.new_page(viewport=size, color_scheme=scheme)
            await opened(page, hub.url)
            await page.evaluate(AXE.read_text(encoding="utf-8"))
            found[f"{scheme}, {size['width']}"] = await page.evaluate(WRONG)
            assert await page.evaluate("document.documentElement.scrollWidth") <= size["width"]
            if size == PHONE:
                continue
            await page.evaluate("document.getElementById('sign-in').hidden = false")
            await page.evaluate("document.getElementById('badge').dataset.word = 'DELAYED'")
            found[f"{scheme}, else"] = await page.evaluate(WRONG)
            await page.close()
        assert {how: wrong for how, wrong in found.items() if wrong} == {}


async def test_a_keyboard_gets_everywhere(chromium: str) -> None:
    """In the order of reading, each stop in sight and with a ring, back again, and past it all."""
    async with (
        knowing([]) as prometheus,
        serving(Access(secret=SECRET, anonymous=True), promises=Promises(prometheus)) as hub,
        browsing(chromium) as browser,
    ):
        tell(hub)
        page = await browser.new_page(viewport=WIDE)
        await opened(page, hub.url)
        walked = []
        for _ in STOPS:
            await page.keyboard.press("Tab")
            walked.append(await page.evaluate(FOCUSED))
        assert walked == [[stop, True] for stop in STOPS]
        for stop in [*reversed(STOPS)][1:]:
            await page.keyboard.press("Shift+Tab")
            assert (await page.evaluate(FOCUSED))[0] == stop
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        assert (await page.evaluate(FOCUSED))[0] == "Symbol"
