-- The business questions, each a view over FINAL: a record that was delivered twice changes none.
--
-- Views and not tables that are filled on insert: a sum that is kept at every insert counts a batch
-- twice that is written again after a crash. What is asked of `symbol` and of time goes through the
-- view into the table's key, so ask for a day where a day is enough.
--
-- Days and hours named `day` and `exchange_hour` are New York's; all other times are UTC.
-- PREWHERE on `kind` reads the kind before rows are replaced by their newer selves: rows of one
-- identity have one kind.

-- ---------------------------------------------------------------- trades, and what became of them

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
                   (market_time, raw_offset,
                    if(kind = 'cancel', valid_ticks.trade_id, original_id),
                    if(kind = 'cancel', valid_ticks.trade_id, corrected_id),
                    if(kind = 'cancel', valid_ticks.price, corrected_price),
                    if(kind = 'cancel', valid_ticks.size, corrected_size),
                    CAST(if(kind = 'cancel', valid_ticks.conditions, corrected_conditions), 'Array(String)'),
                    kind = 'cancel')
               )) AS words
        FROM valid_ticks FINAL
        PREWHERE kind IN ('correction', 'cancel')
        GROUP BY symbol, day, exchange, tape
    )
    ARRAY JOIN arrayDistinct(arrayMap(word -> word.3, words)) AS trade_id
)
COMMENT 'One row a trade that was corrected or cancelled, with the last word on it.';

CREATE OR REPLACE VIEW trade_history
(
    symbol              LowCardinality(String) COMMENT 'the stock',
    market_time         DateTime64(9, 'UTC')   COMMENT 'when it was traded, by the vendor',
    day                 Date                   COMMENT 'the same, as a day in New York',
    source              LowCardinality(String) COMMENT 'who reported it: alpaca',
    feed                LowCardinality(String) COMMENT 'which of the source''s feeds',
    exchange            LowCardinality(String) COMMENT 'where it was traded, as the vendor codes it',
    tape                LowCardinality(String) COMMENT 'the consolidated tape: A, B or C',
    trade_id            Int64                  COMMENT 'as first reported; unique within symbol, exchange, tape and day',
    state               LowCardinality(String) COMMENT 'reported, corrected or cancelled',
    price               Float64                COMMENT 'US dollars a share, as it stands now',
    size                Float64                COMMENT 'shares, as they stand now',
    conditions          Array(LowCardinality(String)) COMMENT 'sale conditions, as they stand now',
    original_price      Float64                COMMENT 'US dollars a share, as first reported',
    original_size       Float64                COMMENT 'shares, as first reported',
    original_conditions Array(LowCardinality(String)) COMMENT 'sale conditions, as first reported',
    amended_at          Nullable(DateTime64(9, 'UTC')) COMMENT 'when the last word on it was said; NULL where it stands as reported',
    received_at         DateTime64(9, 'UTC')   COMMENT 'when we received the report',
    gap_id              LowCardinality(String) COMMENT 'the gap that it was fetched to fill; empty for what came live',
    raw_topic           LowCardinality(String) COMMENT 'the place of the raw tick in the log: topic',
    raw_partition       Int32                  COMMENT 'partition',
    raw_offset          Int64                  COMMENT 'offset'
)
AS
SELECT t.symbol AS symbol, t.market_time AS market_time, t.day AS day, t.source AS source, t.feed AS feed,
       t.exchange AS exchange, t.tape AS tape, t.trade_id AS trade_id,
       if(a.amendments = 0, 'reported', a.state) AS state,
       if(a.state = 'corrected', a.price, t.price) AS price,
       if(a.state = 'corrected', a.size, t.size) AS size,
       if(a.state = 'corrected', a.conditions, t.conditions) AS conditions,
       t.price AS original_price, t.size AS original_size, t.conditions AS original_conditions,
       if(a.amendments = 0, NULL, a.amended_at) AS amended_at,
       t.received_at AS received_at, t.gap_id AS gap_id,
       t.raw_topic AS raw_topic, t.raw_partition AS raw_partition, t.raw_offset AS raw_offset
FROM
(
    SELECT symbol, market_time, toDate(market_time, 'America/New_York') AS day, source, feed, exchange, tape, trade_id,
           price, size, conditions, received_at, gap_id, raw_topic, raw_partition, raw_offset
    FROM valid_ticks FINAL
    PREWHERE kind = 'trade'
) AS t
LEFT ANY JOIN amendments AS a
    ON t.symbol = a.symbol AND t.day = a.day AND t.exchange = a.exchange AND t.tape = a.tape AND t.trade_id = a.trade_id
SETTINGS join_use_nulls = 0
COMMENT 'Every trade that was reported: as it was first reported, and as it stands now.';

