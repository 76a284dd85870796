"""Spans leave a process by OTLP, and nobody waits for them."""

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from infra.clock import NS
from infra.telemetry import Meters
from infra.traces.settings import TraceSettings
from infra.traces.span import Context, Span
from infra.traces.tracer import ALWAYS_A_MINUTE, Tracer, open_tracer
from tests.collector import Collector, collecting, collecting_grpc
from tests.infra.test_telemetry import _series

Listening = Callable[[], AbstractAsyncContextManager[Collector]]

SPAN = Span("send ticks", "producer", Context(7, 8), 9, 10, 20, {"a": "b", "n": 1})


def _settings(**more: Any) -> TraceSettings:
    return TraceSettings.model_validate({"otel_bsp_schedule_delay": 10, **more})


def _counts(meters: Meters) -> dict[str, float]:
    return {result: n for result, n in _series(meters, "pipeline_spans_total").items() if n}


@pytest.mark.parametrize(
    ("protocol", "listening"),
    [("http/protobuf", collecting), ("grpc", collecting_grpc)],
    ids=["HTTP", "gRPC"],
)
async def test_a_span_arrives_as_it_was_told(protocol: str, listening: Listening) -> None:
    """With its names, times, parent, error and attributes, and the process that it is of."""
    async with listening() as collector:
        settings = _settings(
            otel_exporter_otlp_protocol=protocol,
            otel_exporter_otlp_endpoint=collector.url,
            otel_exporter_otlp_headers="authorization=Bearer%20t",
            otel_exporter_otlp_compression="gzip",
            otel_resource_attributes="deployment.environment.name=test",
        )
        meters = Meters("router")
        tracer = open_tracer("route", settings, meters)
        assert tracer is not None
        tracer.tell(SPAN, SPAN._replace(parent_id=0, kind="client", error="no"))
        first, second = await collector.until(lambda: collector.spans[:2])
        await collector.until(lambda: _counts(meters) == {"exported": 2})
        tracer.close()
        headers = {name.lower(): value for name, value in collector.headers[0].items()}
        assert headers["authorization"] == "Bearer t"
        if protocol != "grpc":  # which keeps it to itself
            assert headers["content-encoding"] == "gzip"
    assert (first.service, first.name, first.kind) == ("route", "send ticks", 4)
    assert (first.trace, first.span, first.parent) == (f"{7:032x}", f"{8:016x}", f"{9:016x}")
    assert (first.start_ns, first.end_ns, first.error) == (10, 20, "")
    assert first.attributes == {"a": "b", "n": 1}
    assert (second.parent, second.kind, second.error) == ("", 3, "no")
    resource = first.resource
    assert resource["service.namespace"] == "twinfeed"
    assert resource["deployment.environment.name"] == "test"


def test_nothing_is_traced_without_a_collector() -> None:
    """Then there is no thread, no queue and no SDK."""
    assert open_tracer("route", _settings(), Meters("router")) is None


async def test_a_service_may_have_another_name() -> None:
    """OTEL_SERVICE_NAME comes before the stage's."""
    async with collecting() as collector:
        settings = _settings(
            otel_exporter_otlp_endpoint=collector.url, otel_service_name="market-data"
        )
        tracer = open_tracer("route", settings, Meters("router"))
        assert tracer is not None
        tracer.tell(SPAN)
        (span,) = await collector.until(lambda: collector.spans)
        tracer.close()
    assert span.service == "market-data"


@pytest.mark.parametrize(
    ("protocol", "listening"),
    [("http/protobuf", collecting), ("grpc", collecting_grpc)],
    ids=["HTTP", "gRPC"],
)
async def test_what_the_collector_refuses_is_counted(protocol: str, listening: Listening) -> None:
    """A collector that answers with an error has cost its spans and nothing else."""
    async with listening() as collector:
        collector.status = 400
        meters = Meters("router")
        settings = _settings(
            otel_exporter_otlp_endpoint=collector.url, otel_exporter_otlp_traces_protocol=protocol
        )
        tracer = open_tracer("route", settings, meters)
        assert tracer is not None
        tracer.tell(SPAN)
        await collector.until(lambda: _counts(meters))
        tracer.close()
    assert _counts(meters) == {"failed": 1}


class Stuck:
    """A collector that does not answer."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.answer = threading.Event()

    def __call__(self, _: Sequence[Span]) -> bool:
        """Take a batch, and go on once it is answered."""
        self.asked.set()
        return self.answer.wait(30)


def test_who_tells_never_waits() -> None:
    """Behind a collector that is stuck the queue fills, and the rest is dropped and counted."""
    stuck, meters = Stuck(), Meters("router")
    settings = _settings(otel_bsp_max_queue_size=5, otel_bsp_max_export_batch_size=1)
    tracer = Tracer(stuck, meters, settings, goodbye_s=0.05)
    tracer.tell(SPAN)
    assert stuck.asked.wait(30)
    tracer.tell(*[SPAN] * 1_000)
    assert _counts(meters) == {"dropped": 995}
    tracer.close()
    assert _counts(meters) == {"dropped": 1_000}
    stuck.answer.set()


def test_what_waits_at_the_end_is_sent() -> None:
    """A process that ends in order takes no span with it."""
    sent: list[Span] = []

    def export(spans: Sequence[Span]) -> bool:
        sent.extend(spans)
        return True

    tracer = Tracer(export, Meters("router"), _settings(otel_bsp_schedule_delay=60_000))
    tracer.tell(SPAN, SPAN, SPAN)
    tracer.close()
    assert len(sent) == 3


@pytest.mark.parametrize(
    ("said", "traced"),
    [
        ({}, 20),
        ({"traces_per_second": 5}, 5),
        ({"traces_per_second": 5, "otel_traces_sampler": "parentbased_always_on"}, 1_000),
    ],
)
def test_only_so_many_are_sampled_a_second(said: dict[str, Any], traced: int) -> None:
    """However many ticks there are, unless all are asked for."""
    tracer = Tracer(lambda _: True, Meters("router"), _settings(**said))
    for second in range(3):
        now_ns = 10**18 + second * NS
        assert sum(tracer.sample(now_ns) for _ in range(1_000)) == traced
    tracer.close()


@pytest.mark.parametrize("now_ns", [0, 10**18])
def test_only_so_many_are_always_traced(now_ns: int) -> None:
    """A feed that is wrong from end to end does not fill the backend."""
    tracer = Tracer(lambda _: True, Meters("router"), _settings())
    assert sum(tracer.always(now_ns) for _ in range(1_000)) == ALWAYS_A_MINUTE
    tracer.close()
