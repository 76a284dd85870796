"""The official client of SignalR, in Node, and a browser."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

OFFICIAL = Path(__file__).parent / "official"


@pytest.fixture(scope="session")
def official_client() -> tuple[str, ...]:
    """The command that runs it; it is installed once, as its lock file says."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        pytest.skip("the official SignalR client needs node and npm, which are not on PATH")
    if not (OFFICIAL / "node_modules" / "@microsoft" / "signalr").is_dir():
        command = [npm, "ci", "--silent", "--ignore-scripts"]
        done = subprocess.run(
            command, cwd=OFFICIAL, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            pytest.skip(f"the official SignalR client could not be installed: {done.stderr[-300:]}")
    return (node, str(OFFICIAL / "client.js"))


@pytest.fixture(scope="session")
def chromium() -> str:
    """A browser; where there is none, Debian's is installed."""
    found = shutil.which("chromium")
    if found:
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        pytest.skip("the console is tried in Chromium, which is not on PATH")
    install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", "chromium"]
    for command in (install, ["apt-get", "update", "-q"], install):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)
        if not done.returncode and (found := shutil.which("chromium")):
            return found
    pytest.skip(f"Chromium could not be installed: {done.stderr[-300:]}")
