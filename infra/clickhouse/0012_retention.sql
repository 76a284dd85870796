-- How long what is kept, counted from when it was received; and logs, by their level. What is not
-- named here is kept for ever. Whoever wants it otherwise alters the table: this file runs once.

ALTER TABLE raw_ticks MODIFY TTL toDateTime(received_at) + INTERVAL 90 DAY;
ALTER TABLE valid_ticks MODIFY TTL toDateTime(received_at) + INTERVAL 730 DAY;
ALTER TABLE rejected_ticks MODIFY TTL toDateTime(received_at) + INTERVAL 730 DAY;
ALTER TABLE routed_prices MODIFY TTL toDateTime(routed_at) + INTERVAL 730 DAY;
-- a heartbeat a second; all else of a source's life is rare
ALTER TABLE source_status MODIFY TTL toDateTime(at) + INTERVAL 90 DAY DELETE WHERE event = 'heartbeat';
ALTER TABLE hub_sessions MODIFY TTL toDateTime(at) + INTERVAL 730 DAY;
ALTER TABLE hub_deliveries MODIFY TTL toDateTime(at) + INTERVAL 90 DAY;
ALTER TABLE dead_letters MODIFY TTL toDateTime(set_aside_at) + INTERVAL 730 DAY;

-- What the processes say, line by line, by whatever ships it:
--   INSERT INTO logs (line) FORMAT LineAsString
-- A line that is shipped again replaces itself.
CREATE TABLE IF NOT EXISTS logs
(
    at      DateTime64(6, 'UTC') DEFAULT if(isNull(parseDateTime64BestEffortOrNull(JSONExtractString(line, 'timestamp'), 6, 'UTC')), now64(6, 'UTC'), assumeNotNull(parseDateTime64BestEffortOrNull(JSONExtractString(line, 'timestamp'), 6, 'UTC'))) COMMENT 'when it was said; when it came here, where it does not say' CODEC(Delta, ZSTD(1)),
    level   LowCardinality(String) DEFAULT JSONExtractString(line, 'level') COMMENT 'debug, info, warning, error or critical; empty: no log line of ours' CODEC(ZSTD(1)),
    service LowCardinality(String) DEFAULT JSONExtractString(line, 'service') COMMENT 'who said it' CODEC(ZSTD(1)),
    event   LowCardinality(String) DEFAULT JSONExtractString(line, 'event') COMMENT 'what happened' CODEC(ZSTD(1)),
    line    String COMMENT 'all of it: JSON, whose other fields JSONExtractString(line, ''name'') reads' CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
ORDER BY (service, at, cityHash64(line))
PARTITION BY toYYYYMM(at)
TTL toDateTime(at) + INTERVAL 90 DAY DELETE WHERE level IN ('error', 'critical'),
    toDateTime(at) + INTERVAL 30 DAY DELETE WHERE level = 'warning',
    toDateTime(at) + INTERVAL 7 DAY DELETE WHERE level NOT IN ('error', 'critical', 'warning')
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480
COMMENT 'What the processes said: errors for 90 days, warnings for 30, all else for 7.';
