-- Who came to the hub, what they asked for, how they left; and what reached them.

CREATE TABLE IF NOT EXISTS hub_sessions
(
    at_ns       Int64 EPHEMERAL,
    at          DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    event       LowCardinality(String) COMMENT 'client_connected, client_subscribed, client_unsubscribed, client_left' CODEC(ZSTD(1)),
    connection_id String CODEC(ZSTD(1)),
    hub         LowCardinality(String) CODEC(ZSTD(1)),
    user        LowCardinality(String) COMMENT 'by the token; empty: anybody' CODEC(ZSTD(1)),
    encoding    LowCardinality(String) CODEC(ZSTD(1)),
    symbols     Array(LowCardinality(String)) COMMENT 'empty: the whole asset class' CODEC(ZSTD(1)),
    reason      LowCardinality(String) COMMENT 'client_left: left, silent, too_slow, unfit, restart' CODEC(ZSTD(1)),
    detail      String CODEC(ZSTD(1)),
    connected_at_ns Nullable(Int64) CODEC(Delta, ZSTD(1)),
    connected_at Nullable(DateTime64(9, 'UTC')) ALIAS fromUnixTimestamp64Nano(connected_at_ns, 'UTC'),
    updates     Int64 COMMENT 'client_left: the prices it was sent' CODEC(ZSTD(1)),
    topic       LowCardinality(String) CODEC(ZSTD(1)),
    partition   Int32 CODEC(ZSTD(1)),
    offset      Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (at, topic, partition, offset)
PARTITION BY toYYYYMM(at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;

-- A summary a minute and hub, and sampled acknowledgements. A round trip is an upper bound of the
-- way there, half of it an estimate.
CREATE TABLE IF NOT EXISTS hub_deliveries
(
    at_ns       Int64 EPHEMERAL,
    at          DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    event       LowCardinality(String) COMMENT 'delivered, probe_answered' CODEC(ZSTD(1)),
    hub_id      LowCardinality(String) CODEC(ZSTD(1)),
    since_ns    Nullable(Int64) CODEC(Delta, ZSTD(1)),
    since       Nullable(DateTime64(9, 'UTC')) ALIAS fromUnixTimestamp64Nano(since_ns, 'UTC'),
    clients     Int64 CODEC(ZSTD(1)),
    updates     Int64 COMMENT 'prices sent, each once a client' CODEC(ZSTD(1)),
    bytes       Int64 CODEC(ZSTD(1)),
    alpaca_p50_s      Nullable(Float64) COMMENT 'from the market to the end of the send, seconds' CODEC(ZSTD(1)),
    alpaca_p95_s      Nullable(Float64) COMMENT 'from the market to the end of the send, seconds' CODEC(ZSTD(1)),
    alpaca_p99_s      Nullable(Float64) COMMENT 'from the market to the end of the send, seconds' CODEC(ZSTD(1)),
    yahoo_p50_s       Nullable(Float64) COMMENT 'from the market to the end of the send, seconds' CODEC(ZSTD(1)),
    yahoo_p95_s       Nullable(Float64) COMMENT 'from the market to the end of the send, seconds' CODEC(ZSTD(1)),
    yahoo_p99_s       Nullable(Float64) COMMENT 'from the market to the end of the send, seconds' CODEC(ZSTD(1)),
    alpaca_count Int64 CODEC(ZSTD(1)),
    yahoo_count Int64 CODEC(ZSTD(1)),
    round_trip_p50_s  Nullable(Float64) CODEC(ZSTD(1)),
    round_trip_p95_s  Nullable(Float64) CODEC(ZSTD(1)),
    round_trip_count Int64 CODEC(ZSTD(1)),
    connection_id String CODEC(ZSTD(1)),
    round_trip_s      Nullable(Float64) COMMENT 'probe_answered: seconds from the probe to the answer' CODEC(ZSTD(1)),
    age_s             Nullable(Float64) COMMENT 'of Alpaca''s last price when it was sent, seconds' CODEC(ZSTD(1)),
    topic       LowCardinality(String) CODEC(ZSTD(1)),
    partition   Int32 CODEC(ZSTD(1)),
    offset      Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (at, topic, partition, offset)
PARTITION BY toYYYYMM(at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;
