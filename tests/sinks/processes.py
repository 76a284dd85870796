"""A sink as a process of its own, for the length of a test."""

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping

import aiohttp

READY_S = 30


@contextlib.asynccontextmanager
async def process_of(
    module: str, env: Mapping[str, str], *, stdout: int = asyncio.subprocess.DEVNULL
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A sink, by its module, with these settings; killed where it has not ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module),
        env={**os.environ, **env},
        stdout=stdout,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_ready(metrics_port: int) -> None:
    """Wait until the sink whose metrics are at a port is ready."""
    async with aiohttp.ClientSession() as http, asyncio.timeout(READY_S):
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with http.get(f"http://127.0.0.1:{metrics_port}/ready") as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
