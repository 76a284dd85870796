-- Corrections and cancels by themselves: they are one tick in thousands, and whoever asks for a trade
-- as it stands must not look for them among all the others.
--
-- A view that copies rows may be filled on insert, where one that adds them up may not: a batch that
-- is written again after a crash replaces its rows here as it does there, by the same identity.
-- The view comes before the older rows are copied, so that none falls in between.

CREATE TABLE IF NOT EXISTS trade_amendments
(
    symbol        LowCardinality(String) COMMENT 'the stock' CODEC(ZSTD(1)),
    market_time   DateTime64(9, 'UTC') COMMENT 'when it was said, by the vendor' CODEC(Delta, ZSTD(1)),
    kind          LowCardinality(String) COMMENT 'correction or cancel' CODEC(ZSTD(1)),
    exchange      LowCardinality(String) COMMENT 'where the trade was made, as the vendor codes it' CODEC(ZSTD(1)),
    tape          LowCardinality(String) COMMENT 'the consolidated tape: A, B or C' CODEC(ZSTD(1)),
    trade_id      Int64 COMMENT 'the trade that it is about, by the id that this had until then' CODEC(ZSTD(1)),
    last_id       Int64 COMMENT 'the id that the trade has from then on' CODEC(ZSTD(1)),
    price         Float64 COMMENT 'US dollars a share: as corrected, or as cancelled' CODEC(ZSTD(1)),
    size          Float64 COMMENT 'shares: as corrected, or as cancelled' CODEC(ZSTD(1)),
    conditions    Array(LowCardinality(String)) COMMENT 'sale conditions, as corrected' CODEC(ZSTD(1)),
    received_at   DateTime64(9, 'UTC') COMMENT 'when we received it' CODEC(Delta, ZSTD(1)),
    raw_topic     LowCardinality(String) COMMENT 'the place of the raw tick behind it: the topic' CODEC(ZSTD(1)),
    raw_partition Int32 COMMENT 'the partition' CODEC(ZSTD(1)),
    raw_offset    Int64 COMMENT 'the offset' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY (symbol, market_time, raw_topic, raw_partition, raw_offset)
PARTITION BY toYYYYMM(market_time)
TTL toDateTime(received_at) + INTERVAL 730 DAY
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480
COMMENT 'Corrections and cancels, one row each as it was said: a copy of those in valid_ticks. What came of them is in the view amendments.';

CREATE MATERIALIZED VIEW IF NOT EXISTS trade_amendments_filled TO trade_amendments
AS
SELECT symbol, market_time, kind, exchange, tape,
       if(kind = 'cancel', t.trade_id, t.original_id) AS trade_id,
       if(kind = 'cancel', t.trade_id, t.corrected_id) AS last_id,
       if(kind = 'cancel', t.price, t.corrected_price) AS price,
       if(kind = 'cancel', t.size, t.corrected_size) AS size,
       if(kind = 'cancel', t.conditions, t.corrected_conditions) AS conditions,
       received_at, raw_topic, raw_partition, raw_offset
FROM valid_ticks AS t
WHERE kind IN ('correction', 'cancel')
COMMENT 'Fills trade_amendments from what is written to valid_ticks.';

INSERT INTO trade_amendments (symbol, market_time, kind, exchange, tape, trade_id, last_id, price, size, conditions, received_at, raw_topic, raw_partition, raw_offset)
SELECT symbol, market_time, kind, exchange, tape,
       if(kind = 'cancel', t.trade_id, t.original_id) AS trade_id,
       if(kind = 'cancel', t.trade_id, t.corrected_id) AS last_id,
       if(kind = 'cancel', t.price, t.corrected_price) AS price,
       if(kind = 'cancel', t.size, t.corrected_size) AS size,
       if(kind = 'cancel', t.conditions, t.corrected_conditions) AS conditions,
       received_at, raw_topic, raw_partition, raw_offset
FROM valid_ticks AS t
PREWHERE kind IN ('correction', 'cancel');

CREATE OR REPLACE VIEW amendments
(
    symbol      LowCardinality(String) COMMENT 'the stock',
    day         Date                   COMMENT 'of the trade, in New York',
    exchange    LowCardinality(String) COMMENT 'where it was traded, as the vendor codes it',
    tape        LowCardinality(String) COMMENT 'the consolidated tape: A, B or C',
    trade_id    Int64                  COMMENT 'under which the trade was first reported',
    state       LowCardinality(String) COMMENT 'corrected or cancelled: by the last word on it',
    last_id     Int64                  COMMENT 'the id that the trade has now',
    price       Float64                COMMENT 'US dollars a share, after the last correction',
    size        Float64                COMMENT 'shares, after the last correction',
    conditions  Array(LowCardinality(String)) COMMENT 'sale conditions, after the last correction',
    amended_at  DateTime64(9, 'UTC')   COMMENT 'when the last word was said, by the vendor',
    amendments  UInt64                 COMMENT 'how often the trade was corrected or cancelled'
)
AS
SELECT symbol, day, exchange, tape, trade_id,
       if(last.6, 'cancelled', 'corrected') AS state,
       last.1 AS last_id, last.2 AS price, last.3 AS size, last.4 AS conditions, last.5 AS amended_at, last.7 AS amendments
FROM
(
    -- Who corrects a trade may give it another id, and correct that again: follow the ids.
    SELECT symbol, day, exchange, tape, trade_id,
           arrayFold(
               (now, word) -> if(word.3 = now.1, (word.4, word.5, word.6, word.7, word.1, word.8, now.7 + 1), now),
               words,
               (trade_id, toFloat64(0), toFloat64(0), CAST([], 'Array(String)'), toDateTime64(0, 9, 'UTC'), false, toUInt64(0))
           ) AS last
    FROM
    (
        SELECT symbol, toDate(market_time, 'America/New_York') AS day, exchange, tape,
               arraySort(word -> (word.1, word.2), groupArray(
                   (market_time, raw_offset, a.trade_id, a.last_id, a.price, a.size, CAST(a.conditions, 'Array(String)'), kind = 'cancel')
               )) AS words
        FROM trade_amendments AS a FINAL
        GROUP BY symbol, day, exchange, tape
    )
    ARRAY JOIN arrayDistinct(arrayMap(word -> word.3, words)) AS trade_id
)
COMMENT 'One row a trade that was corrected or cancelled, with the last word on it.';

-- The same bars as before, in one reading of most of the table. Only trades whose number was ever
-- amended are looked up; the number alone is no identity, so a few are looked up in vain. PREWHERE on
-- it reads it before rows are replaced by their newer selves, as that on `kind` does: rows of one
-- identity have one number.
CREATE OR REPLACE VIEW bars_1m
(
    symbol    LowCardinality(String) COMMENT 'the stock',
    minute    DateTime('UTC')        COMMENT 'the minute''s beginning',
    source    LowCardinality(String) COMMENT 'alpaca: made of its trades as they stand; yahoo: of the last sales that its polls told',
    open      Float64                COMMENT 'US dollars a share: the first price',
    high      Float64                COMMENT 'US dollars a share: the highest',
    low       Float64                COMMENT 'US dollars a share: the lowest',
    close     Float64                COMMENT 'US dollars a share: the last',
    volume    Nullable(Float64)      COMMENT 'shares traded on the feed; NULL for yahoo. Never compare it across sources',
    vwap      Nullable(Float64)      COMMENT 'US dollars a share, weighted by size; NULL for yahoo',
    prices    UInt64                 COMMENT 'how many prices it was made of'
)
AS
SELECT symbol, toStartOfMinute(market_time) AS minute, source,
       argMin(price, place) AS open, max(price) AS high, min(price) AS low, argMax(price, place) AS close,
       if(told, NULL, sum(size)) AS volume, if(NOT told AND sum(size) > 0, sum(price * size) / sum(size), NULL) AS vwap, count() AS prices
FROM
(
    SELECT symbol, market_time, source, kind = 'last' AS told, price, size,
           bitShiftLeft(toInt128(toUnixTimestamp64Nano(market_time)), 64) + if(kind = 'last', raw_offset, trade_id) AS place
    FROM valid_ticks FINAL
    PREWHERE kind = 'last' OR (kind = 'trade' AND trade_id NOT IN (SELECT trade_id FROM trade_amendments))
    UNION ALL
    SELECT t.symbol, t.market_time, t.source, false AS told,
           if(a.amendments = 0, t.price, a.price) AS price, if(a.amendments = 0, t.size, a.size) AS size,
           bitShiftLeft(toInt128(toUnixTimestamp64Nano(t.market_time)), 64) + t.trade_id AS place
    FROM
    (
        SELECT symbol, market_time, toDate(market_time, 'America/New_York') AS day, source, exchange, tape, trade_id, price, size
        FROM valid_ticks FINAL
        PREWHERE kind = 'trade' AND trade_id IN (SELECT trade_id FROM trade_amendments)
    ) AS t
    LEFT ANY JOIN amendments AS a
        ON t.symbol = a.symbol AND t.day = a.day AND t.exchange = a.exchange AND t.tape = a.tape AND t.trade_id = a.trade_id
    WHERE a.state != 'cancelled'
)
GROUP BY symbol, minute, source, told
SETTINGS join_use_nulls = 0
COMMENT 'Prices by the minute, of each source.';
