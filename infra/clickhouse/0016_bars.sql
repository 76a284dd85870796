-- The same bars as before, with first and last by (market_time, trade_id) as one number, which the
-- engine compares much faster than a tuple.

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
       sum(size) AS volume, if(sum(size) > 0, sum(price * size) / sum(size), NULL) AS vwap, count() AS prices
FROM (SELECT *, bitShiftLeft(toInt128(toUnixTimestamp64Nano(market_time)), 64) + trade_id AS place FROM trades)
GROUP BY symbol, minute, source
UNION ALL
SELECT symbol, toStartOfMinute(market_time) AS minute, source,
       argMin(price, (market_time, raw_offset)) AS open, max(price) AS high, min(price) AS low, argMax(price, (market_time, raw_offset)) AS close,
       NULL AS volume, NULL AS vwap, count() AS prices
FROM valid_ticks FINAL
PREWHERE kind = 'last'
GROUP BY symbol, minute, source
COMMENT 'Prices by the minute, of each source.';
