"""The dashboards, and the hub's console, in a real browser before a running stack.

    python -m tests.journeys.screens

tells the story on a stack of its own, and puts the pictures where the README shows them.
"""

import asyncio
import contextlib
import re
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import aiohttp
from aiohttp import web
from playwright.async_api import Browser, Error, ViewportSize, expect

from infra.grafana.ask import Window
from infra.grafana.preview import HOST, Preview
from infra.grafana.render import BOARDS
from infra.stack.toolchain import find_monitoring, tools_directory
from tests import browser
from tests.journeys import story
from tests.journeys.panels import LIMIT, of
from tests.journeys.running import Stack, a_stack

PICTURES = Path(__file__).parent.parent.parent / "docs" / "pictures"
LARGEST = 150_000
SIZE: ViewportSize = {"width": 1200, "height": 800}
#: Pictures are for a page that is narrower than that.
SCALE = 0.55
#: The time that each board is of.
SHORT = {board.name: "now-15m" for board in BOARDS}
#: With the beginning of the day, which is where a day's figures are.
PICTURED = {**SHORT, "reliability": "now-24h", "business": "now-7d"}
#: What fires is over soon, and a memory without a limit has no share of it.
MAY_BE_EMPTY = frozenset({"Alerts that fire", LIMIT})
#: On the console, before its picture is taken.
SEEN: Mapping[str, re.Pattern[str]] = {
    "#badge": re.compile("^LIVE$"),
    "#latency": re.compile(r"median\s*\d"),
    "#rates": re.compile(r"clients\s*\d+ \+ [1-9]"),
    "#alerts-said": re.compile("None fires|fires?: "),
    "#levels-said": re.compile("as of "),
    "#levels tbody tr:first-child": re.compile("%"),
    "#prices tbody tr:first-child": re.compile("LIVE"),
    "#history tbody tr:first-child": re.compile("PRIMARY ACTIVE"),
}
#: What comes once a quarter of a minute may take so long, in milliseconds.
SEEN_MS = 60_000


class Look(NamedTuple):
    """How somebody looks at the console."""

    size: ViewportSize
    scheme: Literal["light", "dark"]
    scale: float


#: By the names of their pictures.
LOOKS: Mapping[str, Look] = {
    "console": Look({"width": 1100, "height": 1300}, "light", 0.7),
    "console-dark": Look({"width": 1100, "height": 1300}, "dark", 0.7),
    "console-phone": Look({"width": 390, "height": 844}, "light", 1),
}


@contextlib.asynccontextmanager
async def previewing(stack: Stack) -> AsyncIterator[str]:
    """Yield where the preview of a stack is."""
    async with aiohttp.ClientSession() as http:
        runner = web.AppRunner(Preview(of(stack, http)).app(), access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, 0).start()
            yield f"http://{HOST}:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


async def look(chromium: str, stack: Stack, into: Path, views: Mapping[str, str] = SHORT) -> None:
    """See every panel of every board show something, and take its picture."""
    async with previewing(stack) as where, browser.browsing(chromium) as opened:
        for board in BOARDS:
            states = await _show(
                opened, f"{where}/{board.name}?from={views[board.name]}", into / board.name
            )
            assert states.keys() == {panel.title for panel in board.panels}
            assert "error" not in states.values(), states
            empty = {title for title, state in states.items() if state != "data"}
            assert empty <= MAY_BE_EMPTY, states


async def _show(opened: Browser, url: str, picture: Path) -> dict[str, str]:
    """Return the state of each panel of a page, once all have one."""
    page = await opened.new_page(viewport=SIZE, device_scale_factor=SCALE)
    wrong: list[Error] = []
    page.on("pageerror", lambda error: wrong.append(error))  # noqa: PLW0108  # a handler gets attributes
    await page.goto(url)
    await page.wait_for_selector("#grid[data-shown]", timeout=60_000, state="attached")
    states: dict[str, str] = await page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.panel')]"
        ".map(each => [each.dataset.panel, each.dataset.state]))"
    )
    # what a panel that has data shows is there to be seen: words, a line, cells, rows
    hollow = await page.evaluate(
        "[...document.querySelectorAll('.panel[data-state=data]')].filter(each =>"
        " ![...each.querySelectorAll('.stat b, polyline, circle, rect, td')].length)"
        ".map(each => each.dataset.panel)"
    )
    assert (wrong, hollow) == ([], [])
    await page.screenshot(path=picture.with_suffix(".png"), full_page=True)
    await page.close()
    return states


async def look_at_console(chromium: str, stack: Stack, into: Path) -> None:
    """See the console know its prices, its alerts and its service levels, and take its pictures."""
    async with browser.browsing(chromium) as opened:
        for name, how in LOOKS.items():
            page = await opened.new_page(
                viewport=how.size, color_scheme=how.scheme, device_scale_factor=how.scale
            )
            wrong: list[Error] = []
            page.on("pageerror", lambda error: wrong.append(error))  # noqa: B023, PLW0108  # a handler gets attributes
            await page.goto(f"http://{HOST}:{stack.port('hub')}/")
            for where, said in SEEN.items():
                await expect(page.locator(where)).to_have_text(said, timeout=SEEN_MS)
            assert wrong == []
            await page.screenshot(path=(into / name).with_suffix(".png"))
            await page.close()


async def main() -> None:
    """Tell the story, and keep the pictures."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        data = Path(folder) / "stack" / "data"
        story.before(find_monitoring(tools_directory(), print), data)
        async with a_stack(Path(folder), *story.OPTIONS) as stack, story.clients(stack):
            await story.told(stack)
            await asyncio.sleep(Window.of(PICTURED["reliability"], time.time()).step)
            await look(browser.find(), stack, PICTURES, PICTURED)
            await look_at_console(browser.find(), stack, PICTURES)
    names = [*(board.name for board in BOARDS), *LOOKS]
    sizes = {name: (PICTURES / f"{name}.png").stat().st_size for name in names}
    assert max(sizes.values()) < LARGEST, sizes


if __name__ == "__main__":
    asyncio.run(main())
