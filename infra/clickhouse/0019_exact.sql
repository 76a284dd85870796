-- The same questions, answered exactly where rows are equal, overlap, or leave something open: what
-- each view says of it stands beside it. None of their columns changes its meaning.

-- A bar and its update may come in one frame, and so be received at the same time.
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
SELECT symbol, market_time AS start, interval, source,
       last.1 AS feed, last.2 AS open, last.3 AS high, last.4 AS low, last.5 AS close,
       last.6 AS volume, last.7 AS trade_count, last.8 AS vwap, last.9 AS received_at
FROM
(
    SELECT symbol, market_time, interval, source,
           argMax((v.feed, v.open, v.high, v.low, v.close, v.volume, v.trade_count, v.vwap, v.received_at), (v.received_at, v.raw_offset)) AS last
    FROM valid_ticks AS v FINAL
    PREWHERE kind = 'bar'
    GROUP BY symbol, market_time, interval, source
)
COMMENT 'The bars that the vendors themselves made, each in its last version.';

CREATE OR REPLACE VIEW peak_hours
(
    day           Date   COMMENT 'the day in New York, in market time',
    exchange_hour UInt8  COMMENT 'its busiest hour in New York; of equals the first',
    messages      UInt64 COMMENT 'valid ticks in that hour',
    share_percent Float64 COMMENT 'of the day''s'
)
AS
SELECT day, argMax(a.exchange_hour, (a.messages, -toInt16(a.exchange_hour))) AS exchange_hour, max(a.messages) AS messages, 100 * max(a.messages) / sum(a.messages) AS share_percent
FROM activity_1h AS a
GROUP BY day
COMMENT 'The busiest hour of each day.';

-- A price may have no previous close to be compared with; argMax over NULL would take an older price.
CREATE OR REPLACE VIEW symbol_activity_1d
(
    day                    Date                   COMMENT 'the day in New York, in market time',
    symbol                 LowCardinality(String) COMMENT 'the stock',
    messages               UInt64                 COMMENT 'valid ticks of all kinds and sources',
    trades                 UInt64                 COMMENT 'trades among them, as reported',
    quotes                 UInt64                 COMMENT 'quotes among them',
    routed                 UInt64                 COMMENT 'prices that were routed',
    mean_change_percent    Nullable(Float64)      COMMENT 'percent of the previous close, of the routed prices, unsigned, on average',
    last_change_percent    Nullable(Float64)      COMMENT 'percent of the previous close, of the last routed price; NULL: it had none'
)
AS
SELECT day, symbol, sum(m) AS messages, sum(t) AS trades, sum(q) AS quotes, sum(r) AS routed, max(mean) AS mean_change_percent, max(latest) AS last_change_percent
FROM
(
    SELECT toDate(market_time, 'America/New_York') AS day, symbol, count() AS m, countIf(kind = 'trade') AS t, countIf(kind = 'quote') AS q, 0 AS r, NULL AS mean, NULL AS latest
    FROM valid_ticks FINAL
    GROUP BY day, symbol
    UNION ALL
    SELECT toDate(market_time, 'America/New_York') AS day, symbol, 0 AS m, 0 AS t, 0 AS q, count() AS r, avg(abs(change_percent)) AS mean, argMax(tuple(change_percent), (routed_prices.market_time, epoch, fence, raw_offset)).1 AS latest
    FROM routed_prices FINAL
    GROUP BY day, symbol
)
GROUP BY day, symbol
COMMENT 'How busy each stock was, by the day.';

