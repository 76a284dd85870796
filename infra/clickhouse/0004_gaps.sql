-- What is missing and what was filled; the market's sessions; what operators asked for.

ALTER TABLE raw_ticks ADD COLUMN IF NOT EXISTS backfill LowCardinality(String) CODEC(ZSTD(1)) AFTER encoding;
ALTER TABLE raw_ticks ADD COLUMN IF NOT EXISTS gap_id LowCardinality(String) CODEC(ZSTD(1)) AFTER backfill;
ALTER TABLE valid_ticks ADD COLUMN IF NOT EXISTS gap_id LowCardinality(String) CODEC(ZSTD(1)) AFTER received_at;
ALTER TABLE rejected_ticks ADD COLUMN IF NOT EXISTS gap_id LowCardinality(String) CODEC(ZSTD(1)) AFTER session_seq;
-- stalled: since when; symbols_impaired and symbols_restored have their reason in `reason`
ALTER TABLE source_status ADD COLUMN IF NOT EXISTS since_ns Nullable(Int64) CODEC(Delta, ZSTD(1)) AFTER last_message_at_ns;
ALTER TABLE source_status ADD COLUMN IF NOT EXISTS since Nullable(DateTime64(9, 'UTC')) ALIAS fromUnixTimestamp64Nano(since_ns, 'UTC') AFTER since_ns;

-- A gap's life: opened, ended (its bounds are known), closed (filled, or not to be filled).
CREATE TABLE IF NOT EXISTS source_gaps
(
    gap_id      String CODEC(ZSTD(1)),
    at_ns       Int64 EPHEMERAL,
    at          DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    event       LowCardinality(String) CODEC(ZSTD(1)),
    source      LowCardinality(String) CODEC(ZSTD(1)),
    feed        LowCardinality(String) CODEC(ZSTD(1)),
    cause       LowCardinality(String) CODEC(ZSTD(1)),
    symbols     Array(LowCardinality(String)) COMMENT 'empty: all that were followed' CODEC(ZSTD(1)),
    since_ns    Int64 EPHEMERAL,
    since       DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(since_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    until_ns    Nullable(Int64) CODEC(Delta, ZSTD(1)),
    until       Nullable(DateTime64(9, 'UTC')) ALIAS fromUnixTimestamp64Nano(until_ns, 'UTC'),
    shed        Map(LowCardinality(String), UInt64) CODEC(ZSTD(1)),
    outcome     LowCardinality(String) CODEC(ZSTD(1)),
    trades      Int64 CODEC(ZSTD(1)),
    bars        Int64 CODEC(ZSTD(1)),
    lost        Array(LowCardinality(String)) CODEC(ZSTD(1)),
    detail      String CODEC(ZSTD(1)),
    topic       LowCardinality(String) CODEC(ZSTD(1)),
    partition   Int32 CODEC(ZSTD(1)),
    offset      Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (source, at, topic, partition, offset)
PARTITION BY toYYYYMM(at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;

CREATE TABLE IF NOT EXISTS market_sessions
(
    market      LowCardinality(String) CODEC(ZSTD(1)),
    state       LowCardinality(String) CODEC(ZSTD(1)),
    since_ns    Int64 EPHEMERAL,
    since       DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(since_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    until_ns    Nullable(Int64) CODEC(Delta, ZSTD(1)),
    until       Nullable(DateTime64(9, 'UTC')) ALIAS fromUnixTimestamp64Nano(until_ns, 'UTC'),
    at_ns       Int64 EPHEMERAL,
    at          DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    topic       LowCardinality(String) CODEC(ZSTD(1)),
    partition   Int32 CODEC(ZSTD(1)),
    offset      Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (market, since, topic, partition, offset)
PARTITION BY toYYYYMM(since)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;

CREATE TABLE IF NOT EXISTS commands
(
    at_ns       Int64 EPHEMERAL,
    at          DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    command     LowCardinality(String) CODEC(ZSTD(1)),
    target      LowCardinality(String) CODEC(ZSTD(1)),
    who         String CODEC(ZSTD(1)),
    why         String CODEC(ZSTD(1)),
    topic       LowCardinality(String) CODEC(ZSTD(1)),
    partition   Int32 CODEC(ZSTD(1)),
    offset      Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (at, topic, partition, offset)
PARTITION BY toYYYYMM(at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;

-- What to follow, where SYMBOLS_SOURCE names this table: yours to fill. The last row inserted of a
-- symbol counts.
CREATE TABLE IF NOT EXISTS followed_symbols
(
    symbol      LowCardinality(String),
    priority    UInt32 COMMENT 'the lowest number comes first',
    followed    Bool DEFAULT true
)
ENGINE = ReplacingMergeTree
ORDER BY symbol
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;