CREATE OR REPLACE VIEW trades
(
    symbol        LowCardinality(String) COMMENT 'the stock',
    market_time   DateTime64(9, 'UTC')   COMMENT 'when it was traded, by the vendor',
    day           Date                   COMMENT 'the same, as a day in New York',
    source        LowCardinality(String) COMMENT 'who reported it: alpaca',
    feed          LowCardinality(String) COMMENT 'which of the source''s feeds',
    exchange      LowCardinality(String) COMMENT 'where it was traded, as the vendor codes it',
    tape          LowCardinality(String) COMMENT 'the consolidated tape: A, B or C',
    trade_id      Int64                  COMMENT 'as first reported; unique within symbol, exchange, tape and day',
    price         Float64                COMMENT 'US dollars a share',
    size          Float64                COMMENT 'shares; may be a fraction',
    conditions    Array(LowCardinality(String)) COMMENT 'sale conditions',
    corrected     Bool                   COMMENT 'whether it differs from what was first reported',
    received_at   DateTime64(9, 'UTC')   COMMENT 'when we received the report',
    gap_id        LowCardinality(String) COMMENT 'the gap that it was fetched to fill; empty for what came live'
)
AS
SELECT symbol, market_time, day, source, feed, exchange, tape, trade_id, price, size, conditions,
       state = 'corrected' AS corrected, received_at, gap_id
FROM trade_history
WHERE state != 'cancelled'
COMMENT 'The trades that stand: corrected where they were corrected, without those that were cancelled.';

-- ---------------------------------------------------------------- bars and spreads

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
       argMin(price, (market_time, trade_id)) AS open, max(price) AS high, min(price) AS low, argMax(price, (market_time, trade_id)) AS close,
       sum(size) AS volume, if(sum(size) > 0, sum(price * size) / sum(size), NULL) AS vwap, count() AS prices
FROM trades
GROUP BY symbol, minute, source
UNION ALL
SELECT symbol, toStartOfMinute(market_time) AS minute, source,
       argMin(price, (market_time, raw_offset)) AS open, max(price) AS high, min(price) AS low, argMax(price, (market_time, raw_offset)) AS close,
       NULL AS volume, NULL AS vwap, count() AS prices
FROM valid_ticks FINAL
PREWHERE kind = 'last'
GROUP BY symbol, minute, source
COMMENT 'Prices by the minute, of each source.';

CREATE OR REPLACE VIEW bars_5m
(
    symbol    LowCardinality(String) COMMENT 'the stock',
    start     DateTime('UTC')        COMMENT 'the beginning of the five minutes',
    source    LowCardinality(String) COMMENT 'as in bars_1m',
    open      Float64                COMMENT 'US dollars a share: the first price',
    high      Float64                COMMENT 'US dollars a share: the highest',
    low       Float64                COMMENT 'US dollars a share: the lowest',
    close     Float64                COMMENT 'US dollars a share: the last',
    volume    Nullable(Float64)      COMMENT 'shares traded on the feed; NULL for yahoo. Never compare it across sources',
    vwap      Nullable(Float64)      COMMENT 'US dollars a share, weighted by size; NULL for yahoo',
    prices    UInt64                 COMMENT 'how many prices it was made of'
)
AS
SELECT symbol, toStartOfFiveMinutes(minute) AS start, source,
       argMin(b.open, minute) AS open, max(b.high) AS high, min(b.low) AS low, argMax(b.close, minute) AS close,
       sum(b.volume) AS volume, if(volume > 0, sum(b.vwap * b.volume) / volume, NULL) AS vwap, sum(b.prices) AS prices
FROM bars_1m AS b
GROUP BY symbol, start, source
COMMENT 'Prices by five minutes, of each source.';

CREATE OR REPLACE VIEW vendor_bars
(
    symbol      LowCardinality(String) COMMENT 'the stock',
    start       DateTime64(9, 'UTC')   COMMENT 'the beginning of the interval',
    interval    LowCardinality(String) COMMENT '1m, 5m or 1d',
    source      LowCardinality(String) COMMENT 'who made it',
    feed        LowCardinality(String) COMMENT 'which of the source''s feeds',
    open        Float64                COMMENT 'US dollars a share',
    high        Float64                COMMENT 'US dollars a share',
    low         Float64                COMMENT 'US dollars a share',
    close       Float64                COMMENT 'US dollars a share',
    volume      Nullable(Float64)      COMMENT 'shares, as the vendor counts them',
    trade_count Nullable(Int64)        COMMENT 'trades, where the vendor tells',
    vwap        Nullable(Float64)      COMMENT 'US dollars a share, where the vendor tells',
    received_at DateTime64(9, 'UTC')   COMMENT 'when we received this, the last, version of it'
)
AS
SELECT symbol, market_time AS start, interval, source, any(v.feed) AS feed,
       argMax(v.open, v.received_at) AS open, argMax(v.high, v.received_at) AS high, argMax(v.low, v.received_at) AS low, argMax(v.close, v.received_at) AS close,
       argMax(tuple(v.volume), v.received_at).1 AS volume, argMax(tuple(v.trade_count), v.received_at).1 AS trade_count, argMax(tuple(v.vwap), v.received_at).1 AS vwap,
       max(v.received_at) AS received_at
