-- The same bars as before, where two exchanges gave one number to two trades of one moment: the one that
-- came first into the log is first. `place` is still one number, which is compared much faster than a
-- tuple: the nanosecond of the minute, the trade's number, the place in the log.

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
           bitShiftLeft(toUInt128(toUnixTimestamp64Nano(market_time) % 60000000000), 92) + bitShiftLeft(toUInt128(if(kind = 'last', 0, trade_id)), 28) + toUInt128(raw_offset % 268435456) AS place
    FROM valid_ticks FINAL
    PREWHERE kind = 'last' OR (kind = 'trade' AND trade_id NOT IN (SELECT trade_id FROM trade_amendments))
    UNION ALL
    SELECT t.symbol, t.market_time, t.source, false AS told,
           if(a.amendments = 0, t.price, a.price) AS price, if(a.amendments = 0, t.size, a.size) AS size,
           bitShiftLeft(toUInt128(toUnixTimestamp64Nano(t.market_time) % 60000000000), 92) + bitShiftLeft(toUInt128(t.trade_id), 28) + toUInt128(t.raw_offset % 268435456) AS place
    FROM
    (
        SELECT symbol, market_time, toDate(market_time, 'America/New_York') AS day, source, exchange, tape, trade_id, price, size, raw_offset
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
