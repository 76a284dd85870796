"""A real Prometheus, for the length of a test."""

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from infra.stack.toolchain import Monitoring


@contextlib.asynccontextmanager
async def prometheus(
    monitoring: Monitoring, directory: Path, port: int, config: Mapping[str, Any]
) -> AsyncIterator[str]:
    """Run a Prometheus with a configuration, and yield where it is once it answers."""
    file, log = directory / "prometheus.json", directory / "prometheus.log"
    file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            str(monitoring.prometheus),
            f"--config.file={file}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            stdout=out,
            stderr=out,
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with asyncio.timeout(60), aiohttp.ClientSession(trust_env=False) as http:
            while not await _ready(http, url):
                assert process.returncode is None, log.read_text()
                await asyncio.sleep(0.05)
        yield url
    finally:
        assert process.returncode is None, log.read_text()
        process.terminate()
        await asyncio.wait_for(process.wait(), 30)


async def _ready(http: aiohttp.ClientSession, url: str) -> bool:
    with contextlib.suppress(aiohttp.ClientConnectorError):  # it does not listen yet
        async with http.get(f"{url}/-/ready") as answer:
            return answer.ok
    return False


def remember(monitoring: Monitoring, directory: Path, samples: str) -> None:
    """Give a Prometheus that will run in a directory these samples, as OpenMetrics has them."""
    told = directory / "samples.txt"
    told.write_text(f"{samples}# EOF\n", encoding="utf-8")
    command = [str(monitoring.promtool), "tsdb", "create-blocks-from", "openmetrics"]
    done = subprocess.run(
        [*command, str(told), str(directory / "data")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