FROM valid_ticks AS v FINAL
PREWHERE kind = 'bar'
GROUP BY symbol, start, interval, source
COMMENT 'The bars that the vendors themselves made, each in its last version.';

CREATE OR REPLACE VIEW quoted_spread_1m
(
    symbol        LowCardinality(String) COMMENT 'the stock',
    minute        DateTime('UTC')        COMMENT 'the minute''s beginning',
    quotes        UInt64                 COMMENT 'quotes with both sides, not crossed',
    spread        Float64                COMMENT 'US dollars a share: ask less bid, averaged over the quotes',
    spread_bps    Float64                COMMENT 'the same in hundredths of a percent of the middle',
    widest        Float64                COMMENT 'US dollars a share: the widest'
)
AS
SELECT symbol, toStartOfMinute(market_time) AS minute, count() AS quotes,
       avg(ask_price - bid_price) AS spread, avg(20000 * (ask_price - bid_price) / (ask_price + bid_price)) AS spread_bps, max(ask_price - bid_price) AS widest
FROM valid_ticks FINAL
PREWHERE kind = 'quote'
WHERE bid_price > 0 AND ask_price >= bid_price
GROUP BY symbol, minute
COMMENT 'How far bid and ask lie apart, by the minute.';

CREATE OR REPLACE VIEW source_spread_1m
(
    symbol        LowCardinality(String) COMMENT 'the stock',
    minute        DateTime('UTC')        COMMENT 'the minute''s beginning, in market time',
    alpaca        Float64                COMMENT 'US dollars a share: Alpaca''s last price of the minute',
    yahoo         Float64                COMMENT 'US dollars a share: Yahoo''s',
    delta         Float64                COMMENT 'US dollars a share: Alpaca''s less Yahoo''s',
    delta_percent Float64                COMMENT 'the same in percent of Yahoo''s'
)
AS
SELECT a.symbol AS symbol, a.minute AS minute, a.close AS alpaca, y.close AS yahoo, a.close - y.close AS delta, 100 * (a.close - y.close) / y.close AS delta_percent
FROM (SELECT symbol, minute, close FROM bars_1m WHERE source = 'alpaca') AS a
INNER JOIN (SELECT symbol, minute, close FROM bars_1m WHERE source = 'yahoo') AS y ON a.symbol = y.symbol AND a.minute = y.minute
COMMENT 'Both sources'' prices of the same minute, where both have one.';

CREATE OR REPLACE VIEW comparisons_1h
(
    hour              DateTime('UTC')        COMMENT 'the hour''s beginning, in market time',
    symbol            LowCardinality(String) COMMENT 'the stock',
    compared          UInt64                 COMMENT 'how often both prices were compared at the same moment',
    inconsistent      UInt64                 COMMENT 'how often they differed by more than is tolerated',
    mean_delta        Float64                COMMENT 'percent of Yahoo''s price, unsigned, on average',
    max_delta         Float64                COMMENT 'percent of Yahoo''s price, unsigned, at most'
)
AS
SELECT toStartOfHour(yahoo_time) AS hour, symbol, count() AS compared, countIf(verdict = 'inconsistent') AS inconsistent, avg(delta_percent) AS mean_delta, max(delta_percent) AS max_delta
FROM price_comparisons FINAL
GROUP BY hour, symbol
COMMENT 'How well the sources agreed, by the hour.';

-- ---------------------------------------------------------------- use of the sources

CREATE OR REPLACE VIEW source_share_1h
(
    hour          DateTime('UTC')        COMMENT 'the hour''s beginning, when the prices were received',
    day           Date                   COMMENT 'the day, in New York',
    exchange_hour UInt8                  COMMENT 'the hour of the day, in New York',
    source        LowCardinality(String) COMMENT 'alpaca or yahoo',
    prices        UInt64                 COMMENT 'how many of its prices were routed',
    share_percent Float64                COMMENT 'of all prices that were routed in that hour'
)
AS
SELECT hour, toDate(hour, 'America/New_York') AS day, toHour(hour, 'America/New_York') AS exchange_hour, source, routed AS prices, 100 * routed / sum(routed) OVER (PARTITION BY hour) AS share_percent
FROM (SELECT toStartOfHour(received_at) AS hour, source, count() AS routed FROM routed_prices FINAL GROUP BY hour, source)
COMMENT 'Whose prices went out, by the hour.';

