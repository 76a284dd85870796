-- What was routed, and what it was decided from.

CREATE TABLE IF NOT EXISTS routed_prices
(
    symbol         LowCardinality(String) CODEC(ZSTD(1)),
    market_time_ns Int64 EPHEMERAL,
    market_time    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(market_time_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    price          Float64 CODEC(ZSTD(1)),
    previous_close Nullable(Float64) CODEC(ZSTD(1)),
    change         Nullable(Float64) CODEC(ZSTD(1)),
    change_percent Nullable(Float64) CODEC(ZSTD(1)),
    source         LowCardinality(String) CODEC(ZSTD(1)),
    feed           LowCardinality(String) CODEC(ZSTD(1)),
    is_real_time   Bool CODEC(ZSTD(1)),
    epoch          Int64 CODEC(Delta, ZSTD(1)),
    received_at_ns Int64 EPHEMERAL,
    received_at    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(received_at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    routed_at_ns   Int64 EPHEMERAL,
    routed_at      DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(routed_at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    session_id     LowCardinality(String) CODEC(ZSTD(1)),
    session_seq    Int64 CODEC(Delta, ZSTD(1)),
    raw_topic      LowCardinality(String) CODEC(ZSTD(1)),
    raw_partition  Int32 CODEC(ZSTD(1)),
    raw_offset     Int64 CODEC(Delta, ZSTD(1)),
    topic          LowCardinality(String) CODEC(ZSTD(1)),
    partition      Int32 CODEC(ZSTD(1)),
    offset         Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(routed_at) > 0,
    CONSTRAINT has_identity CHECK raw_topic != ''
)
-- The epoch is part of the identity: a price may go out again when the router comes back to its source.
-- `routed_at` is the clock of the process that routed, so it differs when a crash makes it route a
-- tick again: it must stay out of the key.
ENGINE = ReplacingMergeTree
ORDER BY (symbol, market_time, raw_topic, raw_partition, raw_offset, epoch)
PARTITION BY toYYYYMM(market_time)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;

CREATE TABLE IF NOT EXISTS router_transitions
(
    epoch          Int64 CODEC(Delta, ZSTD(1)),
    from_state     LowCardinality(String) CODEC(ZSTD(1)),
    to_state       LowCardinality(String) CODEC(ZSTD(1)),
    reason         LowCardinality(String) CODEC(ZSTD(1)),
    detail         String CODEC(ZSTD(1)),
    detected_at_ns Int64 EPHEMERAL,
    detected_at    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(detected_at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    switched_at_ns Int64 EPHEMERAL,
    switched_at    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(switched_at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    by             String CODEC(ZSTD(1)),
    cause_offset   Int64 CODEC(Delta, ZSTD(1)),
    topic          LowCardinality(String) CODEC(ZSTD(1)),
    partition      Int32 CODEC(ZSTD(1)),
    offset         Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(switched_at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (switched_at, topic, partition, offset)
PARTITION BY toYYYYMM(switched_at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;

-- One wide table over all status events, as with the valid ticks.
CREATE TABLE IF NOT EXISTS source_status
(
    source             LowCardinality(String) CODEC(ZSTD(1)),
    at_ns              Int64 EPHEMERAL,
    at                 DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    event              LowCardinality(String) CODEC(ZSTD(1)),
    feed               LowCardinality(String) CODEC(ZSTD(1)),
    session_id         LowCardinality(String) CODEC(ZSTD(1)),
    symbols            String COMMENT 'subscribed: a JSON list of names; heartbeat: how many' CODEC(ZSTD(1)),
    symbol_count       UInt32 ALIAS if(event = 'subscribed', JSONLength(symbols), toUInt32OrZero(symbols)),
    -- disconnected
    reason             LowCardinality(String) CODEC(ZSTD(1)),
    code               Nullable(Int32) CODEC(ZSTD(1)),
    detail             String CODEC(ZSTD(1)),
    -- heartbeat
    state              LowCardinality(String) CODEC(ZSTD(1)),
    authenticated      Bool CODEC(ZSTD(1)),
    messages           Int64 CODEC(Delta, ZSTD(1)),
    last_message_at_ns Nullable(Int64) CODEC(Delta, ZSTD(1)),
    last_message_at    Nullable(DateTime64(9, 'UTC')) ALIAS fromUnixTimestamp64Nano(last_message_at_ns, 'UTC'),
    topic              LowCardinality(String) CODEC(ZSTD(1)),
    partition          Int32 CODEC(ZSTD(1)),
    offset             Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (source, at, topic, partition, offset)
PARTITION BY toYYYYMM(at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;
