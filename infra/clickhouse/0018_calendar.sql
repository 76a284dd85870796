-- Which days the market was open, and from when to when: half days and holidays as the calendar has
-- them. The sink writes all of its calendar at every start; what was written last of a day counts.

CREATE TABLE IF NOT EXISTS market_days
(
    day       Date COMMENT 'the day in New York' CODEC(Delta, ZSTD(1)),
    market    LowCardinality(String) COMMENT 'XNYS; always: a simulated market, which never closes' CODEC(ZSTD(1)),
    opens_ns  Int64 EPHEMERAL,
    opens     DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(opens_ns, 'UTC') COMMENT 'when the regular session begins' CODEC(Delta, ZSTD(1)),
    closes_ns Int64 EPHEMERAL,
    closes    DateTime64(9, 'UTC') DEFAULT fromUnixTimestamp64Nano(closes_ns, 'UTC') COMMENT 'when it ends; the same as opens where there is none' CODEC(Delta, ZSTD(1))
)
ENGINE = ReplacingMergeTree
ORDER BY day
SETTINGS non_replicated_deduplication_window = 0, fsync_after_insert = 1, fsync_part_directory = 1, old_parts_lifetime = 480
COMMENT 'The market''s calendar: each day''s regular session. Filled from the calendar of the sink''s own settings, years ahead.';

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
    SELECT day, source, symbol, uniqExact(gap_id) AS gaps, sum(missed) AS missed_seconds, any(open_for) AS open_seconds,
           sum(in_session) AS session_seconds, if(open_seconds IS NULL, NULL, sum(if(state = 'filled', 0, in_session))) AS unfilled_seconds
    FROM
    (
        SELECT w.gap_id AS gap_id, w.source AS source, w.state AS state, w.symbol AS symbol, w.day AS day,
               greatest(0, least(w.until_s, toUnixTimestamp(toDateTime(w.day + 1, 'America/New_York'))) - greatest(w.since_s, toUnixTimestamp(toDateTime(w.day, 'America/New_York')))) AS missed,
               if(c.known, c.closes_s - c.opens_s, NULL) AS open_for,
               if(c.known, greatest(0, least(w.until_s, c.closes_s) - greatest(w.since_s, c.opens_s)), NULL) AS in_session
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