CREATE OR REPLACE VIEW source_share_1d
(
    day              Date                   COMMENT 'the day, in New York, when the prices were received',
    source           LowCardinality(String) COMMENT 'alpaca or yahoo',
    prices           UInt64                 COMMENT 'how many of its prices were routed',
    share_percent    Float64                COMMENT 'of all prices that were routed on that day',
    share_7d_percent Float64                COMMENT 'the same over the seven days that end with that day'
)
AS
SELECT day, source, routed AS prices, 100 * routed / sum(routed) OVER (PARTITION BY day) AS share_percent,
       100 * sum(routed) OVER (PARTITION BY source ORDER BY toUInt32(day) RANGE BETWEEN 6 PRECEDING AND CURRENT ROW) / sum(of_day) OVER (PARTITION BY source ORDER BY toUInt32(day) RANGE BETWEEN 6 PRECEDING AND CURRENT ROW) AS share_7d_percent
FROM
(
    -- a source that routed nothing on a day has its row too, or its trend would skip the day
    SELECT day, source, countIf(by = source) AS routed, count() AS of_day
    FROM (SELECT toDate(received_at, 'America/New_York') AS day, source AS by FROM routed_prices FINAL)
    ARRAY JOIN ['alpaca', 'yahoo'] AS source
    GROUP BY day, source
)
COMMENT 'Whose prices went out, by the day, with the trend of seven days.';

CREATE OR REPLACE VIEW symbol_activity_1d
(
    day                    Date                   COMMENT 'the day in New York, in market time',
    symbol                 LowCardinality(String) COMMENT 'the stock',
    messages               UInt64                 COMMENT 'valid ticks of all kinds and sources',
    trades                 UInt64                 COMMENT 'trades among them, as reported',
    quotes                 UInt64                 COMMENT 'quotes among them',
    routed                 UInt64                 COMMENT 'prices that were routed',
    mean_change_percent    Nullable(Float64)      COMMENT 'percent of the previous close, of the routed prices, unsigned, on average',
    last_change_percent    Nullable(Float64)      COMMENT 'percent of the previous close, of the last routed price'
)
AS
SELECT day, symbol, sum(m) AS messages, sum(t) AS trades, sum(q) AS quotes, sum(r) AS routed, max(mean) AS mean_change_percent, max(latest) AS last_change_percent
FROM
(
    SELECT toDate(market_time, 'America/New_York') AS day, symbol, count() AS m, countIf(kind = 'trade') AS t, countIf(kind = 'quote') AS q, 0 AS r, NULL AS mean, NULL AS latest
    FROM valid_ticks FINAL
    GROUP BY day, symbol
    UNION ALL
    SELECT toDate(market_time, 'America/New_York') AS day, symbol, 0 AS m, 0 AS t, 0 AS q, count() AS r, avg(abs(change_percent)) AS mean, argMax(change_percent, (routed_prices.market_time, epoch, raw_offset)) AS latest
    FROM routed_prices FINAL
    GROUP BY day, symbol
)
GROUP BY day, symbol
COMMENT 'How busy each stock was, by the day.';

CREATE OR REPLACE VIEW activity_1h
(
    day           Date  COMMENT 'the day in New York, in market time',
    exchange_hour UInt8 COMMENT 'the hour of the day in New York: 9 is from nine to ten',
    messages      UInt64 COMMENT 'valid ticks of all kinds and sources',
    trades        UInt64 COMMENT 'trades among them, as reported',
    symbols       UInt64 COMMENT 'stocks that had any'
)
AS
SELECT toDate(market_time, 'America/New_York') AS day, toHour(market_time, 'America/New_York') AS exchange_hour, count() AS messages, countIf(kind = 'trade') AS trades, uniqExact(symbol) AS symbols
FROM valid_ticks FINAL
GROUP BY day, exchange_hour
COMMENT 'How busy the market was, by the hour of the exchange''s day.';

CREATE OR REPLACE VIEW peak_hours
(
    day           Date   COMMENT 'the day in New York, in market time',
    exchange_hour UInt8  COMMENT 'its busiest hour in New York',
    messages      UInt64 COMMENT 'valid ticks in that hour',
    share_percent Float64 COMMENT 'of the day''s'
)
AS
SELECT day, argMax(a.exchange_hour, a.messages) AS exchange_hour, max(a.messages) AS messages, 100 * max(a.messages) / sum(a.messages) AS share_percent
FROM activity_1h AS a
GROUP BY day
COMMENT 'The busiest hour of each day.';

