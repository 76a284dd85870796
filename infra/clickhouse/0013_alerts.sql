-- What fired, what resolved, who was paged, who acknowledged, and what it was worth. An event may
-- be told any number of times: its identity is the alert, when it began, what happened, and the
-- incident or its notice.

CREATE TABLE IF NOT EXISTS alerts
(
    event         LowCardinality(String) COMMENT 'alert_fired, alert_resolved, alert_paged, alert_acknowledged, alert_judged' CODEC(ZSTD(1)),
    fingerprint   String COMMENT 'of its labels; empty: alert_acknowledged, which has its incident' CODEC(ZSTD(1)),
    name          LowCardinality(String) CODEC(ZSTD(1)),
    severity      LowCardinality(String) CODEC(ZSTD(1)),
    alert_id      LowCardinality(String) CODEC(ZSTD(1)),
    service       LowCardinality(String) CODEC(ZSTD(1)),
    labels        Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    summary       String CODEC(ZSTD(1)),
    description   String CODEC(ZSTD(1)),
    started_at_ns Int64 CODEC(Delta, ZSTD(1)),
    started_at    DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(started_at_ns, 'UTC'),
    ended_at_ns   Nullable(Int64) CODEC(Delta, ZSTD(1)),
    ended_at      Nullable(DateTime64(9, 'UTC')) ALIAS fromUnixTimestamp64Nano(ended_at_ns, 'UTC'),
    incident_key  String CODEC(ZSTD(1)),
    notice_id     String CODEC(ZSTD(1)),
    verdict       LowCardinality(String) COMMENT 'actionable, noise, false' CODEC(ZSTD(1)),
    who           String CODEC(ZSTD(1)),
    why           String CODEC(ZSTD(1)),
    at_ns         Int64 CODEC(Delta, ZSTD(1)),
    at            DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(multiIf(at_ns > 0, at_ns, isNotNull(ended_at_ns), assumeNotNull(ended_at_ns), started_at_ns > 0, started_at_ns, told_at_ns), 'UTC') COMMENT 'when it happened' CODEC(Delta, ZSTD(1)),
    told_at_ns    Int64 CODEC(Delta, ZSTD(1)),
    told_at       DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(told_at_ns, 'UTC'),
    topic         LowCardinality(String) CODEC(ZSTD(1)),
    partition     Int32 CODEC(ZSTD(1)),
    offset        Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (fingerprint, started_at_ns, event, incident_key, notice_id)
PARTITION BY tuple()
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;
