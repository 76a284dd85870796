"""Stacks for the journeys: each test has its own, on ports of its own."""

import functools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from tests.journeys.running import Stack, a_stack

NewStack = Callable[..., AbstractAsyncContextManager[Stack]]


@pytest.fixture
def new_stack(tmp_path: Path) -> NewStack:
    """A function that runs a stack for the length of a `with` block, and sees it end in order."""
    return functools.partial(a_stack, tmp_path)
