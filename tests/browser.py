"""A real browser, which tests look at pages with."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, async_playwright, expect

#: No sandbox, because tests run as root in containers; and nothing is looked up on the network.
OPTIONS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def find() -> str:
    """Return where Chromium is; where there is none, Debian's is installed, or the test skipped."""
    found = shutil.which("chromium")
    if found:
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("pages are tried in Chromium, which is not on PATH")
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"]
    for command in (install, ["apt-get", "update", "-q"], install):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
        if not done.returncode and (found := shutil.which("chromium")):
            return found
    pytest.skip(f"Chromium could not be installed: {done.stderr[-300:]}")


#: How long a page may take to say something, where nothing is said of it: pages ask every few
#: seconds, and the machine may be busy.
WITHIN_MS = 20_000


@contextlib.asynccontextmanager
async def browsing(chromium: str) -> AsyncIterator[Browser]:
    """A browser that is closed at the end."""
    expect.set_options(timeout=WITHIN_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*OPTIONS])
        try:
            yield browser
        finally:
            await browser.close()
