-- Symbols that go out from Yahoo alone; and prices that took the place of one that was taken back.

-- The fence is part of a routed price's identity: at a quarantine's end and the next one's beginning
-- the same price of Yahoo's may go out twice within an epoch.
ALTER TABLE routed_prices
    ADD COLUMN IF NOT EXISTS fence Int64 COMMENT 'how often the symbol''s own source has changed' CODEC(ZSTD(1)) AFTER epoch,
    ADD COLUMN IF NOT EXISTS amends Nullable(Int64) COMMENT 'the raw offset of the price that was cancelled or corrected' CODEC(ZSTD(1)) AFTER fence,
    MODIFY ORDER BY (symbol, market_time, raw_topic, raw_partition, raw_offset, epoch, fence);

-- The place is that of the raw tick that decided it.
CREATE TABLE IF NOT EXISTS symbol_quarantines
(
    symbol         LowCardinality(String) CODEC(ZSTD(1)),
    at_ns          Int64 EPHEMERAL,
    at             DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(at_ns, 'UTC') COMMENT 'when the tick that decided it was received' CODEC(Delta, ZSTD(1)),
    event          LowCardinality(String) COMMENT 'quarantine_began, quarantine_ended' CODEC(ZSTD(1)),
    reason         LowCardinality(String) COMMENT 'disagrees, silent, unheard' CODEC(ZSTD(1)),
    detail         String CODEC(ZSTD(1)),
    fence          Int64 COMMENT 'how often the symbol''s own source has changed, this change included' CODEC(ZSTD(1)),
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
