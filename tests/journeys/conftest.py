"""Stacks for the journeys: each test has its own, on ports of its own."""

import contextlib
import itertools
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from infra.stack.plan import PORTS
from tests.journeys.running import Stack

NewStack = Callable[..., AbstractAsyncContextManager[Stack]]


def free_offset() -> int:
    """Return a port offset at which all ports of a stack are free."""
    for offset in itertools.count(2_000, 100):
        ports = [number + offset for ports in PORTS.values() for number, _ in ports]
        with contextlib.ExitStack() as probes, contextlib.suppress(OSError):
            for port in ports:
                probes.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return offset
    raise AssertionError


@pytest.fixture
def new_stack(tmp_path: Path) -> NewStack:
    """A function that runs a stack for the length of a `with` block, and sees it end in order."""

    @contextlib.asynccontextmanager
    async def run(*options: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Stack]:
        stack = Stack(tmp_path / "stack" / "data", free_offset(), env or {}, *options)
        try:
            await stack.start()
            yield stack
        finally:
            await stack.stop()

    return run
