-- Circuit breakers, and marks on ticks that came late or out of order.

ALTER TABLE valid_ticks ADD COLUMN IF NOT EXISTS late Bool COMMENT 'received long after it happened, though its feed is in real time' CODEC(ZSTD(1)) AFTER gap_id;
ALTER TABLE valid_ticks ADD COLUMN IF NOT EXISTS out_of_order Bool COMMENT 'one of its kind that happened later came before it' CODEC(ZSTD(1)) AFTER late;

-- When a symbol's price was not believed, and what ended it. The place is that of the raw tick that
-- decided it.
CREATE TABLE IF NOT EXISTS symbol_breakers
(
    symbol         LowCardinality(String) CODEC(ZSTD(1)),
    at_ns          Int64 EPHEMERAL,
    at             DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(at_ns, 'UTC') COMMENT 'when the tick that decided it was received' CODEC(Delta, ZSTD(1)),
    event          LowCardinality(String) COMMENT 'breaker_opened, breaker_closed' CODEC(ZSTD(1)),
    source         LowCardinality(String) CODEC(ZSTD(1)),
    reference      Float64 COMMENT 'US dollars: what moves are measured from' CODEC(ZSTD(1)),
    price          Float64 COMMENT 'US dollars: the price that decided it' CODEC(ZSTD(1)),
    evidence       LowCardinality(String) COMMENT 'closed: confirmed, persisted, reopened, in_band, reverted, new_day' CODEC(ZSTD(1)),
    rejected       Int64 COMMENT 'closed: how many ticks were rejected meanwhile' CODEC(ZSTD(1)),
    raw_topic      LowCardinality(String) CODEC(ZSTD(1)),
    raw_partition  Int32 CODEC(ZSTD(1)),
    raw_offset     Int64 CODEC(Delta, ZSTD(1)),
    topic          LowCardinality(String) CODEC(ZSTD(1)),
    partition      Int32 CODEC(ZSTD(1)),
    offset         Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0,
    CONSTRAINT has_identity CHECK raw_topic != ''
)
ENGINE = ReplacingMergeTree
ORDER BY (symbol, at, event, raw_topic, raw_partition, raw_offset)
PARTITION BY toYYYYMM(at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;
