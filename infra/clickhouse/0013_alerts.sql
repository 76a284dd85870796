-- What fired, what resolved, who was paged, who acknowledged, and what it was worth. An event may
-- be told any number of times: its identity is the alert, when it began, what happened, and the
-- incident or its notice.

CREATE TABLE IF NOT EXISTS alerts
(
    event         LowCardinality(String) COMMENT 'alert_fired, alert_resolved, alert_paged, alert_acknowledged, alert_judged' CODEC(ZSTD(1)),
    fingerprint   String COMMENT 'of its labels; empty: alert_acknowledged, which has its incident' CODEC(ZSTD(1)),
    name          LowCardinality(String) COMMENT 'what it is called' CODEC(ZSTD(1)),
    severity      LowCardinality(String) COMMENT 'critical, high, medium, low, info, none' CODEC(ZSTD(1)),
    alert_id      LowCardinality(String) COMMENT 'what tables of alerts call it: C1, H3' CODEC(ZSTD(1)),
    service       LowCardinality(String) COMMENT 'what the digest groups by' CODEC(ZSTD(1)),
    labels        Map(LowCardinality(String), String) COMMENT 'all that tell it from others' CODEC(ZSTD(1)),
    summary       String COMMENT 'what it said' CODEC(ZSTD(1)),
    description   String COMMENT 'and besides' CODEC(ZSTD(1)),
    started_at_ns Int64 COMMENT 'since when its condition had held; 0: alert_acknowledged' CODEC(Delta, ZSTD(1)),
    started_at    DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(started_at_ns, 'UTC') COMMENT 'the same as a time',
    ended_at_ns   Nullable(Int64) COMMENT 'alert_resolved: since when it is over' CODEC(Delta, ZSTD(1)),
    ended_at      Nullable(DateTime64(9, 'UTC')) ALIAS fromUnixTimestamp64Nano(ended_at_ns, 'UTC') COMMENT 'the same as a time',
    incident_key  String COMMENT 'alert_paged, alert_acknowledged: what the pager knows the incident by' CODEC(ZSTD(1)),
    notice_id     String COMMENT 'alert_acknowledged: of the pager''s notice' CODEC(ZSTD(1)),
    verdict       LowCardinality(String) COMMENT 'alert_judged: actionable, noise, false' CODEC(ZSTD(1)),
    who           String COMMENT 'who acknowledged or judged' CODEC(ZSTD(1)),
    why           String COMMENT 'alert_judged: in words' CODEC(ZSTD(1)),
    at_ns         Int64 COMMENT 'alert_acknowledged, alert_judged: when' CODEC(Delta, ZSTD(1)),
    at            DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(multiIf(at_ns > 0, at_ns, isNotNull(ended_at_ns), assumeNotNull(ended_at_ns), started_at_ns > 0, started_at_ns, told_at_ns), 'UTC') COMMENT 'when it happened' CODEC(Delta, ZSTD(1)),
    told_at_ns    Int64 COMMENT 'when we were told' CODEC(Delta, ZSTD(1)),
    told_at       DateTime64(9, 'UTC') ALIAS fromUnixTimestamp64Nano(told_at_ns, 'UTC') COMMENT 'the same as a time',
    topic         LowCardinality(String) COMMENT 'the row''s own place in the log: the topic' CODEC(ZSTD(1)),
    partition     Int32 COMMENT 'the partition' CODEC(ZSTD(1)),
    offset        Int64 COMMENT 'the offset' CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (fingerprint, started_at_ns, event, incident_key, notice_id)
PARTITION BY tuple()
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480
COMMENT 'The history of alerts: what fired and resolved, who was paged and acknowledged, what it was worth.';
