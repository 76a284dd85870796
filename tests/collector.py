"""A collector that speaks OTLP over HTTP or gRPC, decodes what it is sent, and keeps it."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any, NamedTuple

import grpc
import grpc.aio
from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Told(NamedTuple):
    """A span, as the protocol has it."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    kind: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    error: str
    resource: dict[str, Any]


def _attributes(pairs: Iterable[Any]) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


class Collector:
    """What was told, and how it is answered.

    Attributes:
        url: what OTEL_EXPORTER_OTLP_ENDPOINT is to say.
        spans: all of them, in the order of their coming.
        headers: of every request.
        status: how requests are answered.
        answers: while it is cleared, no request is answered.

    """

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[Told] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.answers = asyncio.Event()
        self.answers.set()

    async def take(self, request: web.Request) -> web.Response:
        """Take a request."""
        sent = ExportTraceServiceRequest.FromString(await request.read())
        self.headers.append(dict(request.headers))
        await self.answers.wait()
        if self.status != web.HTTPOk.status_code:
            return web.Response(status=self.status)
        self._keep(sent)
        return web.Response(
            body=ExportTraceServiceResponse().SerializeToString(),
            content_type="application/x-protobuf",
        )

    async def export(
        self,
        sent: ExportTraceServiceRequest,
        call: "grpc.aio.ServicerContext[Any, Any]",
    ) -> ExportTraceServiceResponse:
        """Take a call of gRPC."""
        self.headers.append({str(key): str(value) for key, value in call.invocation_metadata()})
        await self.answers.wait()
        if self.status != web.HTTPOk.status_code:
            await call.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")
        self._keep(sent)
        return ExportTraceServiceResponse()

    def _keep(self, sent: ExportTraceServiceRequest) -> None:
        for of in sent.resource_spans:
            resource = _attributes(of.resource.attributes)
            self.spans += (
                Told(
                    resource["service.name"],
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.kind,
                    span.start_time_unix_nano,
                    span.end_time_unix_nano,
                    _attributes(span.attributes),
                    span.status.message if span.status.code else "",
                    resource,
                )
                for scope in of.scope_spans
                for span in scope.spans
            )

    def traces(self) -> dict[str, list[Told]]:
        """Return the spans by trace."""
        found: dict[str, list[Told]] = {}
        for span in self.spans:
            found.setdefault(span.trace, []).append(span)
        return found

    async def until(self, condition: Callable[[], Any], seconds: float = 30) -> Any:
        """Wait until something is so of what was told, and return it."""
        async with asyncio.timeout(seconds):
            while not (found := condition()):
                await asyncio.sleep(0.05)
        return found


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector on loopback."""
    collector, app = Collector(), web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        collector.answers.set()
        await runner.cleanup()


@contextlib.asynccontextmanager
async def collecting_grpc() -> AsyncIterator[Collector]:
    """A collector on loopback that is called by gRPC."""
    collector, server = Collector(), grpc.aio.server()
    export = grpc.unary_unary_rpc_method_handler(
        collector.export,
        request_deserializer=ExportTraceServiceRequest.FromString,
        response_serializer=ExportTraceServiceResponse.SerializeToString,
    )
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    handlers = grpc.method_handlers_generic_handler(service, {"Export": export})
    server.add_generic_rpc_handlers((handlers,))
    collector.url = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        collector.answers.set()
        await server.stop(0.1)


async def _main() -> None:
    """Collect until the input ends; say where first, and how many spans there were at last."""
    async with collecting() as collector:
        print(collector.url, flush=True)  # noqa: T201
        await asyncio.to_thread(sys.stdin.read)
        print(len(collector.spans))  # noqa: T201


if __name__ == "__main__":
    asyncio.run(_main())
