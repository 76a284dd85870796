"""A tracer that keeps what it is told, for tests of what a stage tells."""

import contextlib
from collections.abc import Iterator, Sequence

from infra.telemetry import Meters
from infra.traces.settings import TraceSettings
from infra.traces.span import Span
from infra.traces.tracer import Tracer


class Heard(Tracer):
    """Keeps spans in `spans`."""

    def __init__(self, ratio: float, per_second: int) -> None:
        settings = TraceSettings.model_validate(
            {"otel_traces_sampler_arg": ratio, "traces_per_second": per_second}
        )
        super().__init__(_nobody, Meters(), settings)
        self.spans: list[Span] = []

    def tell(self, *spans: Span) -> None:
        """Keep spans."""
        self.spans += spans


def _nobody(_: Sequence[Span]) -> bool:
    return True


@contextlib.contextmanager
def heard(ratio: float = 1.0, per_second: int = 100_000) -> Iterator[Heard]:
    """A tracer, for the length of a test."""
    tracer = Heard(ratio, per_second)
    try:
        yield tracer
    finally:
        tracer.close()
