"""What a process says of itself: metrics and readiness; its log lines are `infra/logs.py`'s.

A process exposes the metrics that only it can know, so that its death is visible in them; what is
counted from the log itself is exposed by the Prometheus sink (see DESIGN.md, "Who exports a
metric"). All of them are declared in `infra/catalogue.py`.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aiohttp import web
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.exposition import choose_encoder

from infra.catalogue import ABSENT_UNTIL_SET, CATALOGUE, About, Metric
from infra.cgroup import memory_limit
from infra.exposure import Exposure
from infra.histogram import Histogram

#: Has an entry for each thread of this process, also for those that Python does not know.
TASKS = Path("/proc/self/task")


class Meters:
    """The metrics of one process, made from the catalogue; all bounded children exist from birth.

    Args:
        about: the parts of the catalogue that this process exposes.
        stage: of the metrics labelled by stage, it exposes this one's alone.

    """

    def __init__(self, *about: About, stage: str | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        parts = {"process", *about}
        self._declared = {metric.name: metric for metric in CATALOGUE if metric.about in parts}
        self._stage = stage
        self._meters: dict[str, Counter | Gauge | Histogram] = {}
        for metric in self._declared.values():
            if metric.name not in ABSENT_UNTIL_SET:
                self._make(metric)
        limit = memory_limit()
        if limit is not None:
            self.set("process_memory_limit_bytes", limit)

    def _make(self, metric: Metric) -> Counter | Gauge | Histogram:
        names = tuple(metric.labels)
        meter: Counter | Gauge | Histogram
        match metric.kind:
            case "counter":
                meter = Counter(metric.name, metric.help, names, registry=self.registry)
            case "histogram":
                meter = Histogram(
                    metric.name, metric.help, names, registry=self.registry, buckets=metric.buckets
                )
            case "gauge" | "stateset":
                meter = Gauge(metric.name, metric.help, names, registry=self.registry)
        for values in itertools.product(*metric.labels.values()):
            if names and self._mine(dict(zip(names, values, strict=True))):
                meter.labels(*values)
        self._meters[metric.name] = meter
        return meter

    def _mine(self, labels: Mapping[str, str]) -> bool:
        return self._stage is None or labels.get("stage", self._stage) == self._stage

    def _meter(self, name: str) -> Counter | Gauge | Histogram:
        return self._meters.get(name) or self._make(self._declared[name])

    def add(self, name: str, amount: float = 1, **labels: str) -> None:
        """Count `amount` more of the counter `name`."""
        meter = self._meter(name)
        (meter.labels(**labels) if labels else meter).inc(amount)  # type: ignore[union-attr]

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set the gauge `name`."""
        meter = self._meter(name)
        (meter.labels(**labels) if labels else meter).set(value)  # type: ignore[union-attr]

    def observe(self, name: str, value: float, trace: int | None = None, **labels: str) -> None:
        """Put `value` into the histogram `name`; `trace`, if there is one, is its example."""
        meter = self._meter(name)
        example = None if trace is None else {"trace_id": f"{trace:032x}"}
        (meter.labels(**labels) if labels else meter).observe(value, example)  # type: ignore[union-attr]

    def observe_all(self, name: str, values: Sequence[float], **labels: str) -> None:
        """Put each of `values` into the histogram `name`."""
        meter = self._meter(name)
        (meter.labels(**labels) if labels else meter).observe_all(values)  # type: ignore[union-attr]

    def remove(self, name: str, **labels: str) -> None:
        """Let a child of the gauge `name` go: what it told is not so any more."""
        self._meter(name).remove_by_labels(labels)

    def state(self, name: str, current: str) -> None:
        """Make `current` the one state of the stateset `name` that is 1."""
        ((label, states),) = self._declared[name].labels.items()
        if current not in states:
            message = f"unknown state {current!r} of {name}: expected one of {', '.join(states)}"
            raise ValueError(message)
        for state in states:
            self.set(name, float(state == current), **{label: state})

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus's text format, which has no place for examples."""
        self._count_threads()
        return generate_latest(self.registry)

    def negotiated(self, accept: str) -> tuple[bytes, str]:
        """Return all metrics in the best format that whoever asks reads, and its content type."""
        self._count_threads()
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type

    def _count_threads(self) -> None:
        if TASKS.is_dir():
            self.set("process_threads", len(list(TASKS.iterdir())))


class StatusServer:
    """`/metrics` and `/ready` of one process, on the process's own loop.

    `ready` is asked at every request: None when the stage does its work, else what it waits for.
    `before_scrape` is called before every exposition, for what accrues with time. Whoever asks for
    metrics has to show the credentials of `exposure`; whether a process is ready is no secret.
    """

    def __init__(
        self,
        meters: Meters,
        *,
        exposure: Exposure,
        ready: Callable[[], str | None],
        before_scrape: Callable[[], None] = lambda: None,
    ) -> None:
        self._meters = meters
        self._exposure = exposure
        self._ready = ready
        self._before_scrape = before_scrape
        self._runner: web.AppRunner | None = None

    async def start(self) -> int:
        """Listen, and return the port. Raises OSError where the port is taken."""
        app = web.Application()
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/ready", self._readiness)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        where = self._exposure
        site = web.TCPSite(self._runner, where.host, where.port, ssl_context=where.tls)
        await site.start()
        port: int = self._runner.addresses[0][1]
        return port

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner:
            await self._runner.cleanup()

    async def _metrics(self, request: web.Request) -> web.Response:
        credentials = self._exposure.credentials
        if not credentials.admit(request.headers.get("Authorization", "")):
            refused = web.Response(text="not without its credentials\n", status=401)
            for challenge in credentials.challenges:
                refused.headers.add("WWW-Authenticate", challenge)
            return refused
        self._before_scrape()
        body, content_type = self._meters.negotiated(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def _readiness(self, _: web.Request) -> web.Response:
        waiting_for = self._ready()
        if waiting_for is None:
            return web.Response(text="ready\n")
        return web.Response(text=f"waiting for {waiting_for}\n", status=503)
