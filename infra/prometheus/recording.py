"""What Prometheus records besides the service levels: name -> expression.

A state that is gone with its process is 0, not absent: `or 0 * max(last_over_time(up[1h]))`. Not
`or vector(0)`, which would record a false 0 before the first scrape and page at every cold start.
"""

from collections.abc import Mapping

_PERCENTILE = (
    "histogram_quantile({q}, sum by (le)"
    ' (rate({of}_bucket{{source="alpaca"}}[5m])))'
    ' and on() sum(increase({of}_count{{source="alpaca"}}[5m])) >= 20'
)
_LATENCY, _RECEIPT = "alpaca_message_latency_seconds", "pipeline_receipt_age_seconds"
_RECOVERY = (
    "sum(increase(datasource_router_recovery_time_seconds_sum[{w}]))"
    " / (sum(increase(datasource_router_recovery_time_seconds_count[{w}])) > 0)"
)

RECORDED: Mapping[str, str] = {
    "alpaca:service_available:bool": (
        'max(datasource_router_state{state=~"PRIMARY_ACTIVE|FALLBACK_ACTIVE"})'
        ' or 0 * max(last_over_time(up{job="alpaca-router"}[1h]))'
    ),
    "alpaca:connected:bool": (
        '(max(alpaca_connection_status{state="Connected"})'
        " * on() max(alpaca_authentication_status))"
        ' or 0 * max(last_over_time(up{job="alpaca-gateway"}[1h]))'
    ),
    "datasource_router:state:code": (
        'max(datasource_router_state{state="FALLBACK_ACTIVE"})'
        ' + on() 2 * max(datasource_router_state{state="BOTH_UNAVAILABLE"})'
    ),
    "type:alpaca_messages_received:rate1m": (
        "sum by (type) (rate(alpaca_messages_received_total[1m]))"
    ),
    "alpaca:message_latency_seconds:p50_5m": _PERCENTILE.format(q="0.50", of=_LATENCY),
    "alpaca:message_latency_seconds:p95_5m": _PERCENTILE.format(q="0.95", of=_LATENCY),
    "alpaca:message_latency_seconds:p99_5m": _PERCENTILE.format(q="0.99", of=_LATENCY),
    "alpaca:receipt_age_seconds:p95_5m": _PERCENTILE.format(q="0.95", of=_RECEIPT),
    # while Yahoo is routed nothing of Alpaca's is sent, and it may be as late as before
    "alpaca:lateness_seconds:p95_5m": (
        "alpaca:message_latency_seconds:p95_5m or (alpaca:receipt_age_seconds:p95_5m"
        ' and on() max(datasource_router_state{state="FALLBACK_ACTIVE"}) == 1)'
    ),
    "datasource_router:validation_failures:ratio_rate2m": (
        "sum(rate(datasource_router_validation_failures_total[2m]))"
        " / (sum(rate(datasource_router_messages_processed_total[2m])) > 0)"
    ),
    "alpaca:message_errors:ratio_rate5m": (
        'sum(rate(alpaca_errors_total{type=~"parse|validation|publish"}[5m]))'
        " / (sum(rate(alpaca_messages_received_total[5m])) > 0)"
    ),
    "datasource_router:symbols_inconsistent:count": (
        "(count(max by (symbol) (abs(datasource_router_price_delta_percent)) > 5) or vector(0))"
        " and on() max(market_session_open) == 1"
    ),
    "datasource_router:failovers:increase1h": "sum(increase(datasource_router_failover_total[1h]))",
    "datasource_router:failovers:increase1d": "sum(increase(datasource_router_failover_total[1d]))",
    "datasource_router:recovery_time_seconds:mean1h": _RECOVERY.format(w="1h"),
    "datasource_router:recovery_time_seconds:mean30d": _RECOVERY.format(w="30d"),
    # what the first dashboards called things
    "alpaca_subscribed_symbols_count": "sum(alpaca_subscribed_symbols)",
    "datasource_router_last_failover_timestamp": (
        "max(datasource_router_last_failover_timestamp_seconds)"
    ),
    "datasource_router_uptime_percent": (
        '100 * (1 - max by () (slo:sli_error:ratio_rate30d{sloth_slo="service-availability"}))'
    ),
    "alpaca_slo_error_budget_remaining_percent": (
        'label_replace(100 * slo:period_error_budget_remaining:ratio, "slo_name", "$1",'
        ' "sloth_slo", "(.+)")'
    ),
    "signalr_total_connections": "sum by (hub) (signalr_connections)",
}
