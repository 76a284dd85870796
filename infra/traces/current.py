"""The span that is under way, for whoever logs meanwhile. Pure but for that memory.

Lines are few and records are many, so it is not set for every record that is traced, but where
there is something to say of one.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from infra.traces.kafka import Headed, process_context
from infra.traces.span import Context, parse

_current: ContextVar[Context | None] = ContextVar("span", default=None)


def current() -> Context | None:
    """Return the span that is under way here; None where nothing is traced."""
    return _current.get()


@contextmanager
def within(span: Context | None) -> Iterator[None]:
    """Say of every line in the block that it belongs to a span."""
    before = _current.set(span)
    try:
        yield
    finally:
        _current.reset(before)


def taking(record: Headed, stage: str) -> AbstractContextManager[None]:
    """Say of every line in the block that it belongs to a stage's taking a record, if traced."""
    parent = parse(record.headers)
    return within(process_context(record, parent, stage) if parent else None)
