"""Spans as OpenTelemetry's SDK has them, and by its exporter to a collector."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from infra.traces.settings import TraceSettings, pairs
from infra.traces.span import Span
from infra.traces.tracer import Export

_KINDS: Mapping[str, SpanKind] = {
    "internal": SpanKind.INTERNAL,
    "client": SpanKind.CLIENT,
    "producer": SpanKind.PRODUCER,
    "consumer": SpanKind.CONSUMER,
}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_SCOPE = InstrumentationScope(
    "twinfeed", version("twinfeed"), "https://opentelemetry.io/schemas/1.44.0"
)


def exporter(service: str, settings: TraceSettings) -> Export:
    """Return what sends spans to the collector that is named.

    Args:
        service: the stage's name, which the setting comes before.
        settings: where to, and how; with an endpoint.

    """
    otlp = _grpc(settings) if settings.grpc else _http(settings)
    resource = Resource.create(
        {
            "service.namespace": "twinfeed",
            "service.version": version("twinfeed"),
            **pairs(settings.otel_resource_attributes),
            "service.name": settings.otel_service_name or service,
        }
    )

    def export(spans: Sequence[Span]) -> bool:
        result = otlp.export([readable(span, resource) for span in spans])
        return result is SpanExportResult.SUCCESS

    return export


def _http(settings: TraceSettings) -> SpanExporter:
    return OTLPSpanExporter(
        endpoint=settings.endpoint,
        certificate_file=str(settings.certificate) if settings.certificate else None,
        headers=settings.headers,
        timeout=settings.timeout_s,
        compression=Compression.Gzip if settings.gzip else Compression.NoCompression,
    )


def _grpc(settings: TraceSettings) -> SpanExporter:
    # gRPC is 12 MB of code, which nobody who speaks HTTP is to load
    import grpc  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.grpc import trace_exporter  # noqa: PLC0415

    authorities = settings.certificate.read_bytes() if settings.certificate else None
    secure = str(settings.endpoint).startswith("https://")
    return trace_exporter.OTLPSpanExporter(
        endpoint=settings.endpoint,
        insecure=not secure,
        credentials=grpc.ssl_channel_credentials(authorities) if secure else None,
        headers={name.lower(): value for name, value in settings.headers.items()},
        timeout=settings.timeout_s,
        compression=grpc.Compression.Gzip if settings.gzip else grpc.Compression.NoCompression,
    )


def readable(span: Span, resource: Resource) -> ReadableSpan:
    """Return a span as the SDK has it."""
    trace_id, span_id = span.context
    return ReadableSpan(
        span.name,
        context=SpanContext(trace_id, span_id, is_remote=False, trace_flags=_SAMPLED),
        parent=(
            SpanContext(trace_id, span.parent_id, is_remote=True, trace_flags=_SAMPLED)
            if span.parent_id
            else None
        ),
        resource=resource,
        attributes=span.attributes,
        kind=_KINDS[span.kind],
        status=Status(StatusCode.ERROR, span.error) if span.error else Status(),
        start_time=span.start_ns,
        end_time=span.end_ns,
        instrumentation_scope=_SCOPE,
    )