CREATE OR REPLACE VIEW latency_1h
(
    hour          DateTime('UTC')        COMMENT 'the hour''s beginning, when the prices were received',
    source        LowCardinality(String) COMMENT 'alpaca or yahoo',
    prices        UInt64                 COMMENT 'prices that were routed',
    routing_p50   Float64                COMMENT 'milliseconds from receipt to routing: the median',
    routing_p95   Float64                COMMENT 'milliseconds: 95 % were faster',
    routing_p99   Float64                COMMENT 'milliseconds: 99 % were faster',
    age_p50       Float64                COMMENT 'milliseconds from the market to routing: the median',
    age_p95       Float64                COMMENT 'milliseconds: 95 % were younger'
)
AS
SELECT toStartOfHour(received_at) AS hour, source, count() AS prices,
       quantileTDigest(0.5)(toUnixTimestamp64Nano(routed_at) / 1e6 - toUnixTimestamp64Nano(received_at) / 1e6) AS routing_p50,
       quantileTDigest(0.95)(toUnixTimestamp64Nano(routed_at) / 1e6 - toUnixTimestamp64Nano(received_at) / 1e6) AS routing_p95,
       quantileTDigest(0.99)(toUnixTimestamp64Nano(routed_at) / 1e6 - toUnixTimestamp64Nano(received_at) / 1e6) AS routing_p99,
       quantileTDigest(0.5)(toUnixTimestamp64Nano(routed_at) / 1e6 - toUnixTimestamp64Nano(market_time) / 1e6) AS age_p50,
       quantileTDigest(0.95)(toUnixTimestamp64Nano(routed_at) / 1e6 - toUnixTimestamp64Nano(market_time) / 1e6) AS age_p95
FROM routed_prices FINAL
GROUP BY hour, source
COMMENT 'How fast prices went out, by the hour.';

CREATE OR REPLACE VIEW plan_usage_1d
(
    day            Date                   COMMENT 'the day in New York',
    source         LowCardinality(String) COMMENT 'alpaca or yahoo',
    feed           LowCardinality(String) COMMENT 'which of the source''s feeds',
    symbols        UInt32                 COMMENT 'stocks subscribed or polled, at most',
    turned_away    UInt32                 COMMENT 'stocks that the plan''s limit kept out, at most',
    plan           LowCardinality(String) COMMENT 'the plan that has this feed',
    plan_symbols   Nullable(UInt32)       COMMENT 'how many stocks the plan allows; NULL: as many as you like',
    used_percent   Nullable(Float64)      COMMENT 'of the plan''s stocks',
    monthly_usd    Float64                COMMENT 'what the plan costs, US dollars a month'
)
AS
SELECT u.day AS day, u.source AS source, u.feed AS feed, u.symbols AS symbols, u.turned_away AS turned_away,
       p.plan AS plan, p.plan_symbols AS plan_symbols, 100 * u.symbols / p.plan_symbols AS used_percent, p.monthly_usd AS monthly_usd
FROM
(
    SELECT toDate(at, 'America/New_York') AS day, source, feed, max(if(event IN ('heartbeat', 'subscribed'), symbol_count, 0)) AS symbols,
           max(if(event = 'symbols_impaired' AND reason = 'limit', toUInt32(JSONLength(source_status.symbols)), 0)) AS turned_away
    FROM source_status FINAL
    GROUP BY day, source, feed
) AS u
LEFT JOIN
(
    SELECT * FROM values('source String, feed String, plan String, plan_symbols Nullable(UInt32), monthly_usd Float64',
        ('alpaca', 'iex', 'Basic', 30, 0), ('alpaca', 'test', 'Basic', 30, 0), ('alpaca', 'delayed_sip', 'Basic', 30, 0),
        ('alpaca', 'sip', 'Algo Trader Plus', NULL, 99), ('alpaca', 'overnight', 'Algo Trader Plus', NULL, 99), ('alpaca', 'boats', 'Algo Trader Plus', NULL, 99))
) AS p ON u.source = p.source AND u.feed = p.feed
COMMENT 'How much of the vendor''s plan is used, by the day, and what it costs.';

-- ---------------------------------------------------------------- reliability

CREATE OR REPLACE VIEW router_states
(
    epoch       Int64                  COMMENT 'one more than the one before',
    state       LowCardinality(String) COMMENT 'PRIMARY_ACTIVE, FALLBACK_ACTIVE or BOTH_UNAVAILABLE',
    from_state  LowCardinality(String) COMMENT 'the state before',
    since       DateTime64(9, 'UTC')   COMMENT 'from when on it was in force',
    until       Nullable(DateTime64(9, 'UTC')) COMMENT 'until when; NULL: it still is',
    seconds     Float64                COMMENT 'how long; until now where it still is',
    reason      LowCardinality(String) COMMENT 'why it was entered',
    detail      String                 COMMENT 'the same in words, with the figures that decided',
    by          String                 COMMENT 'router, or the operator whose command it was',
    detected_at DateTime64(9, 'UTC')   COMMENT 'when the cause had held for long enough'
)
AS
WITH
    -- What a former router wrote too late does not count: see infra/fence.py.
    (
        SELECT arrayFold(
            (story, t) -> if(t.3 >= story.2 AND t.2 > story.1, (t.2, t.3, arrayPushBack(story.3, t.1)), story),
            arraySort(groupArray((offset, epoch, generation))),
            (toInt64(0), toInt64(0), CAST([], 'Array(Int64)'))
        ).3
        FROM router_transitions FINAL
    ) AS story
