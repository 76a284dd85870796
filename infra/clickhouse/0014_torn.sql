-- A gap has one more cause: a frame that could not be read.

ALTER TABLE source_gaps
    COMMENT COLUMN cause 'disconnected, stalled, asked, restarted, shed or torn';

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
