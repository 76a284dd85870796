-- Ticks as they came off the wire, and the verdicts on them.
--
-- Every table is a ReplacingMergeTree whose sorting key ends in the row's identity, the place in the
-- log that it came from, so a redelivered record replaces itself: read with FINAL and each is there
-- once. No deduplication window, because the engine writes that window before the part: a crash in
-- between would lose the rows for good. Partitions follow the same time as the key, so FINAL may work
-- partition by partition (do_not_merge_across_partitions_select_final = 1).
--
-- Times arrive as integers, nanoseconds since the epoch, in the ephemeral `..._ns` columns; read
-- them back as integers with toUnixTimestamp64Nano. `topic`, `partition` and `offset` are the row's
-- own place in the log; `raw_topic`, `raw_partition` and `raw_offset` that of the raw tick behind it.
--
-- Merged parts are not fsynced by the engine, so the parts they replace are kept until the operating
-- system has surely written them (old_parts_lifetime).

CREATE TABLE IF NOT EXISTS raw_ticks
(
    symbol         LowCardinality(String) CODEC(ZSTD(1)),
    received_at_ns Int64 EPHEMERAL,
    received_at    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(received_at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    source         LowCardinality(String) CODEC(ZSTD(1)),
    feed           LowCardinality(String) CODEC(ZSTD(1)),
    session_id     LowCardinality(String) CODEC(ZSTD(1)),
    session_seq    Int64 CODEC(Delta, ZSTD(1)),
    encoding       LowCardinality(String) CODEC(ZSTD(1)),
    raw            String COMMENT 'json: the vendor''s bytes; otherwise base64 of them' CODEC(ZSTD(1)),
    raw_bytes      String ALIAS if(encoding = 'json', raw, base64Decode(raw)),
    topic          LowCardinality(String) CODEC(ZSTD(1)),
    partition      Int32 CODEC(ZSTD(1)),
    offset         Int64 CODEC(Delta, ZSTD(1)),
    -- a record without its time is no tick: it is set aside, not filed under 1970
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(received_at) > 0
)
ENGINE = ReplacingMergeTree
ORDER BY (symbol, received_at, topic, partition, offset)
PARTITION BY toYYYYMM(received_at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;

-- One wide table over all kinds of valid ticks: a column that a kind lacks holds its type's default.
-- Nullable is only what the event itself may leave open.
CREATE TABLE IF NOT EXISTS valid_ticks
(
    symbol               LowCardinality(String) CODEC(ZSTD(1)),
    market_time_ns       Int64 EPHEMERAL,
    market_time          DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(market_time_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    kind                 LowCardinality(String) CODEC(ZSTD(1)),
    source               LowCardinality(String) CODEC(ZSTD(1)),
    feed                 LowCardinality(String) CODEC(ZSTD(1)),
    -- trade, last, cancel
    price                Float64 CODEC(ZSTD(1)),
    size                 Float64 CODEC(ZSTD(1)),
    exchange             LowCardinality(String) CODEC(ZSTD(1)),
    tape                 LowCardinality(String) CODEC(ZSTD(1)),
    trade_id             Int64 CODEC(ZSTD(1)),
    conditions           Array(LowCardinality(String)) CODEC(ZSTD(1)),
    -- quote
    bid_price            Float64 CODEC(ZSTD(1)),
    bid_size             Float64 CODEC(ZSTD(1)),
    bid_exchange         LowCardinality(String) CODEC(ZSTD(1)),
    ask_price            Float64 CODEC(ZSTD(1)),
    ask_size             Float64 CODEC(ZSTD(1)),
    ask_exchange         LowCardinality(String) CODEC(ZSTD(1)),
    -- bar
    interval             LowCardinality(String) CODEC(ZSTD(1)),
    updated              Bool CODEC(ZSTD(1)),
    open                 Float64 CODEC(ZSTD(1)),
    high                 Float64 CODEC(ZSTD(1)),
    low                  Float64 CODEC(ZSTD(1)),
    close                Float64 CODEC(ZSTD(1)),
    volume               Nullable(Float64) CODEC(ZSTD(1)),
    trade_count          Nullable(Int64) CODEC(ZSTD(1)),
    vwap                 Nullable(Float64) CODEC(ZSTD(1)),
    -- last
    previous_close       Nullable(Float64) CODEC(ZSTD(1)),
    day_high             Nullable(Float64) CODEC(ZSTD(1)),
    day_low              Nullable(Float64) CODEC(ZSTD(1)),
    currency             LowCardinality(String) CODEC(ZSTD(1)),
    -- status
    status_code          LowCardinality(String) CODEC(ZSTD(1)),
    status_message       String CODEC(ZSTD(1)),
    reason_code          LowCardinality(String) CODEC(ZSTD(1)),
    reason_message       String CODEC(ZSTD(1)),
    -- luld
    limit_up             Float64 CODEC(ZSTD(1)),
    limit_down           Float64 CODEC(ZSTD(1)),
    indicator            LowCardinality(String) CODEC(ZSTD(1)),
    -- correction
    original_id          Int64 CODEC(ZSTD(1)),
    original_price       Float64 CODEC(ZSTD(1)),
    original_size        Float64 CODEC(ZSTD(1)),
    original_conditions  Array(LowCardinality(String)) CODEC(ZSTD(1)),
    corrected_id         Int64 CODEC(ZSTD(1)),
    corrected_price      Float64 CODEC(ZSTD(1)),
    corrected_size       Float64 CODEC(ZSTD(1)),
    corrected_conditions Array(LowCardinality(String)) CODEC(ZSTD(1)),
    -- cancel
    action               LowCardinality(String) CODEC(ZSTD(1)),
    -- provenance
    session_id           LowCardinality(String) CODEC(ZSTD(1)),
    session_seq          Int64 CODEC(Delta, ZSTD(1)),
    received_at_ns       Int64 EPHEMERAL,
    received_at          DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(received_at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    raw_topic            LowCardinality(String) CODEC(ZSTD(1)),
    raw_partition        Int32 CODEC(ZSTD(1)),
    raw_offset           Int64 CODEC(Delta, ZSTD(1)),
    topic                LowCardinality(String) CODEC(ZSTD(1)),
    partition            Int32 CODEC(ZSTD(1)),
    offset               Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(received_at) > 0,
    CONSTRAINT has_identity CHECK raw_topic != ''
)
ENGINE = ReplacingMergeTree
ORDER BY (symbol, market_time, raw_topic, raw_partition, raw_offset)
PARTITION BY toYYYYMM(market_time)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;

CREATE TABLE IF NOT EXISTS rejected_ticks
(
    symbol         LowCardinality(String) CODEC(ZSTD(1)),
    received_at_ns Int64 EPHEMERAL,
    received_at    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(received_at_ns, 'UTC') CODEC(Delta, ZSTD(1)),
    reason         LowCardinality(String) CODEC(ZSTD(1)),
    detail         String CODEC(ZSTD(1)),
    source         LowCardinality(String) CODEC(ZSTD(1)),
    feed           LowCardinality(String) CODEC(ZSTD(1)),
    session_id     LowCardinality(String) CODEC(ZSTD(1)),
    session_seq    Int64 CODEC(Delta, ZSTD(1)),
    encoding       LowCardinality(String) CODEC(ZSTD(1)),
    raw            String COMMENT 'json: the vendor''s bytes; otherwise base64 of them' CODEC(ZSTD(1)),
    raw_bytes      String ALIAS if(encoding = 'json', raw, base64Decode(raw)),
    raw_topic      LowCardinality(String) CODEC(ZSTD(1)),
    raw_partition  Int32 CODEC(ZSTD(1)),
    raw_offset     Int64 CODEC(Delta, ZSTD(1)),
    topic          LowCardinality(String) CODEC(ZSTD(1)),
    partition      Int32 CODEC(ZSTD(1)),
    offset         Int64 CODEC(Delta, ZSTD(1)),
    CONSTRAINT has_time CHECK toUnixTimestamp64Nano(received_at) > 0,
    CONSTRAINT has_identity CHECK raw_topic != ''
)
ENGINE = ReplacingMergeTree
ORDER BY (symbol, received_at, raw_topic, raw_partition, raw_offset)
PARTITION BY toYYYYMM(received_at)
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480;