SELECT epoch, to_state AS state, from_state, switched_at AS since,
       nullIf(leadInFrame(switched_at, 1, toDateTime64(0, 9, 'UTC')) OVER w, toDateTime64(0, 9, 'UTC')) AS until,
       (toUnixTimestamp64Nano(coalesce(until, now64(9, 'UTC'))) - toUnixTimestamp64Nano(since)) / 1e9 AS seconds,
       reason, detail, by, detected_at
FROM router_transitions FINAL
WHERE has(story, offset)
WINDOW w AS (ORDER BY epoch ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING)
COMMENT 'Which source was trusted, from when to when, and why.';

CREATE OR REPLACE VIEW availability_1d
(
    day                  Date    COMMENT 'the day in New York',
    primary_seconds      Float64 COMMENT 'seconds with Alpaca''s prices',
    fallback_seconds     Float64 COMMENT 'seconds with Yahoo''s',
    unavailable_seconds  Float64 COMMENT 'seconds with neither',
    availability_percent Float64 COMMENT 'of the time that the router was up: with prices of either source'
)
AS
SELECT day, sumIf(part, state = 'PRIMARY_ACTIVE') AS primary_seconds, sumIf(part, state = 'FALLBACK_ACTIVE') AS fallback_seconds, sumIf(part, state = 'BOTH_UNAVAILABLE') AS unavailable_seconds,
       if(sum(part) > 0, 100 * (1 - unavailable_seconds / sum(part)), 100) AS availability_percent
FROM
(
    SELECT state, day,
           greatest(0, (least(toUnixTimestamp64Nano(ended), toUnixTimestamp64Nano(toDateTime64(day + 1, 9, 'America/New_York')))
                      - greatest(toUnixTimestamp64Nano(since), toUnixTimestamp64Nano(toDateTime64(day, 9, 'America/New_York')))) / 1e9) AS part
    FROM (SELECT state, since, coalesce(until, now64(9, 'UTC')) AS ended FROM router_states)
    ARRAY JOIN arrayMap(n -> toDate(since, 'America/New_York') + n, range(toUInt32(1 + greatest(0, toDate(ended, 'America/New_York') - toDate(since, 'America/New_York'))))) AS day
)
GROUP BY day
COMMENT 'How long each source was trusted, by the day.';

CREATE OR REPLACE VIEW failovers
(
    epoch               Int64                  COMMENT 'the epoch that began with it',
    started_at          DateTime64(9, 'UTC')   COMMENT 'from when on Alpaca''s prices were no longer routed',
    ended_at            Nullable(DateTime64(9, 'UTC')) COMMENT 'when they were again; NULL: not yet',
    duration_seconds    Float64                COMMENT 'how long that was; until now where it lasts',
    recovery_seconds    Float64                COMMENT 'from the detection of the cause to the switch',
    unavailable_seconds Float64                COMMENT 'of the duration: with neither source',
    reason              LowCardinality(String) COMMENT 'timeout, disconnected, health, auth or manual',
    detail              String                 COMMENT 'the same in words',
    by                  String                 COMMENT 'router, or the operator whose command it was',
    to_state            LowCardinality(String) COMMENT 'the state it led to first',
    delayed_prices      UInt64                 COMMENT 'impact: prices of Yahoo that were routed meanwhile',
    delayed_symbols     UInt64                 COMMENT 'impact: stocks that they were of',
    oldest_seconds      Float64                COMMENT 'impact: the greatest age of such a price when it was routed'
)
AS
SELECT f.epoch AS epoch, any(f.started_at) AS started_at, any(f.ended_at) AS ended_at, any(f.duration_seconds) AS duration_seconds, any(f.recovery_seconds) AS recovery_seconds,
       sumIf(least(u.until_ns, f.ended_ns) - greatest(u.since_ns, f.started_ns), u.since_ns < f.ended_ns AND u.until_ns > f.started_ns) / 1e9 AS unavailable_seconds,
       any(f.reason) AS reason, any(f.detail) AS detail, any(f.by) AS by, any(f.to_state) AS to_state,
       any(f.delayed_prices) AS delayed_prices, any(f.delayed_symbols) AS delayed_symbols, any(f.oldest_seconds) AS oldest_seconds
