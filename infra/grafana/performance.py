"""Performance: is it fast, and what does it use?"""

from infra.grafana.board import WAY, Board, Panel, Prom, bound, rising

_STAGES = {
    "gateway": "alpaca_streaming_processing_duration_seconds",
    "router": "datasource_router_processing_duration_seconds",
    "broadcast": "multiasset_broadcast_duration_seconds",
    "SignalR send": "signalr_broadcast_duration_seconds",
    "websocket to SignalR": "alpaca_websocket_to_signalr_seconds",
}
_OURS = '{job=~"alpaca-.+"}'

BOARD = Board(
    name="performance",
    title="twinfeed / Performance",
    description="Is it fast, where is the time spent, and what does it use? For engineers.",
    refresh="30s",
    since="now-3h",
    panels=(
        *(
            Panel(
                title=f"P{q} end to end",
                description=f"{q} % of Alpaca's prices take no longer from the market's event to"
                " the end of the SignalR send; of five minutes, empty below 20 prices. The service"
                " level is 2 s for 95 %.",
                services=WAY,
                kind="stat",
                unit="s",
                asks=(Prom(f"alpaca:message_latency_seconds:p{q}_5m"),),
                width=5,
                steps=rising(2, bound("AlpacaHighLatency")),
                alerts=("AlpacaHighLatency", "AlpacaExtremeLatency", "AlpacaEndToEndLatencyBurn"),
            )
            for q in (50, 95, 99)
        ),
        Panel(
            title="Error rate",
            description="Of Alpaca's messages of five minutes, those that failed to be parsed,"
            " validated or published.",
            services=("alpaca",),
            kind="stat",
            unit="percentunit",
            asks=(Prom("alpaca:message_errors:ratio_rate5m"),),
            width=4,
            steps=rising(bound("AlpacaErrorRateElevated")),
            alerts=("AlpacaErrorRateElevated",),
        ),
        Panel(
            title="Validation failures",
            description="Of all ticks of two minutes, those that validation did not believe.",
            services=("validate",),
            kind="stat",
            unit="percentunit",
            asks=(Prom("datasource_router:validation_failures:ratio_rate2m"),),
            width=5,
            steps=rising(0.01, bound("AlpacaValidationFailureHigh")),
            alerts=("AlpacaValidationFailureHigh", "AlpacaValidationBurn"),
        ),
        Panel(
            title="End to end, percentiles",
            description="From the market's event to the end of the SignalR send, Alpaca's prices;"
            " the lines are the bounds of the alerts.",
            services=WAY,
            kind="timeseries",
            unit="s",
            asks=tuple(
                Prom(f"alpaca:message_latency_seconds:p{q}_5m", f"P{q}") for q in (50, 95, 99)
            ),
            width=12,
            height=8,
            steps=rising(bound("AlpacaHighLatency"), bound("AlpacaExtremeLatency")),
            alerts=("AlpacaHighLatency", "AlpacaExtremeLatency"),
        ),
        Panel(
            title="Latency distribution",
            description="How many of Alpaca's prices took how long from the market to the end of"
            " the SignalR send.",
            kind="heatmap",
            unit="s",
            asks=(
                Prom(
                    "sum by (le)"
                    ' (increase(alpaca_message_latency_seconds_bucket{source="alpaca"}[1m]))',
                    "{{le}}",
                    heatmap=True,
                ),
            ),
            width=12,
            height=8,
        ),
        Panel(
            title="Breakdown by stage, P95",
            description="Where the time goes between Alpaca's socket and the SignalR send. The"
            " service level of the whole way is 100 ms.",
            services=WAY,
            kind="timeseries",
            unit="s",
            asks=tuple(
                Prom(
                    f"histogram_quantile(0.95, sum by (le) (rate({name}_bucket[5m])))",
                    stage,
                )
                for stage, name in _STAGES.items()
            ),
            width=12,
            height=8,
            steps=rising(0.1),
            alerts=("AlpacaPipelineLatencyBurn",),
        ),
        Panel(
            title="Throughput by stage",
            description="Records that leave each stage, a second.",
            services=WAY,
            kind="timeseries",
            unit="cps",
            asks=(
                Prom("sum by (stage) (rate(pipeline_records_processed_total[1m]))", "{{stage}}"),
            ),
            width=12,
            height=8,
            alerts=("PipelineConsumerStuck", "PipelineDeadLetters"),
        ),
        Panel(
            title="Consumer lag",
            description="The age of the oldest record that a stage has still to read; 0 at the end"
            " of the log.",
            services=("validate", "route", "forward", "clickhouse"),
            kind="timeseries",
            unit="s",
            asks=(Prom("max by (group) (pipeline_consumer_lag_seconds)", "{{group}}"),),
            width=12,
            height=8,
            steps=rising(bound("PipelineConsumerLagHigh")),
            alerts=("PipelineConsumerLagHigh", "PipelineConsumerStuck"),
        ),
        Panel(
            title="ClickHouse sink",
            description="Records read and not yet written.",
            services=("clickhouse",),
            kind="timeseries",
            unit="short",
            asks=(Prom("max by (sink) (pipeline_sink_pending_records)", "{{sink}}"),),
            width=12,
            height=8,
            alerts=("PipelineSinkStalled",),
        ),
        Panel(
            title="CPU",
            description="Cores that each process uses.",
            kind="timeseries",
            unit="cores",
            asks=(
                Prom(
                    f"sum by (instance) (rate(process_cpu_seconds_total{_OURS}[1m]))",
                    "{{instance}}",
                ),
            ),
            width=8,
            height=8,
        ),
        Panel(
            title="Memory",
            description="Resident memory of each process.",
            kind="timeseries",
            unit="bytes",
            asks=(
                Prom(f"max by (instance) (process_resident_memory_bytes{_OURS})", "{{instance}}"),
            ),
            width=8,
            height=8,
            alerts=("AlpacaMemoryCritical",),
        ),
        Panel(
            title="Memory, share of its limit",
            description="Of what the process's cgroup allows; empty where it is not limited. At the"
            " line it is about to be killed.",
            kind="timeseries",
            unit="percentunit",
            asks=(
                Prom(
                    f"max by (instance) (process_resident_memory_bytes{_OURS})"
                    f" / max by (instance) (process_memory_limit_bytes{_OURS})",
                    "{{instance}}",
                ),
            ),
            width=8,
            height=8,
            steps=rising(bound("AlpacaMemoryCritical")),
            alerts=("AlpacaMemoryCritical",),
        ),
        Panel(
            title="Open files",
            description="File descriptors of each process, sockets among them. A line that only"
            " rises is a leak.",
            kind="timeseries",
            unit="short",
            asks=(Prom(f"max by (instance) (process_open_fds{_OURS})", "{{instance}}"),),
            width=12,
            height=8,
        ),
        Panel(
            title="Threads",
            description="Threads of each process, those of libraries among them. A line that only"
            " rises is a leak.",
            kind="timeseries",
            unit="short",
            asks=(Prom(f"max by (instance) (process_threads{_OURS})", "{{instance}}"),),
            width=12,
            height=8,
        ),
        Panel(
            title="Spans",
            description="What became of what the stages trace, a second: the collector took it, or"
            " did not, or too much waited and it was dropped. All 0 where nothing is traced.",
            kind="timeseries",
            unit="cps",
            asks=(
                Prom("sum by (job, result) (rate(pipeline_spans_total[5m]))", "{{job}} {{result}}"),
            ),
            width=24,
            height=8,
        ),
    ),
)
