"""The official client of SignalR, in Node."""

import json
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
    wanted = json.loads((OFFICIAL / "package.json").read_text())["dependencies"]
    if not all((OFFICIAL / "node_modules" / name).is_dir() for name in wanted):
        command = [npm, "ci", "--silent", "--ignore-scripts"]
        done = subprocess.run(
            command, cwd=OFFICIAL, capture_output=True, text=True, check=False, timeout=120
        )
        if done.returncode:
            pytest.skip(f"the official SignalR client could not be installed: {done.stderr[-300:]}")
    return (node, str(OFFICIAL / "client.js"))