FROM
(
    SELECT s.epoch AS epoch, s.started_at AS started_at, s.ended_at AS ended_at, s.duration_seconds AS duration_seconds, s.recovery_seconds AS recovery_seconds,
           s.started_ns AS started_ns, s.ended_ns AS ended_ns, s.reason AS reason, s.detail AS detail, s.by AS by, s.to_state AS to_state,
           sumIf(d.prices, d.epoch >= s.epoch AND d.epoch < s.next_epoch) AS delayed_prices,
           length(arrayDistinct(arrayFlatten(groupArrayIf(d.symbols, d.epoch >= s.epoch AND d.epoch < s.next_epoch)))) AS delayed_symbols,
           maxIf(d.oldest, d.epoch >= s.epoch AND d.epoch < s.next_epoch) AS oldest_seconds
    FROM
    (
        -- epochs between two with Alpaca's prices are one failover
        SELECT min(r.epoch) AS epoch, argMin(r.next_primary, r.epoch) AS next_epoch, min(r.since) AS started_at,
               argMax(tuple(r.until), r.epoch).1 AS ended_at,
               sum(r.seconds) AS duration_seconds,
               toUnixTimestamp64Nano(started_at) AS started_ns, toUnixTimestamp64Nano(coalesce(ended_at, now64(9, 'UTC'))) AS ended_ns,
               argMin((toUnixTimestamp64Nano(r.since) - toUnixTimestamp64Nano(r.detected_at)) / 1e9, r.epoch) AS recovery_seconds,
               argMin(r.reason, r.epoch) AS reason, argMin(r.detail, r.epoch) AS detail, argMin(r.by, r.epoch) AS by, argMin(r.state, r.epoch) AS to_state
        FROM
        (
            SELECT *,
                   minIf(epoch, state = 'PRIMARY_ACTIVE') OVER (ORDER BY epoch ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING) AS found,
                   if(found < epoch, 9223372036854775807, found) AS next_primary,
                   countIf(state = 'PRIMARY_ACTIVE') OVER (ORDER BY epoch ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS failover
            FROM router_states
        ) AS r
        WHERE r.state != 'PRIMARY_ACTIVE'
        GROUP BY failover
    ) AS s
    CROSS JOIN
    (
        SELECT epoch, count() AS prices, groupUniqArray(symbol) AS symbols, max(toUnixTimestamp64Nano(routed_at) - toUnixTimestamp64Nano(market_time)) / 1e9 AS oldest
        FROM routed_prices FINAL
        PREWHERE is_real_time = 0
        GROUP BY epoch
        UNION ALL
        SELECT -1, 0, [], 0
    ) AS d
    GROUP BY epoch, started_at, ended_at, duration_seconds, recovery_seconds, started_ns, ended_ns, reason, detail, by, to_state
) AS f
CROSS JOIN
(
    SELECT toUnixTimestamp64Nano(since) AS since_ns, toUnixTimestamp64Nano(coalesce(until, now64(9, 'UTC'))) AS until_ns FROM router_states WHERE state = 'BOTH_UNAVAILABLE'
    UNION ALL
    SELECT 0, 0
) AS u
GROUP BY f.epoch
COMMENT 'Every time that Alpaca''s prices gave way: for how long, why, and whom it concerned.';

CREATE OR REPLACE VIEW rejections_1d
(
    day       Date                   COMMENT 'the day in New York, when they were received',
    source    LowCardinality(String) COMMENT 'alpaca or yahoo',
    reason    LowCardinality(String) COMMENT 'the rule that was broken',
    rejected  UInt64                 COMMENT 'ticks',
    symbols   UInt64                 COMMENT 'stocks that they were of',
    first_at  DateTime64(9, 'UTC')   COMMENT 'the first',
    last_at   DateTime64(9, 'UTC')   COMMENT 'the last',
    example   String                 COMMENT 'what was found and expected in the last'
)
AS
SELECT toDate(received_at, 'America/New_York') AS day, source, reason, count() AS rejected, uniqExact(symbol) AS symbols, min(received_at) AS first_at, max(received_at) AS last_at, argMax(detail, (received_at, raw_topic, raw_partition, raw_offset)) AS example
FROM rejected_ticks FINAL
GROUP BY day, source, reason
COMMENT 'What was not believed, by the day and the rule.';

-- ---------------------------------------------------------------- completeness

CREATE OR REPLACE VIEW gaps
(
    gap_id     String                 COMMENT 'names the gap',
    source     LowCardinality(String) COMMENT 'whose ticks were missed',
    feed       LowCardinality(String) COMMENT 'of which feed',
    cause      LowCardinality(String) COMMENT 'disconnected, stalled, asked, restarted, shed or torn',
    state      LowCardinality(String) COMMENT 'open: ticks are being missed; ended: they flow again; filled, partial, unfillable: what the backfill could do',
    symbols    Array(LowCardinality(String)) COMMENT 'whose; empty for all that were followed',
    since      DateTime64(9, 'UTC')   COMMENT 'nothing is missing before',
    until      Nullable(DateTime64(9, 'UTC')) COMMENT 'nothing is missing from then on; NULL: not known yet',
    seconds    Float64                COMMENT 'how long; until now where it is open',
    trades     Int64                  COMMENT 'trades that were fetched afterwards',
    bars       Int64                  COMMENT 'bars that were fetched afterwards',
    shed       UInt64                 COMMENT 'ticks that were received and given up, because Kafka was away',
    lost       Array(LowCardinality(String)) COMMENT 'what no history gives back',
    detail     String                 COMMENT 'in words'
)
AS
SELECT gap_id, any(g.source) AS source, any(g.feed) AS feed, any(g.cause) AS cause,
       multiIf(countIf(g.event = 'gap_closed') > 0, anyIf(g.outcome, g.event = 'gap_closed'), countIf(g.event = 'gap_ended') > 0, 'ended', 'open') AS state,
       argMax(g.symbols, g.rank) AS symbols, argMax(g.since, g.rank) AS since, argMax(tuple(g.until), g.rank).1 AS until,
       (toUnixTimestamp64Nano(coalesce(until, now64(9, 'UTC'))) - toUnixTimestamp64Nano(since)) / 1e9 AS seconds,
       max(g.trades) AS trades, max(g.bars) AS bars, max(arraySum(mapValues(g.shed))) AS shed, argMax(g.lost, g.rank) AS lost, argMax(g.detail, g.rank) AS detail
FROM
(
    SELECT *, until, (indexOf(['gap_opened', 'gap_ended', 'gap_closed'], event), offset) AS rank FROM source_gaps FINAL
) AS g
GROUP BY gap_id
COMMENT 'One row a gap: when ticks were missed, of which stocks, and what was filled.';

CREATE OR REPLACE VIEW completeness_1d
(
    day              Date                   COMMENT 'the day in New York',
    source           LowCardinality(String) COMMENT 'whose ticks',
    symbol           LowCardinality(String) COMMENT 'the stock',
    gaps             UInt64                 COMMENT 'gaps that touch the day',
    missed_seconds   Float64                COMMENT 'seconds of the day in gaps, at any hour',
    session_seconds  Float64                COMMENT 'of them: from 9:30 to 16:00 in New York, from Monday to Friday',
    unfilled_seconds Float64                COMMENT 'of these: in gaps that are not filled',
    backfilled       UInt64                 COMMENT 'ticks that were fetched afterwards',
    complete_percent Float64                COMMENT 'of the regular session, trades and bars: live or filled'
)
AS
SELECT p.day AS day, p.source AS source, p.symbol AS symbol, p.gaps AS gaps, p.missed_seconds AS missed_seconds, p.session_seconds AS session_seconds, p.unfilled_seconds AS unfilled_seconds,
       b.backfilled AS backfilled, greatest(0, 100 * (1 - p.unfilled_seconds / 23400)) AS complete_percent
FROM
(
    SELECT day, source, symbol, uniqExact(gap_id) AS gaps, sum(missed) AS missed_seconds, sum(in_session) AS session_seconds, sumIf(in_session, state != 'filled') AS unfilled_seconds
    FROM
    (
        SELECT gap_id, source, state, symbol, day,
               greatest(0, least(until_s, toUnixTimestamp(toDateTime(day + 1, 'America/New_York'))) - greatest(since_s, toUnixTimestamp(toDateTime(day, 'America/New_York')))) AS missed,
               if(toDayOfWeek(day) > 5, 0, greatest(0, least(until_s, toUnixTimestamp(toDateTime(day, 'America/New_York') + INTERVAL 16 HOUR))
                                                    - greatest(since_s, toUnixTimestamp(toDateTime(day, 'America/New_York') + INTERVAL 570 MINUTE)))) AS in_session
        FROM
        (
            SELECT g.gap_id AS gap_id, g.source AS source, g.state AS state,
                   toUnixTimestamp64Nano(g.since) / 1e9 AS since_s, toUnixTimestamp64Nano(coalesce(g.until, now64(9, 'UTC'))) / 1e9 AS until_s,
                   arrayMap(n -> toDate(g.since, 'America/New_York') + n, range(toUInt32(1 + greatest(0, toDate(coalesce(g.until, now64(9, 'UTC')), 'America/New_York') - toDate(g.since, 'America/New_York'))))) AS days,
                   if(empty(g.symbols), f.followed, g.symbols) AS whose
            FROM gaps AS g
            -- a gap that names nobody is of all that were followed then
            ASOF LEFT JOIN
            (
                SELECT source, at, CAST(JSONExtract(symbols, 'Array(String)'), 'Array(LowCardinality(String))') AS followed
                FROM source_status FINAL
                PREWHERE event = 'subscribed'
            ) AS f ON g.source = f.source AND g.since >= f.at
        )
        ARRAY JOIN days AS day
        ARRAY JOIN whose AS symbol
    )
    GROUP BY day, source, symbol
) AS p
LEFT JOIN
(
    SELECT toDate(market_time, 'America/New_York') AS day, source, symbol, count() AS backfilled
    FROM valid_ticks FINAL
    PREWHERE gap_id != ''
    GROUP BY day, source, symbol
) AS b ON p.day = b.day AND p.source = b.source AND p.symbol = b.symbol
COMMENT 'What of each stock''s day was missed and what was filled; days without a gap have no row.';