-- Whatever a client sets for its joins.
CREATE OR REPLACE VIEW plan_usage_1d
(
    day            Date                   COMMENT 'the day in New York',
    source         LowCardinality(String) COMMENT 'alpaca or yahoo',
    feed           LowCardinality(String) COMMENT 'which of the source''s feeds',
    symbols        UInt32                 COMMENT 'stocks subscribed or polled, at most',
    turned_away    UInt32                 COMMENT 'stocks that the plan''s limit kept out, at most',
    plan           LowCardinality(String) COMMENT 'the plan that has this feed; empty: none is needed',
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
SETTINGS join_use_nulls = 0
COMMENT 'How much of the vendor''s plan is used, by the day, and what it costs.';

CREATE OR REPLACE VIEW rejections_1d
(
    day       Date                   COMMENT 'the day in New York, when they were received',
    source    LowCardinality(String) COMMENT 'alpaca or yahoo',
    reason    LowCardinality(String) COMMENT 'the rule that was broken',
    rejected  UInt64                 COMMENT 'ticks',
    symbols   UInt64                 COMMENT 'stocks that they were of; what names none counts for none',
    first_at  DateTime64(9, 'UTC')   COMMENT 'the first',
    last_at   DateTime64(9, 'UTC')   COMMENT 'the last',
    example   String                 COMMENT 'what was found and expected in the last'
)
AS
SELECT toDate(received_at, 'America/New_York') AS day, source, reason, count() AS rejected, uniqExactIf(symbol, symbol != '') AS symbols, min(received_at) AS first_at, max(received_at) AS last_at, argMax(detail, (received_at, raw_topic, raw_partition, raw_offset)) AS example
FROM rejected_ticks FINAL
GROUP BY day, source, reason
COMMENT 'What was not believed, by the day and the rule.';

-- As the ledger is read (ingest/gaps.py): the first closing counts, and of several ends the latest.
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
       multiIf(countIf(g.event = 'gap_closed') > 0, argMinIf(g.outcome, g.offset, g.event = 'gap_closed'), countIf(g.event = 'gap_ended') > 0, 'ended', 'open') AS state,
       argMax(g.symbols, g.rank) AS symbols, argMax(g.since, g.rank) AS since, argMax(tuple(g.until), g.rank).1 AS until,
       (toUnixTimestamp64Nano(coalesce(until, now64(9, 'UTC'))) - toUnixTimestamp64Nano(since)) / 1e9 AS seconds,
       max(g.trades) AS trades, max(g.bars) AS bars, max(arraySum(mapValues(g.shed))) AS shed, argMax(g.lost, g.rank) AS lost, argMax(g.detail, g.rank) AS detail
FROM
(
    SELECT *, until, (indexOf(['gap_opened', 'gap_ended', 'gap_closed'], event), if(event = 'gap_ended', coalesce(until_ns, 0), 0), -offset) AS rank FROM source_gaps FINAL
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
    open_seconds     Nullable(Float64)      COMMENT 'how long the regular session was: 23,400, less on a half day, 0 on a holiday; NULL: beyond the calendar',
    session_seconds  Nullable(Float64)      COMMENT 'of the seconds in gaps: while the regular session was',
    unfilled_seconds Nullable(Float64)      COMMENT 'of these: in gaps that are not filled',
    backfilled       UInt64                 COMMENT 'ticks that were fetched afterwards',
    complete_percent Nullable(Float64)      COMMENT 'of the regular session, trades and bars: live or filled; 100 where there was none'
)
AS
SELECT p.day AS day, p.source AS source, p.symbol AS symbol, p.gaps AS gaps, p.missed_seconds AS missed_seconds,
       p.open_seconds AS open_seconds, p.session_seconds AS session_seconds, p.unfilled_seconds AS unfilled_seconds,
       b.backfilled AS backfilled, multiIf(p.open_seconds IS NULL, NULL, p.open_seconds = 0, 100, greatest(0, 100 * (1 - p.unfilled_seconds / p.open_seconds))) AS complete_percent
FROM
(
    -- gaps that overlap miss the same ticks: each second counts once
    SELECT day, source, symbol, uniqExact(gap_id) AS gaps, any(open_for) AS open_seconds,
           arrayFold((now, s) -> (now.1 + greatest(0, s.2 - greatest(s.1, now.2)), greatest(now.2, s.2)), arraySort(groupArray((missed_from, missed_to))), (toFloat64(0), toFloat64(0))).1 AS missed_seconds,
           arrayFold((now, s) -> (now.1 + greatest(0, s.2 - greatest(s.1, now.2)), greatest(now.2, s.2)), arraySort(groupArray((session_from, session_to))), (toFloat64(0), toFloat64(0))).1 AS in_session,
           arrayFold((now, s) -> (now.1 + greatest(0, s.2 - greatest(s.1, now.2)), greatest(now.2, s.2)), arraySort(groupArrayIf((session_from, session_to), state != 'filled')), (toFloat64(0), toFloat64(0))).1 AS not_filled,
           if(open_seconds IS NULL, NULL, in_session) AS session_seconds, if(open_seconds IS NULL, NULL, not_filled) AS unfilled_seconds
    FROM
    (
        SELECT w.gap_id AS gap_id, w.source AS source, w.state AS state, w.symbol AS symbol, w.day AS day,
               greatest(w.since_s, toFloat64(toUnixTimestamp(toDateTime(w.day, 'America/New_York')))) AS missed_from,
               least(w.until_s, toFloat64(toUnixTimestamp(toDateTime(w.day + 1, 'America/New_York')))) AS missed_to,
               if(c.known, c.closes_s - c.opens_s, NULL) AS open_for,
               greatest(w.since_s, c.opens_s) AS session_from, least(w.until_s, c.closes_s) AS session_to
        FROM
        (
            SELECT gap_id, source, state, since_s, until_s, day, symbol
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
        ) AS w
        LEFT JOIN
        (
            -- a market that never closes is open from midnight to midnight, in New York
            SELECT day, true AS known,
                   greatest(toUnixTimestamp64Nano(opens) / 1e9, toUnixTimestamp(toDateTime(day, 'America/New_York'))) AS opens_s,
                   greatest(opens_s, least(toUnixTimestamp64Nano(closes) / 1e9, toUnixTimestamp(toDateTime(day + 1, 'America/New_York')))) AS closes_s
            FROM market_days FINAL
        ) AS c ON w.day = c.day
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
SETTINGS join_use_nulls = 0
COMMENT 'What of each stock''s day was missed and what was filled, by the market''s calendar; days without a gap have no row.';

CREATE OR REPLACE VIEW connections
(
    connection_id String                 COMMENT 'the connection; never used twice',
    hub           LowCardinality(String) COMMENT 'the address that it came in at: market-data or dashboard',
    user          LowCardinality(String) COMMENT 'by the token; empty: anybody',
    encoding      LowCardinality(String) COMMENT 'json or messagepack',
    connected_at  DateTime64(9, 'UTC')   COMMENT 'when it came',
    left_at       Nullable(DateTime64(9, 'UTC')) COMMENT 'when it ended; where its hub died with it: when that was last heard of; NULL: it is still there',
    seconds       Float64                COMMENT 'how long it was there; until now where it still is',
    reason        LowCardinality(String) COMMENT 'why it ended: left, silent, too_slow, unfit, expired or restart; empty: it is still there, or its hub died',
    updates       Int64                  COMMENT 'prices that it was sent, told at its end'
)
AS
WITH
    -- A hub says every minute that it is there, and a connection is at one that was there when it
    -- came: what none of those can still vouch for is over.
    (SELECT groupArray((began, heard)) FROM (SELECT min(since_ns) AS began, max(at) AS heard FROM (SELECT hub_id, since_ns, at FROM hub_deliveries FINAL WHERE event = 'delivered') GROUP BY hub_id)) AS hubs
SELECT connection_id, hub, user, encoding, connected_at,
       multiIf(ended IS NOT NULL, ended, heard_at < now64(9, 'UTC') - INTERVAL 3 MINUTE, heard_at, NULL) AS left_at,
       (toUnixTimestamp64Nano(coalesce(left_at, now64(9, 'UTC'))) - toUnixTimestamp64Nano(connected_at)) / 1e9 AS seconds,
       reason, updates
FROM
(
    SELECT connection_id, any(s.hub) AS hub, any(s.user) AS user, max(s.encoding) AS encoding,
           min(coalesce(s.connected_at, s.at)) AS connected_at, nullIf(maxIf(s.at, s.event = 'client_left'), toDateTime64(0, 9, 'UTC')) AS ended,
           greatest(max(s.at), arrayMax(arrayMap(h -> if(h.1 <= toUnixTimestamp64Nano(connected_at), h.2, toDateTime64(0, 9, 'UTC')), arrayPushBack(hubs, (toInt64(0), toDateTime64(0, 9, 'UTC')))))) AS heard_at,
           max(s.reason) AS reason, max(s.updates) AS updates
    FROM (SELECT *, connected_at FROM hub_sessions FINAL) AS s
    GROUP BY connection_id
)
COMMENT 'One row a client''s connection to the hub.';

ALTER TABLE hub_sessions COMMENT COLUMN reason 'client_left: left, silent, too_slow, unfit, expired, restart';
ALTER TABLE failovers COMMENT COLUMN reason 'timeout, disconnected, health, auth or manual; startup: Alpaca was not there to begin with';
