-- What both sources said of the same moment; who switched the route, and what was asked.

ALTER TABLE router_transitions ADD COLUMN IF NOT EXISTS command_offset Int64 COMMENT 'of the last command taken into account; -1: none' CODEC(Delta, ZSTD(1)) AFTER cause_offset;
ALTER TABLE router_transitions ADD COLUMN IF NOT EXISTS generation Int64 COMMENT 'of the router that decided' CODEC(Delta, ZSTD(1)) AFTER command_offset;
ALTER TABLE commands ADD COLUMN IF NOT EXISTS to LowCardinality(String) COMMENT 'failover: the source asked for' CODEC(ZSTD(1)) AFTER target;

-- Both sources' prices at the same moment of the market. Identity: the place of Yahoo's raw tick.
CREATE TABLE IF NOT EXISTS price_comparisons
(
    symbol         LowCardinality(String) CODEC(ZSTD(1)),
    yahoo_time_ns  Int64 EPHEMERAL,
    yahoo_time     DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(yahoo_time_ns, 'UTC') COMMENT 'the moment that both prices are of' CODEC(Delta, ZSTD(1)),
    verdict        LowCardinality(String) COMMENT 'consistent, inconsistent' CODEC(ZSTD(1)),
    alpaca_price   Float64 COMMENT 'US dollars, of the newest trade at or before that moment' CODEC(ZSTD(1)),
    alpaca_time_ns Int64 EPHEMERAL,
    alpaca_time    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(alpaca_time_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    alpaca_offset  Int64 COMMENT 'of that trade in ticks.raw.alpaca, same partition' CODEC(Delta, ZSTD(1)),
    yahoo_price    Float64 COMMENT 'US dollars' CODEC(ZSTD(1)),
    delta_percent  Float64 COMMENT '100 * |alpaca - yahoo| / yahoo' CODEC(ZSTD(1)),
    compared_at_ns Int64 EPHEMERAL,
    compared_at    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(compared_at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    raw_topic      LowCardinality(String) CODEC(ZSTD(1)),
    raw_partition  Int32 CODEC(ZSTD(1)),
    raw_offset     Int64 CODEC(Delta, ZSTD(1)),
    topic          LowCardinality(String) CODEC(ZSTD(1)),
    partition      Int32 CODEC(ZSTD(1)),
    offset         Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(yahoo_time) > 0,
    CONSTRAINT has_identity CHECK raw_topic != ''
)
ENGINE = ReplacingMergeTree
ORDER BY (symbol, yahoo_time, raw_topic, raw_partition, raw_offset)
PARTITION BY toYYYYMM(yahoo_time)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;
